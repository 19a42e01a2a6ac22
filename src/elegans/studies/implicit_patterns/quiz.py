"""What the subject is asked, and how: tasks, prompts, shots, scores.

`accuracy` is exact match of the parsed answer everywhere; `contains`, where the right answer is anywhere in what was said,
is how the released code scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elegans.lab.run import Run
from elegans.lm.directory import load_lm
from elegans.lm.model import TextModel
from elegans.lm.prompting import answers, few_shot_prompt
from elegans.lm.tokens import Item as Pair
from elegans.studies.implicit_patterns.arms import SEEN, Asked, Subject
from elegans.tasks.implicit.boolean import BooleanExpressions
from elegans.tasks.implicit.code_reading import CodeReading
from elegans.tasks.implicit.equations import EquationSystems
from elegans.tasks.implicit.expressions import Expressions
from elegans.tasks.implicit.items import Item, ItemTask
from elegans.tasks.implicit.pointer_reading import PointerReading
from elegans.tasks.implicit.relations import Relations

SHOWN = ("pattern", "normal", "other")
"""Kinds of shots: with the pattern of the implicit questions, without one, with another one."""


def language_model(config: Subject, run: Run) -> TextModel:
    """The subject: from its directory, or as it was grown for this seed."""
    if config.lm:
        return load_lm(config.lm, dtype=config.dtype, device=run.device)
    return load_lm(run.artifact("lm") / "lm", device=run.device)


def pointer_reading(config: Subject, pattern: int) -> PointerReading:
    """Pointer reading with the patterns of all cells but the last one in the pretraining documents."""
    return PointerReading(
        pattern=pattern, n_cells=config.cells, n_values=config.values, hops=config.hops, seen=range(config.cells - 1)
    )


def tasks_of(config: Asked) -> dict[str, ItemTask]:
    """What the subject is asked, by name."""
    if config.lm and config.family == "seen":
        found = (Expressions(), CodeReading(), BooleanExpressions(), Relations(), EquationSystems())
    else:
        found = (pointer_reading(config, SEEN if config.family == "seen" else config.cells - 1),)
    return {task.name: task for task in found}


class Quiz:
    """One task as texts for one subject: prompts, shots, scores. A tiny model reads no instruction."""

    def __init__(self, config: Asked, lm: TextModel, task: ItemTask, seed: int) -> None:
        self.config, self.lm, self.task, self.seed = config, lm, task, seed
        self.instruction = task.instruction if config.lm else ""
        self.separator = "\n" if config.lm else task.separator

    def items(self, kind: str, count: int, split: str) -> list[Item]:
        """Questions with answers."""
        return self.task.items(kind, count, split, self.seed)

    def shots(self, shown: str, count: int) -> list[Pair]:
        """Solved questions of `train`. Where a task has one pattern only, misleading ones stand for another pattern."""
        if shown == "other" and isinstance(self.task, PointerReading):
            others = self.task.at_pattern(self.task.pattern - 1)
            return [others.pair(item) for item in others.items("implicit", count, "train", self.seed)]
        kind = {"pattern": "implicit", "normal": "normal", "other": "misleading"}[shown]
        return [self.task.pair(item) for item in self.items(kind, count, "train")]

    def pairs(self, items: Sequence[Item], shots: Sequence[Pair] = (), count: int = 0) -> list[Pair]:
        """Prompts with answers, each with `count` shots of its own in front."""
        found = []
        for number, item in enumerate(items):
            question, answer = self.task.pair(item)
            own = shots[number * count : (number + 1) * count]
            found.append(
                (few_shot_prompt(own, question, instruction=self.instruction, separator=self.separator), answer)
            )
        return found

    def scores(self, lm: TextModel, pairs: Sequence[Pair]) -> dict[str, float]:
        """Shares of `accuracy` and `contains` of what the model says."""
        tokens = self.config.answer_tokens if self.config.lm else 1
        prompts = [prompt for prompt, _ in pairs]
        said = answers(lm, prompts, max_new_tokens=tokens, stop=["\n"], batch_size=self.config.batch)
        gold = [answer.strip() for _, answer in pairs]
        return {
            "accuracy": float(np.mean([parsed(text) == right for text, right in zip(said, gold, strict=True)])),
            "contains": float(np.mean([right in text for text, right in zip(said, gold, strict=True)])),
        }


def parsed(said: str) -> str:
    """The first word, without punctuation behind it."""
    return (said.split() or [""])[0].rstrip(".,;:!?'\"")
