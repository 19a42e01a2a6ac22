"""What a reader of the paper expects to see: curves of two phases on logarithmic axes, and attention as it forms."""

import numpy as np
import xarray as xr

from elegans.study import Bars, Curves, Heatmap, Results

MODELS = {
    "even-pairs": "even pairs",
    "even-pairs-frozen": "even pairs, even attention",
    "parity-chain": "parity check, chains",
    "parity-chain-bare": "parity check, chains without short strings",
    "parity-direct": "parity check, direct",
}


def after_zero(data: xr.DataArray) -> xr.DataArray:
    """Without step 0, which has no logarithm."""
    return data.sel(step=slice(1, None))


def losses(results: Results) -> xr.DataArray:
    """Loss of five ways to train."""
    return results.over(MODELS, lambda data: after_zero(data.loss))


def scores(results: Results) -> xr.DataArray:
    """|<u, E_l>| of the even-pairs model, mean over symbols."""
    return after_zero(abs(results["even-pairs"].token_score.mean("symbol")))


def attention(results: Results) -> xr.DataArray:
    """Mean attention of the even-pairs model at a dozen steps."""
    weights = results["even-pairs"].attention.isel(seed=0, drop=True).sel(size=slice(2, None))
    marks = np.unique(np.linspace(0, weights.sizes["step"] - 1, 16).round().astype(int))
    named = weights.isel(step=marks).assign_coords(label=["positive strings", "negative strings"])
    return named.rename(size="length")


def norms(results: Results) -> xr.DataArray:
    """||u|| and ||W|| of two models."""
    arms = {"even-pairs": "even pairs", "parity-chain": "parity check, chains"}

    def both(data: xr.Dataset) -> xr.DataArray:
        return after_zero(xr.concat([data.norm_v, data.norm_W], "weights").assign_coords(weights=["u", "W"]))

    return results.over(arms, both)


def margins(results: Results) -> xr.DataArray:
    """How near u comes to the hard-margin solution, from the step on where there is one."""
    arms = {"even-pairs": "even pairs", "parity-chain": "parity check, chains"}

    def all_three(data: xr.Dataset) -> xr.DataArray:
        rows = [data.margin_cosine, data.margin_ratio, data.naive_ratio]
        names = ["cosine of u", "margin ratio of u", "margin ratio of class means"]
        return after_zero(xr.concat(rows, "quantity").assign_coords(quantity=names)).clip(min=0)

    return results.over(arms, all_three)


def reasoning(results: Results) -> xr.DataArray:
    """Accuracy on parity check by way of use and length, without training on parity check."""
    parity = results["even-pairs"].parity.isel(step=-1, drop=True)
    return parity.rename(length="input length").assign_coords(
        way=["asked directly", "truncated chain", "untruncated chain"]
    )


def drift(results: Results) -> xr.DataArray:
    """Distance of attention from that at t_0."""
    arms = {"even-pairs": "lambda = 2, t_0 = 100 (published)", "even-pairs-warm": "lambda = 8, t_0 = 1000"}
    return results.over(arms, lambda data: after_zero(data.drift))


FIGURES = (
    Curves(
        name="losses",
        caption="Loss summed over lengths. With trained attention it falls like a power of t after a plateau; without short "
        "strings nothing moves at all, and parity check trained without chains stays at chance although its loss falls.",
        data=losses,
        x="step",
        x_label="step t",
        y_label="loss (nats)",
        color="arm",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="token-scores",
        caption="Size of the token scores <u, E_l> in even pairs. In the first phase the first one (positive) grows like t, "
        "the others (negative) like t squared.",
        data=scores,
        x="step",
        x_label="step t",
        y_label="|<u, E_l>|",
        color="position",
        log_x=True,
        log_y=True,
    ),
    Heatmap(
        name="attention",
        caption="Mean attention from the last token of even-pairs strings. It starts even; then the first token wins in "
        "positive strings, the second in negative ones.",
        data=attention,
        x="position",
        y="length",
        facet="label",
        slider="step",
        x_label="token",
        y_label="length",
    ),
    Curves(
        name="norms",
        caption="Norms of the read-out u and of W. u grows linearly first and like log t later.",
        data=norms,
        x="step",
        x_label="step t",
        y_label="norm",
        color="weights",
        facet="arm",
        log_x=True,
    ),
    Curves(
        name="margins",
        caption="Cosine between u and the hard-margin direction of the current attention outputs, and margins over the "
        "largest possible one, from the step on where the outputs are separable; zero while u misclassifies. Cosine alone "
        "would look good too soon.",
        data=margins,
        x="step",
        x_label="step t",
        y_label="ratio",
        color="quantity",
        facet="arm",
        log_x=True,
    ),
    Bars(
        name="reasoning",
        caption="The even-pairs model on parity check, on which it was not trained. Only chains truncated to the input's "
        "length work; beyond length 4 untruncated ones outgrow the model's positions.",
        data=reasoning,
        x="input length",
        y_label="accuracy",
        color="way",
        rules={"guess": 0.5},
    ),
    Curves(
        name="drift",
        caption="Mean total variation between attention at t_0 and at step t. At the published setting attention moves more "
        "after t_0 than before.",
        data=drift,
        x="step",
        x_label="step t",
        y_label="total variation",
        color="arm",
        log_x=True,
        rules={"claimed": 0.15},
    ),
)
