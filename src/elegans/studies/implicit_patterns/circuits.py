"""The circuit shift: effects of heads and MLPs without shots, with shots, and after fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xarray as xr

from elegans.lab.run import Run
from elegans.lm.finetune import finetune
from elegans.lm.model import TextModel
from elegans.lm.prompting import score_answers
from elegans.lm.tokens import Item as Pair
from elegans.lm.tokens import Tokens, encode_items, filled, pad_id
from elegans.probes.circuit_shift import circuit_shift, component_effects
from elegans.probes.interchange import recovered
from elegans.probes.metrics import logit_difference
from elegans.studies.implicit_patterns.arms import ShiftConfig
from elegans.studies.implicit_patterns.quiz import Quiz, language_model, tasks_of
from elegans.studies.implicit_patterns.stages import Stages
from elegans.tasks.implicit.items import Item
from elegans.tasks.implicit.relations import Relations

STATES = (
    "no shots",
    "pattern shots",
    "normal shots",
    "other normal shots",
    "tuned to match",
    "tuned, paper's rate",
    "tuned, own rate",
)
COMPARED = {
    "floor": ("no shots", "no shots"),
    "pattern shots": ("no shots", "pattern shots"),
    "normal shots": ("no shots", "normal shots"),
    "tuned to match": ("no shots", "tuned to match"),
    "tuned, paper's rate": ("no shots", "tuned, paper's rate"),
    "tuned, own rate": ("no shots", "tuned, own rate"),
}
ON_SAME = {
    "normal to pattern shots": ("normal shots", "pattern shots"),
    "normal to normal shots": ("normal shots", "other normal shots"),
}


def shifted(config: ShiftConfig, seed: int, run: Run) -> xr.Dataset:
    """Effects of components in seven states of the subject, and how far apart these are.

    `distance` compares two states on samples of pairs that have nothing in common, so that noise alone does not tell them
    apart; `couple` are all ordered couples of samples, and `floor` compares a state with itself. `on_same` compares two
    states on the same questions, sample by sample, which tells what the shots do from what the questions do. `accuracy`
    is that of each state on implicit questions of `test`.
    """
    lm = language_model(config, run)
    # Two answers of `Relations` never come with equally many tokens, so there is nothing to exchange.
    tasks = {name: task for name, task in tasks_of(config).items() if not isinstance(task, Relations)}
    stages = Stages(run, len(tasks) * (3 + len(STATES)))
    parts = [_shifted(config, Quiz(config, lm, task, seed), seed, stages) for task in tasks.values()]
    return xr.concat(parts, xr.DataArray(list(tasks), dims="task", name="task"), coords="minimal")


def _shifted(config: ShiftConfig, quiz: Quiz, seed: int, stages: Stages) -> xr.Dataset:
    most = max(config.n_eval, config.pairs * config.resamples) * config.shots
    normal = quiz.shots("normal", 2 * most)
    shots = {
        "pattern shots": quiz.shots("pattern", most),
        "normal shots": normal[:most],
        "other normal shots": normal[most:],
    }
    models = _tuned_states(config, quiz, shots["pattern shots"], seed, stages)
    test = quiz.items("implicit", config.n_eval, "test")
    samples = _samples(config, quiz)
    effects: list[xr.Dataset] = []
    accuracy: list[float] = []
    for state in STATES:
        lm, count = models.get(state, quiz.lm), config.shots if state in shots else 0
        shown, step = shots.get(state, []), config.pairs * count
        accuracy.append(quiz.scores(lm, quiz.pairs(test, shown, count))["accuracy"])
        rows = [
            _effects(config, quiz, lm, sample, shown[number * step :][:step], count)
            for number, sample in enumerate(samples)
        ]
        effects.append(xr.concat(rows, "sample", coords="minimal"))
        stages.done()
    found = xr.concat(effects, xr.DataArray(list(STATES), dims="state", name="state"), coords="minimal")
    top = min(config.top, found.sizes["component"])
    return found.assign(
        distance=_compared(found.effect, COMPARED, "compared", _couples, top),
        on_same=_compared(found.effect, ON_SAME, "shots_compared", circuit_shift, top),
        accuracy=("state", accuracy),
    )


def _compared(
    effect: xr.DataArray, states: Mapping[str, tuple[str, str]], dim: str, how: Any, top: int
) -> xr.DataArray:
    parts: list[xr.DataArray] = [
        how(*(effect.sel(state=state, drop=True) for state in two), top=top) for two in states.values()
    ]
    return xr.concat(parts, xr.DataArray(list(states), dims=dim, name=dim), coords="minimal")


def _couples(before: xr.DataArray, after: xr.DataArray, top: int) -> xr.DataArray:
    """Distances over all ordered couples of samples, `first` of one state and `second` of the other."""
    count = before.sizes["sample"]
    first, second = zip(*((i, k) for i in range(count) for k in range(count) if i != k), strict=True)
    found = [
        circuit_shift(before.isel(sample=i), after.isel(sample=k), top=top) for i, k in zip(first, second, strict=True)
    ]
    numbers = {"first": ("couple", list(first)), "second": ("couple", list(second))}
    return xr.concat(found, "couple", coords="minimal").assign_coords(numbers)


def _tuned_states(
    config: ShiftConfig, quiz: Quiz, shots: Sequence[Pair], seed: int, stages: Stages
) -> dict[str, TextModel]:
    """Fine-tuned until few-shot accuracy on `select` is met, and for all steps at the two rates."""
    select = quiz.items("implicit", config.n_eval, "select")
    few_shot = quiz.pairs(select, shots, config.shots)
    target = float(score_answers(quiz.lm, few_shot, batch_size=config.batch).accuracy.mean())
    train = quiz.pairs(quiz.items("implicit", config.samples, "train"))

    def tune(rate: float, **how: Any) -> TextModel:
        part = stages.part(f"{quiz.task.name}-{rate:g}-{len(how)}")
        size = min(config.batch_size, len(train))
        return finetune(
            quiz.lm, train, steps=config.steps, lr=rate, batch_size=size, warmup=config.warmup, seed=seed,
            run=part, name=part.name, **how,
        )  # fmt: skip

    return {
        "tuned to match": tune(
            config.rate,
            evaluate={"select": quiz.pairs(select)},
            evaluate_at=range(0, config.steps + 1, config.look_every),
            until=lambda found: bool(found.accuracy.sel(split="select") >= target),
        ),
        "tuned, paper's rate": tune(config.paper_rate),
        "tuned, own rate": tune(config.rate),
    }


def _samples(config: ShiftConfig, quiz: Quiz) -> list[list[tuple[Item, Item]]]:
    """Disjoint samples of pairs of implicit questions with other answers and equally many tokens."""
    wanted = config.pairs * config.resamples
    for factor in (3, 12, 48, 192):
        pool = quiz.items("implicit", factor * wanted, "test")
        found = _matched(pool, encode_items(quiz.lm.tokenizer, quiz.pairs(pool)))
        if len(found) >= wanted:
            return [found[i : i + config.pairs] for i in range(0, wanted, config.pairs)]
    raise ValueError(f"{quiz.task.name}: too few pairs of questions have equal token counts")


def _matched(pool: Sequence[Item], tokens: Sequence[Tokens]) -> list[tuple[Item, Item]]:
    waiting: dict[int, list[int]] = {}
    found = []
    for number, own in enumerate(tokens):
        partners = waiting.setdefault(own.start, [])
        match = next((i for i in partners if _fork(tokens[i], own) is not None), None)
        if match is None:
            partners.append(number)
        else:
            partners.remove(match)
            found.append((pool[match], pool[number]))
    return found


def _fork(one: Tokens, other: Tokens) -> int | None:
    """The place of the first token in which two answers differ, if they start at the same place.

    Many tokenizers split the space off a number, so that all answers begin alike.
    """
    if one.start != other.start:
        return None
    answers = zip(one.ids[one.start :], other.ids[other.start :], strict=False)
    return next((one.start + i for i, (a, b) in enumerate(answers) if a != b), None)


def _effects(
    config: ShiftConfig,
    quiz: Quiz,
    lm: TextModel,
    sample: Sequence[tuple[Item, Item]],
    shots: Sequence[Pair],
    count: int,
) -> xr.Dataset:
    """I_c over a sample (`effect`, none where the runs differ too little) and the logit `difference` of the runs.

    Both questions of a pair have the same shots in front; the difference is read where their answers first differ.
    """
    sides = (encode_items(lm.tokenizer, quiz.pairs([pair[side] for pair in sample], shots, count)) for side in (0, 1))
    pairs = [(clean.ids, corrupt.ids, _fork(clean, corrupt)) for clean, corrupt in zip(*sides, strict=True)]
    kept = [(clean, corrupt, at) for clean, corrupt, at in pairs if at is not None]
    if not kept:
        raise ValueError(f"{quiz.task.name}: behind shots no two questions have equal token counts")
    parts: list[xr.DataArray] = []
    with lm.adapted() as net:
        for first in range(0, len(kept), config.patched):
            *runs, forks = zip(*kept[first : first + config.patched], strict=True)
            right, wrong = (torch.tensor([ids[at] for ids, at in zip(side, forks, strict=True)]) for side in runs)
            heads = [[ids[:at] for ids, at in zip(side, forks, strict=True)] for side in runs]
            clean, corrupt = (filled(rows, pad_id(lm.tokenizer)).to(lm.device) for rows in heads)
            metric = logit_difference(right, wrong, torch.tensor(forks) - 1)
            parts.append(component_effects(net, clean, corrupt, metric))
    whole = xr.concat(parts, "item", coords="minimal", join="override")
    difference = float((whole.source - whole.base).mean())
    share = recovered(whole) if difference else whole.mean("item")
    effect = share.where(abs(difference) >= config.least_difference).drop_vars(("base", "source"), errors="ignore")
    return xr.Dataset({"effect": effect, "difference": difference})
