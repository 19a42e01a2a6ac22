"""What the paper says, as executable claims.

Most arms start at zero and see all strings, so nothing is random in them and their claims are decided exactly.
"""

import xarray as xr

from elegans.study import Claim, Results

SOLVED = 600
"""The step by which both tasks are learned in the paper's curves."""


def end(data: xr.DataArray, **where: object) -> xr.DataArray:
    """The last measurement of a quantity."""
    return data.isel(step=-1, drop=True).sel(where, drop=True)


def by(data: xr.DataArray, step: int, **where: object) -> xr.DataArray:
    """The last measurement up to a step."""
    return data.sel(step=slice(0, step)).isel(step=-1, drop=True).sel(where, drop=True)


def score(results: Results, position: int) -> xr.DataArray:
    """<u, E_l^w>, mean over both symbols w, over training."""
    return results["even-pairs"].token_score.sel(position=position, drop=True).mean("symbol")


def slope_error(results: Results, position: int, expected: float) -> xr.DataArray:
    """Distance of the exponent of |<u, E_l>| in steps 4 to 32 from the expected one."""
    return abs(results["even-pairs"].slope_score.sel(position=position, drop=True) - expected)


def rate_error(results: Results, position: int) -> xr.DataArray:
    """The largest distance of <u, E_l> / (eta t) from 1/4 in steps 1 to 4."""
    scores = score(results, position).sel(step=slice(1, 4))
    return abs(scores / (results["even-pairs"].lr * scores.step) - 0.25).max("step")


def first_token_gap(results: Results, step: int) -> xr.DataArray:
    """Mean attention to the first token in positive strings minus that in negative ones, least over lengths 2 to 6."""
    first = by(results["even-pairs"].attention, step, position=1).sel(size=slice(2, None))
    return (first.sel(label="+", drop=True) - first.sel(label="-", drop=True)).min("size")


def second_token_wins(results: Results, step: int, label: str) -> xr.DataArray:
    """The share of lengths 2 to 6 at which the second token gets the most attention, on average over a class."""
    attention = by(results["even-pairs"].attention, step, label=label).sel(size=slice(2, None))
    others = attention.where(attention.position != 2).max("position")
    return (attention.sel(position=2, drop=True) > others).mean("size")


def reasoning(results: Results, way: str, step: int | None = None, lengths: slice = slice(2, None)) -> xr.DataArray:
    """Accuracy of the even-pairs model on parity check, least over input lengths."""
    parity = results["even-pairs"].parity.sel(way=way, length=lengths, drop=True)
    return (by(parity, step) if step else end(parity)).min("length")


def settles(results: Results, arm: str) -> xr.DataArray:
    """Total variation between attention at t_0 and at the end."""
    return end(results[arm].drift)


def forms(results: Results, arm: str) -> xr.DataArray:
    """Total variation between attention at the start and at the end."""
    return end(results[arm].moved)


def remaining_loss(results: Results, arm: str) -> xr.DataArray:
    """The loss at the end over the loss at the start."""
    return end(results[arm].loss) / results[arm].loss.isel(step=0, drop=True)


def learned(results: Results, arm: str) -> xr.DataArray:
    """Whether all strings are classified at the end."""
    return end(results[arm].accuracy) == 1.0


CLAIMS = (
    Claim(
        name="even-pairs-solved",
        statement="One head classifies all 126 strings up to length 6 by step 600.",
        source="training curves, even pairs",
        value=lambda r: by(r["even-pairs"].accuracy, SOLVED),
        at_least=1.0,
        controls={"even attention": lambda r: end(r["even-pairs-frozen"].accuracy)},
        deterministic=True,
        unit="accuracy",
    ),
    Claim(
        name="first-score-grows-linearly",
        statement="In the first phase <u, E_1> grows like t: its exponent is within 0.2 of 1.",
        source="first phase, token scores",
        value=lambda r: slope_error(r, 1, 1.0),
        at_most=0.2,
        controls={"second token": lambda r: slope_error(r, 2, 1.0)},
        guards={"<u, E_1> above 0": lambda r: by(score(r, 1), 32) > 0},
        deterministic=True,
    ),
    Claim(
        name="later-scores-fall-quadratically",
        statement="In the first phase <u, E_2> falls like -t^2: its exponent is within 0.2 of 2.",
        source="first phase, token scores",
        value=lambda r: slope_error(r, 2, 2.0),
        at_most=0.2,
        controls={"first token": lambda r: slope_error(r, 1, 2.0)},
        guards={"<u, E_2> below 0": lambda r: by(score(r, 2), 32) < 0},
        deterministic=True,
    ),
    Claim(
        name="only-length-one-pulls-at-first",
        statement="Only strings of length 1 have a gradient at zero, so <u, E_1> starts as eta t / 4, to within 0.01 eta t.",
        source="first phase; constant: ours",
        value=lambda r: rate_error(r, 1),
        at_most=0.01,
        controls={"second token": lambda r: rate_error(r, 2)},
        deterministic=True,
    ),
    Claim(
        name="first-token-marks-positives",
        statement="At step 600 the first token gets at least 0.2 more attention in positive than in negative strings.",
        source="first phase, attention",
        value=lambda r: first_token_gap(r, SOLVED),
        at_least=0.2,
        controls={"before training": lambda r: first_token_gap(r, 0)},
        deterministic=True,
    ),
    Claim(
        name="second-token-marks-negatives",
        statement="At step 600 the second token gets the most attention in negative strings of every length.",
        source="first phase, attention",
        value=lambda r: second_token_wins(r, SOLVED, "-"),
        at_least=1.0,
        controls={
            "before training": lambda r: second_token_wins(r, 0, "-"),
            "positive strings": lambda r: second_token_wins(r, SOLVED, "+"),
        },
        deterministic=True,
        unit="share of lengths",
    ),
    Claim(
        name="norm-grows-like-log",
        statement="In the second phase ||u|| grows like log t: their correlation over the last 1.3 decades.",
        source="second phase, norm of u",
        value=lambda r: r["even-pairs"].log_growth,
        at_least=0.99,
        controls={"first 100 steps": lambda r: r["even-pairs"].log_growth_first},
        deterministic=True,
        unit="correlation",
    ),
    Claim(
        name="direction-is-max-margin",
        statement="u turns to the hard-margin direction of the attention outputs: their cosine at the end.",
        source="second phase, implicit bias",
        value=lambda r: end(r["even-pairs"].margin_cosine),
        at_least=0.98,
        controls={"difference of class means": lambda r: end(r["even-pairs"].naive_cosine)},
        guards={"all strings classified": lambda r: learned(r, "even-pairs")},
        deterministic=True,
        unit="cosine",
    ),
    Claim(
        name="margin-is-near-the-largest",
        statement="The margin of u is at least 0.9 of the largest possible one.",
        source="second phase, implicit bias",
        value=lambda r: end(r["even-pairs"].margin_ratio),
        at_least=0.9,
        controls={"difference of class means": lambda r: end(r["even-pairs"].naive_ratio)},
        guards={"all strings classified": lambda r: learned(r, "even-pairs")},
        deterministic=True,
    ),
    Claim(
        name="loss-falls-like-one-over-t",
        statement="The loss falls as fast as 1/t: its log-log slope over the last 1.3 decades is -0.9 or steeper.",
        source="abstract, rate of the loss",
        value=lambda r: r["even-pairs"].slope_loss,
        at_most=-0.9,
        controls={"even attention": lambda r: r["even-pairs-frozen"].slope_loss},
        deterministic=True,
    ),
    Claim(
        name="truncated-chains-solve-parity",
        statement="Trained on even pairs only, the model solves parity check of lengths 2 to 6 by truncated chains.",
        source="parity check by chain of thought at inference",
        value=lambda r: reasoning(r, "truncated"),
        at_least=1.0,
        controls={
            "asked directly": lambda r: reasoning(r, "direct"),
            "untruncated chains": lambda r: reasoning(r, "untruncated", lengths=slice(2, 4)),
            "after 100 steps": lambda r: reasoning(r, "truncated", step=100),
        },
        guards={"all strings classified": lambda r: learned(r, "even-pairs")},
        deterministic=True,
        unit="accuracy",
    ),
    Claim(
        name="chain-training-solves-parity",
        statement="Trained on chains of thought, the model solves parity check of length 4 without truncation.",
        source="parity check by chain of thought in training",
        value=lambda r: end(r["parity-chain"].parity, way="untruncated"),
        at_least=1.0,
        controls={
            "no short strings": lambda r: end(r["parity-chain-bare"].parity, way="untruncated"),
            "trained on parity alone": lambda r: end(r["parity-direct"].parity, way="direct").min("length"),
        },
        deterministic=True,
        unit="accuracy",
    ),
    Claim(
        name="chain-training-nears-largest-margin",
        statement="With chains of thought, too, the margin of u is at least 0.9 of the largest possible one.",
        source="parity check, implicit bias",
        value=lambda r: end(r["parity-chain"].margin_ratio),
        at_least=0.9,
        controls={"difference of class means": lambda r: end(r["parity-chain"].naive_ratio)},
        guards={
            "all strings classified": lambda r: learned(r, "parity-chain"),
            "cosine above 0.98": lambda r: end(r["parity-chain"].margin_cosine) > 0.98,
        },
        deterministic=True,
    ),
    Claim(
        name="attention-settles",
        statement="After t_0 attention hardly moves, at the published lambda = 2 and t_0 = 100: total variation below 0.15.",
        source="second phase, W stays near its value at t_0",
        value=lambda r: settles(r, "even-pairs"),
        at_most=0.15,
        controls={"since the start": lambda r: forms(r, "even-pairs")},
        deterministic=True,
        unit="total variation",
    ),
    Claim(
        name="attention-settles-when-warm",
        statement="After a longer first phase at a higher temperature, lambda = 8 and t_0 = 1000, attention does settle.",
        source="second phase; setting: ours",
        value=lambda r: settles(r, "even-pairs-warm"),
        at_most=0.15,
        controls={
            "since the start": lambda r: forms(r, "even-pairs-warm"),
            "published lambda and t_0": lambda r: settles(r, "even-pairs"),
        },
        guards={"all strings classified": lambda r: learned(r, "even-pairs-warm")},
        deterministic=True,
        unit="total variation",
    ),
    Claim(
        name="short-strings-break-the-symmetry",
        statement="From zero, chains of thought without any short string are never learned: the loss stays at its start.",
        source="role of the regularizer; reading: ours",
        value=lambda r: remaining_loss(r, "parity-chain-bare"),
        at_least=0.999,
        controls={
            "strings of length 1 added": lambda r: remaining_loss(r, "parity-chain-one"),
            "random start": lambda r: remaining_loss(r, "parity-chain-bare-random"),
        },
        deterministic=True,
        unit="of the loss at the start",
    ),
    Claim(
        name="reasoning-generalizes",
        statement="Trained on samples of strings up to length 20, the model solves parity check of new ones of length 20.",
        source="ours",
        value=lambda r: end(r["even-pairs-sampled"].parity, way="truncated"),
        at_least=0.99,
        controls={
            "asked directly": lambda r: end(r["even-pairs-sampled"].parity, way="direct"),
            "after 100 steps": lambda r: by(r["even-pairs-sampled"].parity, 100, way="truncated"),
        },
        guards={"new strings classified": lambda r: end(r["even-pairs-sampled"].accuracy_fresh) > 0.99},
        unit="accuracy",
    ),
    Claim(
        name="three-symbols-are-not-learned",
        statement="The recipe stops at two symbols: the sum of first and last symbol modulo 3 is not learned.",
        source="ours",
        value=lambda r: end(r["cyclic-3"].accuracy),
        at_most=0.9,
        controls={"two symbols": lambda r: end(r["even-pairs"].accuracy)},
        deterministic=True,
        unit="accuracy",
    ),
)
