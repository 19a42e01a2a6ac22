"""Entities as words over an alphabet, and the checks that sized worlds share.

Shapes: N words, W symbols per word.
"""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def check_range(name: str, value: int, low: int, high: int, bound: str) -> None:
    """Raise `ValueError` unless ``low <= value <= high``; `bound` says in words what `high` is."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high} ({bound}), got {value}")


def check_at_least(low: int, **sizes: int) -> None:
    """Raise `ValueError` for a size below `low`."""
    for name, value in sizes.items():
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")


def distinct_words(
    rng: np.random.Generator, count: int, *, n_symbols: int, word_size: int, first: int
) -> Int[Tensor, "N W"]:
    """`count` different words in random order, uniform over the ``n_symbols ** word_size`` words.

    Symbols are the tokens ``first ... first + n_symbols - 1``. Memory grows with `count`, not with the number of words.
    """
    total = n_symbols**word_size
    if total < 2**62:
        codes = rng.choice(total, count, replace=False)
        places = n_symbols ** np.arange(word_size - 1, -1, -1, dtype=np.int64)
        symbols = codes[:, None] // places % n_symbols
    else:
        symbols = rng.integers(0, n_symbols, (count, word_size))
        while len(np.unique(symbols, axis=0)) < count:
            symbols = rng.integers(0, n_symbols, (count, word_size))
    return torch.from_numpy(symbols + first)


def ask(words: Int[Tensor, "N W"], relation: int | None) -> Int[Tensor, "N P"]:
    """Prompts: each word followed by the relation token, or the bare word."""
    if relation is None:
        return words
    return torch.cat([words, torch.full((len(words), 1), relation)], dim=1)


def rows(words: Int[Tensor, "N W"]) -> list[tuple[int, ...]]:
    """The words as tuples, to look them up."""
    return [tuple(word) for word in words.tolist()]
