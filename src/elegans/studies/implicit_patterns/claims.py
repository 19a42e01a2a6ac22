"""What the paper says, as executable claims.

Each value is one number per seed, a mean over the tasks that can be tested: where the answer without shots is neither
hopeless nor good already. k* is the largest number of shots. "Tuned" is the learning rate that is best on `select`.
"""

import math

import numpy as np
import xarray as xr

from elegans.study import Claim, Results

TESTABLE = (0.3, 0.85)
"""Accuracy without shots between which the pattern is worth something."""
MATCHED = 0.05
"""Accuracies that differ by at most this much count as equal."""
MEASURE = "total variation"


# ------------------------------------------------------------------------------------------------ answers


def icl(
    results: Results, family: str, asked: str = "implicit", shown: str = "pattern", shots: int = -1
) -> xr.DataArray:
    """Accuracy in context, by default with k* shots of the pattern."""
    return results[f"icl-{family}"].accuracy.sel(asked=asked, shown=shown, drop=True).isel(shots=shots, drop=True)


def alone(results: Results, family: str, asked: str = "implicit") -> xr.DataArray:
    """Accuracy without shots."""
    return icl(results, family, asked, shots=0)


def most_shots(results: Results, family: str) -> int:
    """k*."""
    return int(results[f"icl-{family}"].shots[-1])


def tuned(results: Results, arm: str, asked: str = "implicit") -> xr.DataArray:
    """Accuracy after fine-tuning by number of samples, a mean over draws, at the rate that is best on `select`."""
    data = results[arm]
    best = data.select.mean("repeat").fillna(-1).argmax("rate")
    return data.accuracy.sel(asked=asked, drop=True).mean("repeat").isel(rate=best).drop_vars("rate")


def at_most_samples(results: Results, arm: str, asked: str = "implicit") -> xr.DataArray:
    """The same with the most samples."""
    return tuned(results, arm, asked).isel(samples=-1, drop=True)


def testable(results: Results, family: str) -> xr.DataArray:
    """Which tasks the subject can neither do without shots nor has no idea of."""
    accuracy = alone(results, family)
    return (accuracy >= TESTABLE[0]) & (accuracy <= TESTABLE[1])


def some_testable(results: Results, family: str = "seen") -> xr.DataArray:
    """Whether there is such a task."""
    return testable(results, family).any("task")


def over_tasks(results: Results, values: xr.DataArray, family: str = "seen") -> xr.DataArray:
    """The mean over testable tasks."""
    return values.where(testable(results, family)).mean("task")


def gain(results: Results, family: str = "seen", shown: str = "pattern") -> xr.DataArray:
    """What k* shots add to accuracy on implicit questions."""
    return over_tasks(results, icl(results, family, shown=shown) - alone(results, family), family)


def gain_over_both(results: Results, shown: str = "pattern") -> xr.DataArray:
    """What k* shots add with the held-out pattern: over none or over as many normal ones, whichever is less."""
    base = np.maximum(alone(results, "held-out"), icl(results, "held-out", shown="normal"))
    return over_tasks(results, icl(results, "held-out", shown=shown) - base, "held-out")


def drop(results: Results, asked: str, shown: str = "pattern", against: str = "normal shots") -> xr.DataArray:
    """Accuracy after k* shots minus that after as many normal ones, or after none."""
    base = alone(results, "seen", asked) if against == "no shots" else icl(results, "seen", asked, "normal")
    return over_tasks(results, icl(results, "seen", asked, shown) - base)


def lead(results: Results, family: str, shots: int = -1) -> xr.DataArray:
    """Accuracy in context minus that of fine-tuning on as many samples as k*."""
    few = tuned(results, f"ft-{family}").sel(samples=most_shots(results, family), drop=True)
    return over_tasks(results, icl(results, family, shots=shots) - few, family)


def share_of_gain(results: Results, arm: str) -> xr.DataArray:
    """What fine-tuning on the most samples adds, over what k* shots add."""
    added = over_tasks(results, at_most_samples(results, arm) - alone(results, "seen"))
    return added / gain(results)


def crossings(results: Results, family: str, target: xr.DataArray | None = None) -> xr.DataArray:
    """log10 of N* by task: samples at which tuned fine-tuning reaches accuracy in context, or `target`.

    Between two tried numbers it is read off a line over log N; one that is never reached counts as twice the most samples.
    """
    curve = tuned(results, f"ft-{family}")
    goal = icl(results, family) if target is None else target
    dims = [["samples"], [], ["samples"]]
    found = xr.apply_ufunc(crossing, curve, goal, curve.samples, input_core_dims=dims, vectorize=True)
    return xr.DataArray(np.log10(found))


def crossing(values: np.ndarray, goal: float, samples: np.ndarray) -> float:
    """Where a curve over log N first reaches the goal."""
    above = np.flatnonzero(values >= goal)
    if not len(above):
        return 2.0 * samples[-1]
    last = above[0]
    if last == 0:
        return float(samples[0])
    share = (goal - values[last - 1]) / (values[last] - values[last - 1])
    return float(math.exp(np.interp(share, (0, 1), np.log(samples[[last - 1, last]]))))


def break_even_ratio(results: Results, target: xr.DataArray | None = None) -> xr.DataArray:
    """log10 of N* / k* with the seen pattern."""
    return over_tasks(results, crossings(results, "seen", target) - math.log10(most_shots(results, "seen")))


def price(results: Results, arm: str) -> xr.DataArray:
    """Accuracy on misleading questions after fine-tuning on the most samples, minus that before."""
    return over_tasks(results, at_most_samples(results, arm, "misleading") - alone(results, "seen", "misleading"))


# ------------------------------------------------------------------------------------------------ circuits


def couples(results: Results, compared: str) -> xr.DataArray:
    """Distance between two states on each couple of samples, with the seen pattern."""
    return results["shift-seen"].distance.sel(compared=compared, measure=MEASURE, drop=True)


def shift(results: Results, compared: str) -> xr.DataArray:
    """Mean distance between two states, over couples of disjoint samples."""
    return couples(results, compared).mean("couple")


def floor(results: Results) -> xr.DataArray:
    """Distances of no shots from itself, each couple of samples once."""
    values = couples(results, "floor")
    first, second = (values[name] for name in ("first", "second"))
    once = (first < second) if "seed" not in first.dims else (first < second).isel(seed=0)
    return values.isel(couple=np.flatnonzero(once))


def on_same(results: Results, compared: str) -> xr.DataArray:
    """Distance between two kinds of shots on the same questions, by sample."""
    found = results["shift-seen"].on_same.sel(shots_compared=compared, measure=MEASURE, drop=True)
    return found.rename(sample="couple")


def normal_shots(results: Results) -> xr.DataArray:
    """The distance that it makes which normal shots are in front of the same questions."""
    return on_same(results, "normal to normal shots")


def beyond(results: Results, distance: xr.DataArray, noise: xr.DataArray) -> xr.DataArray:
    """A distance minus mean and two standard deviations of the noise."""
    ceiling = noise.mean("couple") + 2 * noise.std("couple", ddof=1)
    return over_tasks(results, distance - ceiling)


def more_than_tuning(results: Results, compared: str) -> xr.DataArray:
    """A distance minus that of the model fine-tuned to the accuracy of k* shots."""
    return over_tasks(results, shift(results, compared) - shift(results, "tuned to match"))


def behavior_matched(results: Results) -> xr.DataArray:
    """Whether the fine-tuned model answers as many implicit questions as the one with shots."""
    accuracy = results["shift-seen"].accuracy
    gap = accuracy.sel(state="tuned to match", drop=True) - accuracy.sel(state="pattern shots", drop=True)
    return abs(over_tasks(results, gap)) <= MATCHED


# ------------------------------------------------------------------------------------------------ the claims

GUARD = f"without shots between {TESTABLE[0]} and {TESTABLE[1]} right"

CLAIMS = (
    Claim(
        name="icl-uses-the-pattern",
        statement="k* solved questions that share a pattern raise accuracy on questions with it by at least 0.1. Normal "
        "ones must do less than half of that, and ones with another pattern must not do it.",
        source="abstract: models with ICL grasp deep patterns",
        value=gain,
        at_least=0.1,
        controls={
            "twice the gain of as many normal shots": lambda r: 2 * gain(r, shown="normal"),
            "as many shots with another pattern": lambda r: gain(r, shown="other"),
        },
        guards={GUARD: some_testable},
        unit="accuracy",
    ),
    Claim(
        name="the-gain-is-the-pattern",
        statement="The same shots cost accuracy on misleading questions, on which the pattern is wrong: at least 0.05 "
        "against as many normal shots.",
        source="ours",
        value=lambda r: drop(r, "misleading"),
        at_most=-0.05,
        controls={
            "normal questions after normal shots, against none": lambda r: drop(r, "normal", "normal", "no shots")
        },
        guards={GUARD: some_testable},
        unit="accuracy",
    ),
    Claim(
        name="icl-beats-tuning-at-equal-samples",
        statement="k* shots reach at least 0.05 more than fine-tuning on k* samples, at the best of the learning rates.",
        source="abstract: ICL against fine-tuning",
        value=lambda r: lead(r, "seen"),
        at_least=0.05,
        controls={"no shots": lambda r: lead(r, "seen", shots=0)},
        guards={GUARD: some_testable},
        unit="accuracy",
    ),
    Claim(
        name="icl-beats-tuning-on-a-new-pattern",
        statement="The same with a pattern that pretraining documents do not have.",
        source="ours; the paper does not tell seen from new",
        value=lambda r: lead(r, "held-out"),
        at_least=0.05,
        controls={"no shots": lambda r: lead(r, "held-out", shots=0)},
        guards={GUARD: lambda r: some_testable(r, "held-out")},
        unit="accuracy",
    ),
    Claim(
        name="released-protocol-gains-little",
        statement="Fine-tuned by the released protocol (learning rate 1e-5, 100 updates) on the most samples, the model "
        "gains less than half of what k* shots give. Rate 1e-5 is nearly no update of a tiny model: on the laptop this "
        "says that the protocol is weak, not that fine-tuning is.",
        source="abstract: limited improvements of fine-tuning",
        value=lambda r: share_of_gain(r, "ft-paper-seen"),
        at_most=0.5,
        controls={"the best of the learning rates": lambda r: share_of_gain(r, "ft-seen")},
        guards={GUARD: some_testable, "k* shots gain at least 0.05": lambda r: gain(r) >= 0.05},
        unit="gain over gain",
    ),
    Claim(
        name="tuning-needs-far-more-samples",
        statement="Fine-tuning at the best of the learning rates needs at least 100 times as many samples as ICL has shots "
        "to reach its accuracy. From 10 to 100 times would be part of it, below 10 times none.",
        source="abstract: thousands of times more samples; the factor: ours",
        value=break_even_ratio,
        at_least=2.0,
        controls={"to reach accuracy without shots": lambda r: break_even_ratio(r, alone(r, "seen"))},
        guards={GUARD: some_testable},
        unit="log10 of N* / k*",
    ),
    Claim(
        name="tuning-pays-on-misleading-questions",
        statement="Fine-tuned on the pattern until it is as good as ICL or better, the model loses at least 0.05 on "
        "misleading questions for good; ICL changes no weight. Normal questions to train on do no such harm.",
        source="ours",
        value=lambda r: price(r, "ft-seen"),
        at_most=-0.05,
        controls={"fine-tuned on as many normal questions": lambda r: price(r, "ft-normal-seen")},
        guards={
            GUARD: some_testable,
            "fine-tuning catches up": lambda r: over_tasks(r, at_most_samples(r, "ft-seen") - icl(r, "seen")) >= 0,
        },
        unit="accuracy",
    ),
    Claim(
        name="shots-move-the-circuit",
        statement="k* shots with the pattern move the effects of heads and MLPs further than noise: more than its mean and "
        "two standard deviations.",
        source="summary: circuit shift; the measure: ours",
        value=lambda r: beyond(r, shift(r, "pattern shots"), floor(r)),
        at_least=0.0,
        controls={"no shots against themselves": lambda r: beyond(r, floor(r).mean("couple"), floor(r))},
        guards={GUARD: some_testable},
        unit=MEASURE,
    ),
    Claim(
        name="the-pattern-moves-the-circuit",
        statement="Not only the length of the prompt: from k* normal shots to k* with the pattern, in front of the same "
        "questions, effects move further than from normal shots to others, by more than two standard deviations of that.",
        source="ours: length control",
        value=lambda r: beyond(r, on_same(r, "normal to pattern shots").mean("couple"), normal_shots(r)),
        at_least=0.0,
        controls={"other normal shots": lambda r: beyond(r, normal_shots(r).mean("couple"), normal_shots(r))},
        guards={GUARD: some_testable},
        unit=MEASURE,
    ),
    Claim(
        name="shots-move-the-circuit-more-than-tuning",
        statement="k* shots move the effects further than fine-tuning to the same accuracy does. Where as many normal shots "
        "do so too, this is about the length of the prompt.",
        source="summary: circuit shift; the measure: ours",
        value=lambda r: more_than_tuning(r, "pattern shots"),
        at_least=0.0,
        controls={"as many normal shots": lambda r: more_than_tuning(r, "normal shots")},
        guards={GUARD: some_testable, "equal accuracy": behavior_matched},
        unit=MEASURE,
    ),
    Claim(
        name="icl-uses-a-new-pattern",
        statement="k* shots with a pattern that is not in the pretraining documents raise accuracy on questions with it, "
        "over none and over as many normal ones: not all of ICL is the recognition of what was seen.",
        source="ours",
        value=gain_over_both,
        at_least=0.0,
        controls={"as many shots with another pattern": lambda r: gain_over_both(r, "other")},
        guards={GUARD: lambda r: some_testable(r, "held-out")},
        unit="accuracy",
    ),
)
