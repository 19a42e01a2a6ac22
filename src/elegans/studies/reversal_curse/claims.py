"""What the paper says, as executable claims.

Each value is one number per seed. Losses are compared with a uniform guess among the possible answers: a margin of 0
nats is a guess, a negative one is knowledge.
"""

import numpy as np
import xarray as xr

from elegans.study import Claim, Results

DEPTHS = ("gpt-shallow", "gpt", "gpt-deep")
CELLS = ("gpt-tied", "gpt-frozen", "gpt-decay", "gpt-rotary", "gpt-no-positions", "gpt-words2", "gpt-words3")
WIDTHS = ("bilinear-narrow", "bilinear-medium", "bilinear-wide")


def end(data: xr.DataArray, **where: str) -> xr.DataArray:
    """The last measurement of a quantity."""
    return data.isel(step=-1, drop=True).sel(where, drop=True)


def improvement(results: Results, arm: str) -> xr.DataArray:
    """L_rev(T) / L_rev(0): 1 if training taught nothing about the reverse."""
    reverse = results[arm].nll.sel(split="reverse", drop=True)
    return reverse.isel(step=-1, drop=True) / reverse.isel(step=0, drop=True)


def deviation_slope(results: Results, suffix: str = "") -> xr.DataArray:
    """The slope of log |L_rev(T) / L_rev(0) - 1| over log width."""
    arms = [arm + suffix for arm in WIDTHS]
    y = np.log(abs(xr.concat([improvement(results, arm) for arm in arms], "arm") - 1))
    log_width = xr.DataArray(np.log(results.over(arms, lambda data: data.width)))
    x = log_width - log_width.mean("arm")
    return (x * y).sum("arm") / (x**2).sum("arm")


def weight_ratio(results: Results, arm: str) -> xr.DataArray:
    """|Y[B, A]| / Y[A, B] over the held pairs at the end."""
    return abs(end(results[arm].weight_reverse)) / end(results[arm].weight_forward)


def times_vocabulary(results: Results, arm: str) -> xr.DataArray:
    """p(reverse) over that of a uniform guess among all M tokens."""
    return end(results[arm].p, split="reverse") * np.exp(results[arm].nll.sel(split="reverse").isel(step=0, drop=True))


def direct_times_vocabulary(results: Results, arm: str, triples: str = "held") -> xr.DataArray:
    """p(C | A ~>) over that of a uniform guess among all M tokens."""
    start = results[arm].p_direct.sel(triples="held", drop=True).isel(step=0, drop=True)  # weights start at zero: 1 / M
    return end(results[arm].p_direct, triples=triples) / start


def margin(results: Results, arm: str, split: str = "reverse") -> xr.DataArray:
    """NLL minus that of a uniform guess among the possible answers, in nats."""
    return end(results[arm].nll, split=split) - results[arm].chance


def worst(results: Results, arms: tuple[str, ...]) -> xr.DataArray:
    """The smallest margin over several arms, seed by seed."""
    return xr.concat([margin(results, arm) for arm in arms], "arm").min("arm")


def trained(results: Results, arms: tuple[str, ...], below: float) -> xr.DataArray:
    """Whether the training loss of all arms fell below a bound, seed by seed."""
    return results.over(arms, lambda data: end(data.nll, split="train")).max("arm") < below


CLAIMS = (
    Claim(
        name="reverse-stays-unknown",
        statement="In the bilinear model the loss of the untrained direction does not fall while the trained one goes to 0.",
        source="Section 3, separation theorem",
        value=lambda r: improvement(r, "bilinear-wide"),
        at_least=0.98,
        controls={"symmetric weights": lambda r: improvement(r, "bilinear-wide-symmetric")},
        guards={"training loss below 0.02": lambda r: trained(r, ("bilinear-wide",), 0.02)},
    ),
    Claim(
        name="separation-sharpens",
        statement="What training does to the reverse loss vanishes with the width d: the log-log slope is -1/2 or steeper.",
        source="Section 3, d large; rate: ours",
        value=deviation_slope,
        at_most=-0.5,
        controls={"symmetric weights": lambda r: deviation_slope(r, "-symmetric")},
        guards={
            "training loss below 0.05": lambda r: trained(r, WIDTHS, 0.05),
        },
    ),
    Claim(
        name="one-layer-reverse-at-chance",
        statement="In the one-layer transformer p(A | B <-) stays at or below the uniform 1/M: their ratio at most 1.",
        source="Section 4, reversal theorem",
        value=lambda r: times_vocabulary(r, "one-layer-reversal"),
        at_most=1.0,
        controls={"symmetric Y": lambda r: times_vocabulary(r, "one-layer-reversal-symmetric")},
        guards={"p(trained) above 0.99": lambda r: end(r["one-layer-reversal"].p, split="train") > 0.99},
        deterministic=True,
    ),
    Claim(
        name="weights-are-directed",
        statement="Training A -> B grows Y[A, B] and leaves Y[B, A]: their ratio stays below 0.05.",
        source="Section 4, effective weights",
        value=lambda r: weight_ratio(r, "one-layer-reversal"),
        at_most=0.05,
        controls={"symmetric Y": lambda r: weight_ratio(r, "one-layer-reversal-symmetric")},
        guards={"p(trained) above 0.99": lambda r: end(r["one-layer-reversal"].p, split="train") > 0.99},
        deterministic=True,
    ),
    Claim(
        name="one-layer-intransitive",
        statement="In the one-layer transformer p(C | A ~>) over 1/M stays at most 1, although A -> B and B -> C are known.",
        source="Section 4, chain-of-thought theorem",
        value=lambda r: direct_times_vocabulary(r, "one-layer-chain"),
        at_most=1.0,
        controls={"trained conclusions": lambda r: direct_times_vocabulary(r, "one-layer-chain", "trained")},
        guards={"two calls: p above 0.98": lambda r: end(r["one-layer-chain"].p_cot, triples="held") > 0.98},
        deterministic=True,
    ),
    Claim(
        name="symmetry-does-not-cure-chains",
        statement="Symmetric weights cure the reversal curse but not intransitivity: p(C | A ~>) over 1/M stays at most 1.",
        source="Section 4, read together",
        value=lambda r: direct_times_vocabulary(r, "one-layer-chain-symmetric"),
        at_most=1.0,
        controls={"reversal, symmetric Y": lambda r: times_vocabulary(r, "one-layer-reversal-symmetric")},
        guards={"two calls: p above 0.95": lambda r: end(r["one-layer-chain-symmetric"].p_cot, triples="held") > 0.95},
        deterministic=True,
    ),
    Claim(
        name="transformer-reverse-at-chance",
        statement="Transformers of 1, 2 and 4 layers are no better than a uniform guess on the untrained direction.",
        source="multi-layer experiments, reversal",
        value=lambda r: worst(r, DEPTHS),
        at_least=0.0,
        controls={
            "reverse added": lambda r: margin(r, "gpt-reverse-added"),
            "pair in the context": lambda r: margin(r, "gpt-in-context"),
        },
        guards={"training loss below 0.1": lambda r: trained(r, DEPTHS, 0.1)},
        unit="nats",
    ),
    Claim(
        name="curse-is-robust",
        statement="Tied or frozen embeddings, strong weight decay, other positions and longer words do not lift it.",
        source="multi-layer experiments, sweeps",
        value=lambda r: worst(r, CELLS),
        at_least=0.0,
        controls={"reverse added": lambda r: margin(r, "gpt-reverse-added")},
        guards={"training loss below 0.25": lambda r: trained(r, CELLS, 0.25)},
        unit="nats",
    ),
    Claim(
        name="transformer-intransitive",
        statement="A transformer that knows A -> B and B -> C is no better than a uniform guess on A ~> C.",
        source="multi-layer experiments, chain",
        value=lambda r: margin(r, "gpt-chain", "direct"),
        at_least=0.0,
        controls={
            "trained conclusions": lambda r: margin(r, "gpt-chain", "direct_trained"),
            "related words": lambda r: margin(r, "gpt-chain-related", "direct"),
        },
        guards={"training loss below 0.1": lambda r: trained(r, ("gpt-chain",), 0.1)},
        unit="nats",
    ),
    Claim(
        name="two-calls-conclude",
        statement="The same transformer concludes A ~> C when it is asked twice, feeding its own answer B back.",
        source="multi-layer experiments, chain of thought",
        value=lambda r: end(r["gpt-chain"].accuracy_cot, triples="held"),
        at_least=0.95,
        controls={"one call": lambda r: end(r["gpt-chain"].accuracy_direct, triples="held")},
        guards={"training loss below 0.1": lambda r: trained(r, ("gpt-chain",), 0.1)},
        unit="accuracy",
    ),
    Claim(
        name="identity-bridge-lifts-it",
        statement="Items 'A = A' and 'B = B', with some pairs trained both ways, make a transformer know the reverse.",
        source="ours, after arXiv 2602.02470",
        value=lambda r: margin(r, "gpt-identity"),
        at_most=-1.0,
        controls={"no identity items": lambda r: margin(r, "gpt")},
        guards={"training loss below 0.1": lambda r: trained(r, ("gpt-identity",), 0.1)},
        unit="nats",
    ),
)
