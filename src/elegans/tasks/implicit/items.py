"""Questions with two routes to the answer: compute it, or use a pattern that a restriction of the questions permits.

Labels are the computed answers always, so a perfect solver gains nothing from the pattern; it matters only where
computing is imperfect. Source: Yin et al. 2024 (arXiv 2410.04691) and its released code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from elegans.ops.rng import numpy_rng
from elegans.tasks.hash_split import SPLITS, check_split, split_of

Kind = Literal["implicit", "misleading", "normal"]
KINDS: tuple[str, ...] = get_args(Kind)

TRIES = 20_000
"""Questions drawn in a row, none of which is a new one of the kind and split, before a task gives up."""


@dataclass(frozen=True)
class Item:
    """A question and the one right answer to it."""

    question: str
    answer: str


class ItemTask:
    """A source of questions; a subclass draws them (`draw`), solves them (`formal`) and knows the pattern (`shortcut`).

    ============ =======================================================================
    kind         questions
    ============ =======================================================================
    implicit     of which all have the pattern: formal route and shortcut agree
    misleading   that look the same, but the shortcut is wrong on each
    normal       without a restriction: the shortcut is right at its rate (`shortcut_rate`)
    ============ =======================================================================

    A question belongs to one split by a hash of its text. The items of one call are distinct, and a call for fewer
    gets the first ones of a call for more.

    Attributes:
        name: of the task; its random streams start with it.
        instruction: one line that tells a language model what is asked.
        choices: all answers, or None where there are too many.
        gap: what stands between question and answer in a text.
        separator: what stands between one solved question and the next.
        unit: whether a tokenizer for small models reads words (parted by spaces) or characters.
        released: whether the questions have the faults of the released code, where they change the questions; then
            both misleading and normal ones are what that code uses for items without the pattern.
    """

    name: str
    instruction: str
    choices: tuple[str, ...] | None = None
    gap: str = " "
    separator: str = "\n"
    unit: Literal["word", "character"] = "character"
    splits: tuple[str, ...] = SPLITS

    def __init__(self, *, released: bool = False) -> None:
        self.released = released

    # ------------------------------------------------------------------------------------------ what a task defines

    def draw(self, kind: str, rng: np.random.Generator) -> str:
        """A question of a kind. A misleading one may be right by chance: `items` leaves it out."""
        raise NotImplementedError

    def formal(self, question: str) -> str:
        """The true answer, computed from the text."""
        raise NotImplementedError

    def shortcut(self, question: str) -> str:
        """The answer by the pattern."""
        raise NotImplementedError

    def vocabulary(self) -> tuple[str, ...]:
        """All words or characters (see `unit`) of questions and answers."""
        raise NotImplementedError

    # --------------------------------------------------------------------------------------------------------- use

    def items(self, kind: str, count: int, split: str = "train", seed: int = 0) -> list[Item]:
        """`count` distinct items, a pure function of the arguments.

        Raises `ValueError` for an unknown kind or split, and where the task seems to have no further item.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        check_split(split)
        exact = kind == "misleading" and not self.released
        found: dict[str, Item] = {}
        tries = 0
        for question in self._questions(kind, split, seed):
            if len(found) >= count:
                break
            if tries > TRIES:
                raise ValueError(f"{self.name} has only {len(found)} of {count} {kind} items for split {split!r}")
            tries += 1
            if question is None or question in found:
                continue
            answer = self.formal(question)
            if not (exact and answer == self.shortcut(question)):
                found[question] = Item(question, answer)
                tries = 0
        return list(found.values())

    def shortcut_rate(self, kind: str, *, count: int = 1000, split: str = "test", seed: int = 0) -> float:
        """Share of `count` items on which the shortcut is right: 1 on implicit and 0 on misleading ones."""
        items = self.items(kind, count, split, seed)
        return sum(self.shortcut(item.question) == item.answer for item in items) / len(items)

    def pair(self, item: Item) -> tuple[str, str]:
        """A prompt and what follows it, one right after the other."""
        return item.question, self.gap + item.answer

    def text(self, item: Item) -> str:
        """Question, gap and answer."""
        return "".join(self.pair(item))

    def _questions(self, kind: str, split: str, seed: int) -> Iterator[str | None]:
        """Questions of a kind without end, None in place of one that belongs to another split."""
        rng = numpy_rng("implicit", self.name, kind, split, seed)
        while True:
            question = self.draw(kind, rng)
            yield question if split_of(question) == split else None


def pick(rng: np.random.Generator, *options: str) -> str:
    """One of several, uniform."""
    return options[rng.integers(len(options))]
