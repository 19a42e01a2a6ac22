"""What the paper says, as executable claims.

Accuracy alone decides none of them: a step size above the stability limit reaches a high one by another mechanism, and
that run is the control of every claim about the mechanism.
"""

import numpy as np
import xarray as xr

from elegans.study import Claim, Results

FEW = 50
"""The number of second-task items at which learners are compared."""


def end(data: xr.DataArray, **where: object) -> xr.DataArray:
    """The last measurement of a quantity."""
    return data.isel(step=-1, drop=True).sel(where, drop=True)


def start(data: xr.DataArray) -> xr.DataArray:
    """The measurement before training."""
    return data.isel(step=0, drop=True)


def positional_share(results: Results, arm: str) -> xr.DataArray:
    """||W_22||^2 / ||W||^2: the part of the attention matrix that compares positions with positions."""
    return end(results[arm].block_share, key="positions", asker="positions")


def slope_error(results: Results, arm: str) -> xr.DataArray:
    """Distance of d log ||v|| / d log t over the last half decade from 1/3."""
    return abs(results[arm].slope_norm_v - 1 / 3)


def shared_evenly(results: Results, arm: str) -> xr.DataArray:
    """The attention, mean over queries, that the less attended of groups 0 and 1 gets."""
    return end(results[arm].attention).mean("query").sel(group=[0, 1]).min("group")


def second(results: Results, task: str, n: int = FEW, arm: str = "transformer") -> xr.DataArray:
    """A transformer's accuracy on a second task after n items."""
    return results[arm].transfer.sel(second=task, drop=True).sel(n=n, method="nearest", drop=True)


def logistic(results: Results, task: str, n: int = FEW) -> xr.DataArray:
    """The accuracy of logistic regression on all features: of one pass or converged, whichever is better."""
    data = results["logistic"].sel(second=task, drop=True).sel(n=n, method="nearest", drop=True)
    return xr.DataArray(np.maximum(data.online, data.converged))


def gain(results: Results, task: str, n: int = FEW, arm: str = "transformer") -> xr.DataArray:
    """A transformer's accuracy minus that of logistic regression."""
    return second(results, task, n, arm) - logistic(results, task, n)


CLAIMS = (
    Claim(
        name="learns-the-label",
        statement="Joint gradient descent on W and v learns the label.",
        source="training theorem, loss",
        value=lambda r: end(r["transformer"].accuracy),
        at_least=0.98,
        controls={"even attention": lambda r: end(r["transformer-frozen"].accuracy)},
        unit="accuracy",
    ),
    Claim(
        name="loss-is-small",
        statement="Its test loss falls below 0.05 nats.",
        source="training theorem, loss",
        value=lambda r: end(r["transformer"].loss),
        at_most=0.05,
        controls={"even attention": lambda r: end(r["transformer-frozen"].loss)},
        unit="nats",
    ),
    Claim(
        name="attention-selects-the-group",
        statement="Every query pays at least 0.95 of its attention to the relevant group, on average over items.",
        source="training theorem, attention",
        value=lambda r: end(r["transformer"].relevant_mass_least),
        at_least=0.95,
        controls={
            "before training": lambda r: start(r["transformer"].relevant_mass_least),
            "step above the limit": lambda r: end(r["transformer-unstable"].relevant_mass_least),
        },
        unit="attention",
    ),
    Claim(
        name="read-out-finds-the-direction",
        statement="The feature part of v points along the true direction.",
        source="training theorem, direction of v",
        value=lambda r: end(r["transformer"].cosine),
        at_least=0.99,
        controls={"step above the limit": lambda r: end(r["transformer-unstable"].cosine)},
        unit="cosine",
    ),
    Claim(
        name="read-out-ignores-positions",
        statement="The position part of v stays below 0.05 of its norm.",
        source="training theorem, v_2 = 0",
        value=lambda r: end(r["transformer"].position_share),
        at_most=0.05,
        controls={"step above the limit": lambda r: end(r["transformer-unstable"].position_share)},
    ),
    Claim(
        name="selection-is-positional",
        statement="At least 0.95 of the squared norm of W is where positions attend to positions.",
        source="training theorem, structure of W",
        value=lambda r: positional_share(r, "transformer"),
        at_least=0.95,
        controls={"step above the limit": lambda r: positional_share(r, "transformer-unstable")},
    ),
    Claim(
        name="read-out-grows-like-cube-root",
        statement="||v|| grows like t^(1/3): its exponent over the last half decade is within 0.05 of 1/3.",
        source="training theorem, T ~ 1 / eps^3; consequence: ours",
        value=lambda r: slope_error(r, "transformer"),
        at_most=0.05,
        controls={
            "data with a margin": lambda r: slope_error(r, "transformer-margin"),
            "even attention": lambda r: slope_error(r, "transformer-frozen"),
        },
    ),
    Claim(
        name="transfers-from-50-items",
        statement="A second task in the same group, with margin 0.5, is learned from 50 items seen once.",
        source="downstream theorem",
        value=lambda r: second(r, "margin"),
        at_least=0.95,
        controls={
            "transformer from scratch": lambda r: second(r, "margin", arm="transformer-scratch"),
            "logistic regression": lambda r: logistic(r, "margin"),
        },
        unit="accuracy",
    ),
    Claim(
        name="beats-logistic-regression",
        statement="There it is better by 0.1 or more than logistic regression on all features, converged or one pass.",
        source="downstream theorem, comparison",
        value=lambda r: gain(r, "margin"),
        at_least=0.1,
        controls={"transformer from scratch": lambda r: gain(r, "margin", arm="transformer-scratch")},
        unit="accuracy",
    ),
    Claim(
        name="beats-logistic-regression-without-margin",
        statement="Without a margin, too, it is better by 0.1 or more after 50 items.",
        source="downstream theorem, beyond its margin: ours",
        value=lambda r: gain(r, "no margin"),
        at_least=0.1,
        controls={"transformer from scratch": lambda r: gain(r, "no margin", arm="transformer-scratch")},
        unit="accuracy",
    ),
    Claim(
        name="still-ahead-at-400-items",
        statement="Without a margin it is still ahead of logistic regression after 400 items.",
        source="downstream theorem, beyond its margin: ours",
        value=lambda r: gain(r, "no margin", 400),
        at_least=0.0,
        controls={"transformer from scratch": lambda r: gain(r, "no margin", 400, arm="transformer-scratch")},
        unit="accuracy",
    ),
    Claim(
        name="another-group-is-not-learned",
        statement="A second task in another group stays at chance: what transfers is which group to look at.",
        source="downstream theorem, its premise",
        value=lambda r: second(r, "other group"),
        at_most=0.55,
        controls={
            "same group": lambda r: second(r, "margin"),
            "logistic regression, other group": lambda r: logistic(r, "other group"),
        },
        unit="accuracy",
    ),
    Claim(
        name="accuracy-does-not-show-the-mechanism",
        statement="A step four times the stability limit reaches 0.95 as well, while attention ignores the relevant group.",
        source="ours",
        value=lambda r: end(r["transformer-unstable"].accuracy),
        at_least=0.95,
        controls={"even attention": lambda r: end(r["transformer-frozen"].accuracy)},
        guards={
            "attention to the group below 0.5": lambda r: end(r["transformer-unstable"].relevant_mass) < 0.5,
        },
        unit="accuracy",
    ),
    Claim(
        name="two-groups-share-attention",
        statement="Where two groups decide the label, each gets at least 0.45 of the attention.",
        source="ours",
        value=lambda r: shared_evenly(r, "transformer-pair"),
        at_least=0.45,
        controls={"one group decides": lambda r: shared_evenly(r, "transformer")},
        guards={"accuracy above 0.95": lambda r: end(r["transformer-pair"].accuracy) > 0.95},
        unit="attention",
    ),
    Claim(
        name="added-positions-select-less",
        statement="Positions added to the features, not appended, leave less than 0.8 of the attention on the group.",
        source="ours",
        value=lambda r: end(r["transformer-added"].relevant_mass),
        at_most=0.8,
        controls={"appended positions": lambda r: end(r["transformer"].relevant_mass)},
        unit="attention",
    ),
)
