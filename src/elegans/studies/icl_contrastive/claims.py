"""What the paper says, as executable claims, and what its own system says against it.

Errors are relative to the norm of the attention output, or on regression normalized by the variance of the targets.
Each value is one number per seed.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from elegans.study import Claim, Results

EQUAL = -8.0
"""Base-10 logarithm of the relative error up to which two float64 computations count as the same."""
FUNCTIONS = ("linear", "sine", "exponential")
ABLATIONS = ("start at zero", "no normalizer", "elu + 1 map", "identity map")
RANDOM_RATE = -0.5
SMALL, LARGE = slice(0.0, 0.5), 2.0


def digits(errors: xr.DataArray) -> xr.DataArray:
    """The base-10 logarithm of an error; what lies below float64's resolution counts as 1e-16."""
    return xr.DataArray(np.log10(errors.clip(min=1e-16)))


def worst(results: Results, condition: str) -> xr.DataArray:
    """The largest error of one gradient step over norms and prompts, as a logarithm."""
    return digits(results["identity"].error.sel(condition=condition, drop=True).max(("norm", "prompt")))


def weakest(results: Results, conditions: Sequence[str] = ABLATIONS) -> xr.DataArray:
    """The smallest median error over ablations at norm 1."""
    errors = results["identity"].error.sel(norm=1.0, drop=True).sel(condition=list(conditions))
    return errors.median("prompt").min("condition")


def eta_error(results: Results, loss: str) -> xr.DataArray:
    """The largest error over learning rates, as a logarithm."""
    return digits(results["identity"].eta_error.sel(loss=loss, drop=True).max(("eta", "prompt")))


def alpha_effect(results: Results, query_side: str) -> xr.DataArray:
    """The largest change of attention by alpha, as a logarithm."""
    return digits(results["identity"].alpha_effect.sel(query_side=query_side, drop=True).max("prompt"))


def modified(results: Results, modification: str, dual: str = "own") -> xr.DataArray:
    """The largest error of a dual step against a modified attention, as a logarithm."""
    return digits(results["identity"].modified_error.sel(modification=modification, dual=dual, drop=True).max("prompt"))


def off_line(results: Results, loss: str) -> xr.DataArray:
    """The largest departure of five gradient steps from the line through the first, as a logarithm."""
    return digits(results["identity"].off_line.sel(loss=loss, drop=True).max(("prompt", "few_steps")))


def left_to_fixed_point(results: Results, place: int) -> xr.DataArray:
    """The logarithm of the distance to the fixed point in the end, at the convergent (0) or the divergent (1) alpha."""
    return digits(results["identity"].to_fixed_point.isel(alpha=place, gd_step=-1, drop=True).max("prompt"))


def slope(errors: xr.DataArray) -> xr.DataArray:
    """The slope of log error over log number of features."""
    x, y = np.log(errors.features), np.log(errors)
    x = x - x.mean()
    return (x * y).sum("features") / (x**2).sum("features")


def off_rate(errors: xr.DataArray) -> xr.DataArray:
    """How far the slope is from -1/2."""
    return abs(slope(errors) - RANDOM_RATE)


def off_rate_small(results: Results) -> xr.DataArray:
    """The largest distance from the rate over both maps and the norms up to 0.5."""
    errors = results["features"].error.sortby("norm").sel(norm=SMALL)
    return off_rate(errors).max(("norm", "map"))


def off_rate_large(results: Results, norm: float = LARGE) -> xr.DataArray:
    """The smallest distance from the rate over both maps at one norm."""
    return off_rate(results["features"].error.sel(norm=norm, drop=True)).min("map")


def qr_penalty(
    results: Results, of: str = "orthogonal, plain QR", to: str = "orthogonal", feature_map: str = "positive"
) -> xr.DataArray:
    """The error with one kind of directions over that with another, at the largest number of features."""
    errors = results["features"].variant_error.sel(map=feature_map, drop=True).isel(features=-1, drop=True)
    return errors.sel(directions=of, drop=True) / errors.sel(directions=to, drop=True)


def final(results: Results, arm: str) -> xr.DataArray:
    """The normalized test error after training."""
    return results[arm].error.isel(step=-1, drop=True)


def gain(
    results: Results, variant: str, functions: Sequence[str] = ("linear",), baseline: str = "plain"
) -> xr.DataArray:
    """The share of the baseline's error that a variant saves; of several functions, the largest share."""
    shares = [1 - final(results, f"{f}-{variant}") / final(results, f"{f}-{baseline}") for f in functions]
    return xr.concat(shares, "function").max("function")


LEARNED = {
    "the plain layer beats the best constant": lambda r: xr.concat(
        [final(r, f"{f}-plain") < 0.8 for f in FUNCTIONS], "function"
    ).all("function")
}


CLAIMS = (
    Claim(
        name="gradient-step-is-attention",
        statement="With exact features, one gradient step of the dual model gives the attention output, at every norm.",
        source="equivalence theorem",
        value=lambda r: worst(r, "exact"),
        at_most=EQUAL,
        controls={name: lambda r, name=name: worst(r, name) for name in ABLATIONS},
        unit="log10 error",
    ),
    Claim(
        name="every-part-is-needed",
        statement="At norm 1, without the start W_0, the normalizer D or the right kernel the output is off by 10 %.",
        source="equivalence theorem, ablated",
        value=weakest,
        at_least=0.1,
        controls={"nothing left out": lambda r: weakest(r, ["exact"])},
        unit="relative error",
    ),
    Claim(
        name="learning-rate-cancels",
        statement="The output after the step is the same for learning rates from 0.001 to 1000.",
        source="equivalence theorem, eta",
        value=lambda r: eta_error(r, "matched"),
        at_most=EQUAL,
        controls={"a loss that does not know the rate": lambda r: eta_error(r, "unmatched")},
        unit="log10 error",
    ),
    *(
        Claim(
            name=f"{modification}-is-a-step",
            statement=f"Attention with the modification '{modification}' is one gradient step on the loss with it.",
            source="modifications of attention, from the dual loss",
            value=lambda r, m=modification: modified(r, m),
            at_most=EQUAL,
            controls={"the plain layer's step": lambda r, m=modification: modified(r, m, "plain")},
            unit="log10 error",
        )
        for modification in ("regularized", "augmented", "negatives")
    ),
    Claim(
        name="regularization-needs-query-tokens",
        statement="Regularization acts on query-side tokens only: without any it changes nothing.",
        source="derived from the regularized loss",
        value=lambda r: alpha_effect(r, "none"),
        at_most=EQUAL,
        controls={"with query-side tokens": lambda r: alpha_effect(r, "some")},
        unit="log10 change",
    ),
    Claim(
        name="more-steps-go-straight-on",
        statement="The loss is linear in W, so five steps move the output five times as far as one, past attention.",
        source="derived from the loss",
        value=lambda r: off_line(r, "plain"),
        at_most=EQUAL,
        controls={"the regularized loss": lambda r: off_line(r, "regularized")},
        unit="log10 error",
    ),
    Claim(
        name="regularized-steps-converge",
        statement="With alpha = 0.5, many steps reach V_D softmax_D / alpha, in which W_0 is forgotten.",
        source="derived from the regularized loss",
        value=lambda r: left_to_fixed_point(r, 0),
        at_most=EQUAL,
        controls={"alpha = 2.5": lambda r: left_to_fixed_point(r, 1)},
        unit="log10 error",
    ),
    Claim(
        name="random-features-converge",
        statement="At token norms up to 0.5 the error of R random features falls like 1 / sqrt(R).",
        source="random-feature dual model; rate: derived",
        value=off_rate_small,
        at_most=0.2,
        controls={
            "256 features, repeated": lambda r: off_rate(
                r["features"].variant_error.sel(directions="repeated", drop=True)
            ).min("map")
        },
        unit="|slope + 1/2|",
    ),
    Claim(
        name="large-norms-defeat-random-features",
        statement="At norm 2 it does not, up to the largest R: the variance grows like exp(|q + k|^2).",
        source="ours",
        value=off_rate_large,
        at_least=0.2,
        controls={"norm 0.5": lambda r: off_rate_large(r, 0.5), "norm 0.3": lambda r: off_rate_large(r, 0.3)},
        unit="|slope + 1/2|",
    ),
    Claim(
        name="orthogonal-features-need-signs",
        statement="Orthogonal directions from a plain QR decomposition at least double the error of positive features.",
        source="ours",
        value=qr_penalty,
        at_least=2.0,
        controls={
            "trigonometric features, blind to signs": lambda r: qr_penalty(r, feature_map="trigonometric"),
            "independent directions": lambda r: qr_penalty(r, of="independent"),
        },
        unit="times",
    ),
    Claim(
        name="augmented-keys-lower-error",
        statement="Non-linear augmentation of keys saves at least 5 % of the regression error on one of three functions.",
        source="modified layers on linear, trigonometric and exponential tasks",
        value=lambda r: gain(r, "augmented-keys", FUNCTIONS),
        at_least=0.05,
        controls={"linear augmentation": lambda r: gain(r, "augmented-linear", FUNCTIONS)},
        guards=LEARNED,
        unit="share of error",
    ),
    Claim(
        name="chosen-negatives-beat-random",
        statement="Negatives chosen as the least similar demonstrations do better than random ones on a linear function.",
        source="negatives, from the dual loss; comparison: ours",
        value=lambda r: gain(r, "negatives", baseline="random-negatives"),
        at_least=0.0,
        controls={"no negatives": lambda r: gain(r, "plain", baseline="random-negatives")},
        guards=LEARNED,
        unit="share of error",
    ),
    Claim(
        name="random-negatives-lower-error",
        statement="Random negatives save 5 % or more on a linear function; where the mean of the values matters, they harm.",
        source="ours",
        value=lambda r: gain(r, "random-negatives"),
        at_least=0.05,
        controls={
            "exponential function": lambda r: gain(r, "random-negatives", ("exponential",)),
            "linear augmentation": lambda r: gain(r, "augmented-linear"),
        },
        guards=LEARNED,
        unit="share of error",
    ),
    Claim(
        name="regularization-barely-matters",
        statement="After training, regularization with alpha = 0.5 moves the regression error by less than 2 %.",
        source="modified layers, regularization",
        value=lambda r: abs(gain(r, "regularized", baseline="with-query")),
        at_most=0.02,
        controls={"random negatives": lambda r: abs(gain(r, "random-negatives"))},
        guards=LEARNED,
        unit="share of error",
    ),
)
