"""What the results of `elegans.studies.implicit_patterns.own` say: a recommendation, its intervals, claims and figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from elegans.studies.implicit_patterns.claims import crossing
from elegans.study import Bars, Claim, Curves, Results

Z = 1.959964
"""The normal quantile of 95 % intervals."""


@dataclass(frozen=True)
class Recommendation:
    """What the results say to do.

    Attributes:
        choice: ``icl``, ``lora``, or ``either`` where the interval of the difference has 0 in it.
        shots: of ICL, the number that is best on ``select`` (of the first seed where seeds differ).
        samples: of LoRA, the most.
        difference: accuracy of ICL minus that of LoRA on ``test``.
        low, high: its 95 % bootstrap interval over questions and seeds.
        break_even: training samples at which LoRA is as accurate as ICL; None if it never is.
        text: all this in words.
    """

    choice: Literal["icl", "lora", "either"]
    shots: int
    samples: int
    difference: float
    low: float
    high: float
    break_even: float | None
    text: str


def recommend(results: Results) -> Recommendation:
    """Whether to use shots or LoRA on the most samples. Raises `MissingResults` where a job did not finish."""
    icl, lora = chosen(results), results["lora"].right.isel(samples=-1, drop=True)
    value, low, high = paired(icl, lora)
    shots = int(results["icl"].shots.values[_best_shots(results).isel(seed=0).item()])
    samples, even = int(results["lora"].samples[-1]), break_even(results)
    choice: Literal["icl", "lora", "either"] = "icl" if low > 0 else "lora" if high < 0 else "either"
    advice = {
        "icl": f"Put {shots} solved questions into the prompt.",
        "lora": f"Fine-tune: LoRA on {samples} questions is better than {shots} shots.",
        "either": f"Too close to call between {shots} shots and LoRA on {samples} questions; shots need no training.",
    }[choice]
    reached = (
        f"LoRA breaks even at about {even:.0f} samples" if even else f"LoRA does not break even up to {samples} samples"
    )
    text = f"{advice} ICL minus LoRA: {value:+.3f} [{low:+.3f}, {high:+.3f}]; {reached}."
    return Recommendation(choice, shots, samples, value, low, high, even, text)


def _best_shots(results: Results) -> xr.DataArray:
    return results["icl"].select.argmax("shots")


def chosen(results: Results) -> xr.DataArray:
    """Which questions of ``test`` are right in context, with the number of shots that is best on ``select``."""
    return results["icl"].right.isel(shots=_best_shots(results)).drop_vars("shots")


def break_even(results: Results) -> float | None:
    """Samples, on a line over log N, at which the mean accuracy of LoRA reaches that of ICL; None if it does not."""
    curve = results["lora"].right.mean(("seed", "item"))
    goal, samples = float(chosen(results).mean()), curve.samples.to_numpy()
    found = crossing(curve.to_numpy(), goal, samples)
    return found if found <= samples[-1] else None


def paired(one: xr.DataArray, other: xr.DataArray, draws: int = 2000) -> tuple[float, float, float]:
    """The mean difference of two arrays (seed, item) and its 95 % bootstrap interval, over questions and seeds."""
    gap = (one - other).transpose("seed", "item").to_numpy()
    rng = np.random.default_rng(0)
    seeds = rng.integers(gap.shape[0], size=(draws, gap.shape[0]))
    items = rng.integers(gap.shape[1], size=(draws, gap.shape[1]))
    means = [gap[s].mean(0)[i].mean() for s, i in zip(seeds, items, strict=True)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(gap.mean()), float(low), float(high)


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval on a share of `count` questions (Wilson 1927)."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return middle - half, middle + half


# ------------------------------------------------------------------------------------------------ claims, figures


def _lead(results: Results, right: xr.DataArray) -> xr.DataArray:
    return (right - results["lora"].right.isel(samples=-1, drop=True)).mean("item")


CLAIMS = (
    Claim(
        name="icl-is-enough",
        statement="Solved questions in the prompt, as many as are best on `select`, are at least as accurate on `test` as "
        "LoRA on the most samples. Seeds are draws of shots and samples; for the interval over questions see the figure.",
        source="abstract: ICL against fine-tuning",
        value=lambda r: _lead(r, chosen(r)),
        at_least=0.0,
        controls={"no shots": lambda r: _lead(r, r["icl"].right.sel(shots=0, drop=True))},
        unit="accuracy",
    ),
)


def _with_interval(right: xr.DataArray) -> xr.DataArray:
    """Accuracy on ``test``, and its interval over questions."""
    share, count = right.mean(("seed", "item")), right.sizes["item"]
    bounds = np.array([wilson(float(value), count) for value in share]).T
    rows = [share.to_numpy(), *bounds]
    coords = {"reading": ["accuracy", "low (Wilson)", "high (Wilson)"], "examples": share[share.dims[0]].to_numpy()}
    return xr.DataArray(rows, coords, ("reading", "examples"))


def accuracy(results: Results) -> xr.DataArray:
    """Accuracy with its interval by examples; the levels without shots, and of ICL up to the break-even."""
    icl, samples = results["icl"].right, results["lora"].samples.to_numpy()
    some = icl.isel(shots=slice(1, None))
    none = _level("no shots", icl.sel(shots=0), 1, int(some.shots[-1]))
    even = _level("ICL, up to break-even", chosen(results), samples[0], break_even(results) or 2 * samples[-1])
    parts = {
        "in context": xr.concat([_with_interval(some), none], "reading", join="outer"),
        "LoRA": xr.concat([_with_interval(results["lora"].right), even], "reading", join="outer"),
    }
    names = xr.DataArray(list(parts), dims="method", name="method")
    return xr.concat(list(parts.values()), names, join="outer")


def _level(name: str, right: xr.DataArray, first: float, last: float) -> xr.DataArray:
    """A mean accuracy from one number of examples to another."""
    ends = sorted({float(first), float(last)})
    return xr.DataArray(
        [[float(right.mean())] * len(ends)], {"reading": [name], "examples": ends}, ("reading", "examples")
    )


def differences(results: Results) -> xr.DataArray:
    """ICL minus LoRA by samples, with the bootstrap interval."""
    lora = results["lora"].right
    found = [paired(chosen(results), lora.sel(samples=count, drop=True)) for count in lora.samples]
    coords = {"samples": [str(int(count)) for count in lora.samples], "reading": ["difference", "low", "high"]}
    return xr.DataArray(found, coords, ("samples", "reading"))


def kinds(results: Results) -> xr.DataArray:
    """Accuracy on ``test`` by the kind that the file gives."""
    methods = {
        "no shots": results["icl"].right.sel(shots=0, drop=True),
        "in context": chosen(results),
        "LoRA, most samples": results["lora"].right.isel(samples=-1, drop=True),
    }
    rows = [right.assign_coords(kind=("item", _kinds(results))).groupby("kind").mean() for right in methods.values()]
    return xr.concat(rows, "method").assign_coords(method=list(methods))


def _kinds(results: Results) -> np.ndarray:
    """Of each question of ``test``."""
    kind = results["icl"].kind
    return (kind.isel(seed=0, drop=True) if "seed" in kind.dims else kind).to_numpy()


FIGURES = (
    Curves(
        name="accuracy",
        caption="Accuracy on `test` by the number of examples, with 95 % intervals over questions (mean over seeds), and "
        "without any. The level of ICL is drawn up to the break-even; if it ends at twice the most samples, LoRA does not "
        "reach it.",
        data=accuracy,
        x="examples",
        x_label="shots, or training samples",
        y_label="accuracy",
        color="reading",
        facet="method",
        log_x=True,
    ),
    Bars(
        name="recommendation",
        caption="Accuracy in context minus that of LoRA, by training samples, with the 95 % bootstrap interval over "
        "questions and seeds. Above 0 shots are better, below 0 LoRA is; an interval with 0 in it does not tell.",
        data=differences,
        x="samples",
        x_label="training samples",
        y_label="ICL minus LoRA",
        color="reading",
        rules={"equal": 0.0},
    ),
    Bars(
        name="kinds",
        caption="Accuracy on `test` by kind of question, where the file has kinds.",
        data=kinds,
        x="kind",
        y_label="accuracy",
        color="method",
    ),
    Curves(
        name="rates",
        caption="Accuracy of LoRA on `select` by learning rate. The best rate of each number of samples is reported.",
        data=lambda r: r["lora"].select,
        x="rate",
        x_label="learning rate",
        y_label="accuracy on select",
        color="samples",
        log_x=True,
    ),
)
