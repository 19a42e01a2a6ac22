"""What a reader of the paper expects to see: attention that selects, a read-out that aligns, and few-item transfer."""

import numpy as np
import xarray as xr

from elegans.study import Bars, Curves, Heatmap, Results

MODELS = {
    "transformer": "transformer",
    "transformer-frozen": "even attention",
    "transformer-unstable": "step above the limit",
    "transformer-added": "added positions",
}


def after_zero(data: xr.DataArray) -> xr.DataArray:
    """Without step 0, which has no logarithm."""
    return data.sel(step=slice(1, None))


def accuracies(results: Results) -> xr.DataArray:
    """Test accuracy of four ways to train."""
    return results.over(MODELS, lambda data: after_zero(data.accuracy))


def mechanism(results: Results) -> xr.DataArray:
    """Attention to the group, alignment of v and its share of positions, in the right and in the wrong regime."""
    arms = {"transformer": "transformer", "transformer-unstable": "step above the limit"}

    def three(data: xr.Dataset) -> xr.DataArray:
        rows = xr.concat([data.relevant_mass, data.cosine, data.position_share], "quantity")
        return after_zero(rows.assign_coords(quantity=["attention to the group", "cosine of v", "position share of v"]))

    return results.over(arms, three)


def attention(results: Results) -> xr.DataArray:
    """Attention of every query to every group at a dozen steps; group 0 decides the label."""
    weights = results["transformer"].attention.isel(seed=0, drop=True)
    marks = np.unique(np.linspace(0, weights.sizes["step"] - 1, 14).round().astype(int))
    return weights.isel(step=marks)


def blocks(results: Results) -> xr.DataArray:
    """Where the norm of W lies."""
    arms = {"transformer": "transformer", "transformer-unstable": "step above the limit"}

    def named(data: xr.Dataset) -> xr.DataArray:
        shares = data.block_share.isel(step=-1, drop=True)
        pairs = [(key, asker) for key in ("features", "positions") for asker in ("features", "positions")]
        rows = [shares.sel(key=key, asker=asker, drop=True) for key, asker in pairs]
        return xr.concat(rows, "block").assign_coords(block=[f"{asker} see {key}" for key, asker in pairs])

    return results.over(arms, named)


def growth(results: Results) -> xr.DataArray:
    """||v|| over training."""
    arms = {
        "transformer": "no margin (paper)",
        "transformer-margin": "margin 0.5",
        "transformer-frozen": "even attention",
    }
    return results.over(arms, lambda data: after_zero(data.norm_v))


def losses(results: Results) -> xr.DataArray:
    """Test loss over training."""
    arms = {
        "transformer": "no margin (paper)",
        "transformer-margin": "margin 0.5",
        "transformer-frozen": "even attention",
    }
    return results.over(arms, lambda data: after_zero(data.loss))


def transfer(results: Results) -> xr.DataArray:
    """Accuracy on second tasks over the number of items, by learner."""
    linear = results["logistic"]
    rows = {
        "transformer, trained before": results["transformer"].transfer,
        "transformer from scratch": results["transformer-scratch"].transfer,
        "logistic, one pass": linear.online,
        "logistic, converged": linear.converged,
        "logistic on the true group": linear.oracle,
    }
    joined = xr.concat(list(rows.values()), "learner").assign_coords(learner=list(rows))
    return joined.rename(second="second task").assign_coords(
        {"second task": ["same group, margin", "same group, no margin", "another group, margin"]}
    )


FIGURES = (
    Curves(
        name="accuracies",
        caption="Test accuracy. Attention that stays even cannot pass 1/2 + arcsin(D^-1/2) / pi. A step above the stability "
        "limit does well here and badly in the next figure.",
        data=accuracies,
        x="step",
        x_label="step t",
        y_label="accuracy",
        color="arm",
        log_x=True,
    ),
    Curves(
        name="mechanism",
        caption="Attention to the relevant group, cosine of v's feature part with the true direction, and norm of v's "
        "position part over that of v.",
        data=mechanism,
        x="step",
        x_label="step t",
        y_label="share or cosine",
        color="quantity",
        facet="arm",
        log_x=True,
    ),
    Heatmap(
        name="attention",
        caption="Attention of each query to each group, mean over items. Group 0 decides the label; at last all look at it.",
        data=attention,
        x="group",
        y="query",
        slider="step",
    ),
    Bars(
        name="blocks",
        caption="Where the squared norm of W lies. The right mechanism compares positions with positions and little else.",
        data=blocks,
        x="block",
        y_label="share of ||W||^2",
        color="arm",
    ),
    Curves(
        name="growth",
        caption="Norm of the read-out. Without a margin it grows like the cube root of t; a margin ends that growth early.",
        data=growth,
        x="step",
        x_label="step t",
        y_label="||v||",
        color="arm",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="losses",
        caption="Test loss. The theory's t^(-1/3) is its late slope without a margin; at these sizes it is still steeper.",
        data=losses,
        x="step",
        x_label="step t",
        y_label="loss (nats)",
        color="arm",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="transfer",
        caption="Second tasks, items seen once. Trained attention turns the problem of all features into one of a single "
        "group. If the group is another one, it hides what is needed.",
        data=transfer,
        x="n",
        x_label="items n",
        y_label="accuracy",
        color="learner",
        facet="second task",
        log_x=True,
        rules={"guess": 0.5},
    ),
)
