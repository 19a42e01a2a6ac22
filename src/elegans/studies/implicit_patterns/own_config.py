"""The settings of `icl_study`, and how a user's items are divided."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from elegans.study import Config, UsageError, setting

if TYPE_CHECKING:
    from elegans.tasks.jsonl import LoadedItem


@dataclass(frozen=True, kw_only=True)
class Own(Config):
    """The model, the items, and how they are written."""

    lm: str = setting("", "directory of a Hugging Face causal LM")
    data: str = setting("", "file of items, a JSON object per line")
    digest: str = setting("", "hash of what the file holds: other content is another job")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting("auto", "of the weights in memory")
    choices: bool = setting(False, "answers are a fixed choice, those of `train`, compared by log-probability")
    instruction: str = setting("", "a line in front of everything")
    gap: str = setting(" ", "what stands between a question and its answer")
    separator: str = setting("\n", "what stands between one item and the next")
    test_share: float = setting(0.3, "of the items in `test`, where the file does not say", above=0, at_most=0.8)
    select_share: float = setting(0.15, "of the items in `select`, likewise", above=0, at_most=0.8)
    batch: int = setting(32, "questions read at once", at_least=1)


@dataclass(frozen=True, kw_only=True)
class OwnShots(Own):
    """In-context learning."""

    shots: tuple[int, ...] = setting((0, 1, 2, 4, 8), "solved questions in front", at_least=0)

    def check(self) -> None:
        """From none upward."""
        if len(self.shots) < 2 or self.shots[0] != 0 or list(self.shots) != sorted(set(self.shots)):
            raise UsageError(f"shots must increase from 0, got {self.shots}")


@dataclass(frozen=True, kw_only=True)
class OwnTune(Own):
    """LoRA on the attention projections; the answer is trained."""

    samples: tuple[int, ...] = setting((8, 64, 256), "solved questions to train on", at_least=1)
    rates: tuple[float, ...] = setting((1e-4, 5e-4, 2e-3), "learning rates; the best on `select` counts", above=0)
    steps: int = setting(100, "updates", at_least=1)
    batch_size: int = setting(8, "questions per update", at_least=1)
    warmup: int = setting(10, "updates of linear increase of the learning rate", at_least=0)
    rank: int = setting(8, "rank of the adapters", at_least=1)
    alpha: float = setting(16.0, "LoRA's alpha", above=0)

    def check(self) -> None:
        """Increasing, and some rate to choose."""
        if not self.samples or list(self.samples) != sorted(set(self.samples)):
            raise UsageError(f"samples must increase, got {self.samples}")
        if not self.rates:
            raise UsageError("rates must have at least one learning rate")


def divided(path: Path, test_share: float = 0.3, select_share: float = 0.15) -> dict[str, list[LoadedItem]]:
    """The items of a file as train, select and test. Where the file has no splits, a hash of the question decides.

    Raises `UsageError` for a malformed file and for one where some items have a split and some have none.
    """
    from elegans.tasks.jsonl import load_items

    try:
        items = load_items(path)
    except ValueError as error:
        raise UsageError(str(error)) from None
    without = [item for item in items if item.split is None]
    if without and len(without) < len(items):
        raise UsageError(f"{path}: the item {without[0].question!r} has no 'split', but others have one")
    if not without:
        return {name: [item for item in items if item.split == name] for name in ("train", "select", "test")}
    order = sorted(items, key=lambda item: hashlib.blake2b(item.question.encode(), digest_size=8).digest())
    test, select = round(test_share * len(order)), round(select_share * len(order))
    return {"test": order[:test], "select": order[test : test + select], "train": order[test + select :]}


def digest(path: Path) -> str:
    """A hash of the content of a file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
