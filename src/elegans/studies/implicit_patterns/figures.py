"""What the paper's readers expect to see, averaged over tasks."""

from collections.abc import Callable

import xarray as xr

from elegans.studies.implicit_patterns.arms import FAMILIES
from elegans.studies.implicit_patterns.claims import (
    TESTABLE,
    alone,
    at_most_samples,
    crossings,
    icl,
    most_shots,
    tuned,
)
from elegans.study import Bars, Curves, Heatmap, MissingResults, Results

QUESTIONS = ("implicit", "misleading", "normal")


def by_family(part: Callable[[str], xr.DataArray]) -> xr.DataArray:
    """An array per family along a dimension ``pattern``."""
    names = xr.DataArray(list(FAMILIES), dims="pattern", name="pattern")
    return xr.concat([part(family) for family in FAMILIES], names, join="outer", coords="minimal")


def examples(results: Results) -> xr.DataArray:
    """Accuracy on implicit questions over the number of examples, however they are used."""
    return by_family(lambda family: _examples(results, family))


def _examples(results: Results, family: str) -> xr.DataArray:
    shots = results[f"icl-{family}"].accuracy.sel(asked="implicit", shown="pattern", drop=True)
    in_context = shots.isel(shots=slice(1, None)).rename(shots="examples").mean("task")
    full = tuned(results, f"ft-{family}").rename(samples="examples").mean("task")
    k, top = most_shots(results, family), int(full.examples[-1])
    even = 10 ** float(crossings(results, family).mean())
    lines: dict[str, xr.DataArray] = {
        "in context": in_context,
        "fine-tuned, tuned rate": full,
        "fine-tuned, released protocol": tuned(results, f"ft-paper-{family}").rename(samples="examples").mean("task"),
        "no examples": _level(alone(results, family).mean("task"), 1, top),
        "level of k* shots, up to break-even": _level(icl(results, family).mean("task"), k, max(round(even), k + 1)),
    }
    if family == "seen":
        lines["fine-tuned, LoRA"] = tuned(results, "lora-seen").rename(samples="examples").mean("task")
    names = xr.DataArray(list(lines), dims="method", name="method")
    return xr.concat(list(lines.values()), names, join="outer", coords="minimal")


def _level(value: xr.DataArray, first: int, last: int) -> xr.DataArray:
    """A constant from one number of examples to another."""
    ends = xr.DataArray([first, last], dims="examples", name="examples")
    return xr.concat([value, value], ends, coords="minimal")


def shots(results: Results) -> xr.DataArray:
    """Accuracy over shots by their kind, for each kind of question."""
    found = by_family(lambda family: results[f"icl-{family}"].accuracy.mean("task"))
    panels = found.stack(panel=("pattern", "asked"))
    names = [f"{asked} questions, {pattern} pattern" for pattern, asked in panels.panel.values]
    return panels.drop_vars(("panel", "pattern", "asked")).assign_coords(panel=names)


def questions(results: Results) -> xr.DataArray:
    """Accuracy on all three kinds of questions after everything that was done to the subject for the seen pattern."""
    rows = {
        "no shots": lambda asked: alone(results, "seen", asked),
        "k* shots": lambda asked: icl(results, "seen", asked),
        "k* normal shots": lambda asked: icl(results, "seen", asked, "normal"),
        "fine-tuned": lambda asked: at_most_samples(results, "ft-seen", asked),
        "fine-tuned, LoRA": lambda asked: at_most_samples(results, "lora-seen", asked),
        "fine-tuned, released protocol": lambda asked: at_most_samples(results, "ft-paper-seen", asked),
        "fine-tuned on normal questions": lambda asked: at_most_samples(results, "ft-normal-seen", asked),
    }
    parts = [xr.concat([row(asked).mean("task") for asked in QUESTIONS], "asked") for row in rows.values()]
    return xr.concat(parts, "subject").assign_coords(subject=list(rows), asked=list(QUESTIONS))


def tasks(results: Results) -> xr.DataArray:
    """Accuracy on implicit questions, task by task."""
    parts: list[xr.DataArray] = []
    for family in FAMILIES:
        rows = {
            "no shots": alone(results, family),
            "k* shots": icl(results, family),
            "fine-tuned, tuned rate": at_most_samples(results, f"ft-{family}"),
            "fine-tuned, released protocol": at_most_samples(results, f"ft-paper-{family}"),
        }
        part = xr.concat(list(rows.values()), "method").assign_coords(method=list(rows))
        parts.append(part.assign_coords(task=[f"{task}, {family}" for task in part.task.values]))
    return xr.concat(parts, "task")


def shifts(results: Results) -> xr.DataArray:
    """Distances between states, on disjoint samples and on the same questions."""

    def both(family: str) -> xr.DataArray:
        data = results[f"shift-{family}"]
        same = data.on_same.mean(("sample", "task")).rename(shots_compared="compared")
        parts: list[xr.DataArray] = [data.distance.mean(("couple", "task")), same]
        return xr.concat(parts, "compared")

    return by_family(both)


def effects(results: Results) -> xr.DataArray:
    """Effects of components in each state."""
    found = by_family(lambda family: results[f"shift-{family}"].effect.mean(("sample", "task")))
    parts = [str(name).removeprefix("blocks.").rstrip("]").split(".", 1) for name in found.component.values]
    names = [f"L{layer} {part.upper().replace('MIXER.HEADS[', 'H')}" for layer, part in parts]
    return found.assign_coords(component=names)


def rates(results: Results) -> xr.DataArray:
    """Accuracy on `select` by learning rate."""
    return by_family(lambda family: results[f"ft-{family}"].select.mean(("repeat", "task")))


def pretraining(results: Results) -> xr.DataArray:
    """Accuracy over pretraining, by shots."""
    found = results["pretrained"].accuracy.rename(documents="pattern")
    if not found.notnull().any():
        raise MissingResults("the model comes from a directory, its pretraining is not known")
    return found


FIGURES = (
    Curves(
        name="examples",
        caption="Accuracy on implicit questions over the number of examples, used as shots or to fine-tune. The level of k* "
        "shots is drawn up to the break-even N*, where fine-tuning at the rate that is best on `select` reaches it; if it "
        "ends at twice the most samples, it is not reached.",
        data=examples,
        x="examples",
        x_label="shots k, or training samples N",
        y_label="accuracy",
        color="method",
        facet="pattern",
        log_x=True,
    ),
    Curves(
        name="shots",
        caption="Accuracy over shots of each kind: with the pattern that makes the implicit questions of the panel easy and "
        "its misleading ones hard, with another one, and with none, which shows what length alone does.",
        data=shots,
        x="shots",
        y_label="accuracy",
        color="shown",
        facet="panel",
    ),
    Bars(
        name="misleading",
        caption="Seen pattern: accuracy on questions where the pattern is right (implicit), wrong (misleading) or neither "
        "(normal), with shots and after fine-tuning on the most samples. Shots can be taken away, weights stay.",
        data=questions,
        x="subject",
        y_label="accuracy",
        color="asked",
    ),
    Bars(
        name="tasks",
        caption="Accuracy on implicit questions, task by task. Without shots it has to lie between the lines for a claim to "
        "be tested on a task.",
        data=tasks,
        x="task",
        y_label="accuracy",
        color="method",
        rules={"at least": TESTABLE[0], "at most": TESTABLE[1]},
    ),
    Bars(
        name="circuit-shift",
        caption="Distance between the effects of heads and MLPs in two states, against no shots and on disjoint "
        "samples of questions where nothing else is said. The floor is the distance of no shots from itself, the bar of "
        "normal shots is what a long prompt does by itself. The last two bars compare kinds of shots in front of the same "
        "questions.",
        data=shifts,
        x="compared",
        y_label="shift",
        color="measure",
        facet="pattern",
    ),
    Heatmap(
        name="effects",
        caption="Share of the logit difference that comes back when one component of the corrupt run takes its output from "
        "the clean one: the circuit in each state.",
        data=effects,
        x="component",
        y="state",
        facet="pattern",
    ),
    Curves(
        name="pretraining",
        caption="The grown model on documents of `test` over pretraining, by the number of solved questions in front: how "
        "early it makes use of a pattern, seen or held out. Nothing is drawn for a model from a directory.",
        data=pretraining,
        x="step",
        x_label="updates",
        y_label="accuracy",
        color="shots",
        facet="pattern",
    ),
    Curves(
        name="rates",
        caption="Accuracy on `select` after fine-tuning, by learning rate and number of samples. The best rate of each "
        "number of samples is the tuned one.",
        data=rates,
        x="rate",
        x_label="learning rate",
        y_label="accuracy on select",
        color="samples",
        facet="pattern",
        log_x=True,
    ),
)
