"""Splits by a hash of the question: nothing that is trained on is tested, and a batch still needs no history.

Shapes: N rows, K integers of a row.
"""

import hashlib
from typing import Literal, get_args

import numpy as np

Split = Literal["train", "select", "test"]
SPLITS: tuple[str, ...] = get_args(Split)

PARTS = 8
"""A hash divides all questions into so many parts: one is ``test``, one ``select``, the others are ``train``."""


def split_of(question: str) -> Split:
    """The split to which a text belongs."""
    part = int.from_bytes(hashlib.blake2b(question.encode(), digest_size=8).digest(), "little") % PARTS
    return "test" if part == 0 else "select" if part == 1 else "train"


def in_split(rows: np.ndarray, split: str) -> np.ndarray:
    """[N] whether rows of integers [N, K] belong to a split: each integer is mixed in by a round of splitmix64."""
    found = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.astype(np.uint64).T:
        found = found + column + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found = found ^ (found >> np.uint64(31))
    part = found % np.uint64(PARTS)
    return part > 1 if split == "train" else part == (0 if split == "test" else 1)


def check_split(split: str) -> None:
    """Raise `ValueError` with the known splits for another name."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
