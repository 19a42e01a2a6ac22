"""Associative recall: pairs of a key and a value, then keys whose values are asked for.

Shapes: B batch, T positions, n pairs.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
import torch

from elegans.tasks.base import IGNORE, Batch, join
from elegans.tasks.stream import StreamTask, sequences
from elegans.tasks.words import check_at_least, check_range

Order = Literal["first", "last"]


class _PairTask(StreamTask):
    """n distinct keys with values drawn with replacement; the conditions (n and others) are cycled over the steps.

    A batch has one condition and no padding, so T changes from step to step. The fixed sample of a split holds every
    condition equally often, shorter sequences padded at the end.
    """

    def __init__(
        self, *, n_keys: int, n_values: int, pairs: Sequence[int], conditions: Sequence[Any], n_eval: int, seed: int
    ) -> None:
        check_at_least(1, n_keys=n_keys, n_values=n_values)
        if not conditions:
            raise ValueError("pairs and orders must name at least one condition")
        for n in pairs:
            check_range("pairs", n, 1, n_keys, "n_keys")
        self.n_keys, self.n_values, self.pairs = n_keys, n_values, tuple(pairs)
        self.conditions = tuple(conditions)
        self.pad = n_keys + n_values
        super().__init__(n_keys + n_values + 1, n_eval=n_eval, seed=seed)

    def chance(self, split: str) -> Mapping[str, float]:
        """`token_accuracy` of a guess among all values and `token_accuracy_context` of one of the values in the context.

        The latter, a mean over `pairs`, is what a model reaches that knows the values but not which belongs to the key.
        """
        others = [(1 + (n - 1) / self.n_values) / n for n in self.pairs]
        return {
            "nll": self._uniform_nll(split),
            "token_accuracy": 1 / self.n_values,
            "token_accuracy_context": sum(others) / len(others),
        }

    def _draw(self, split: str, size: int, step: int, rng: np.random.Generator) -> Batch:
        return self._sequences(self.conditions[step % len(self.conditions)], size, rng)

    def _sample(self, split: str, rng: np.random.Generator) -> Batch:
        count = len(self.conditions)
        sizes = [self.n_eval // count + (place < self.n_eval % count) for place in range(count)]
        parts = [self._sequences(each, size, rng) for each, size in zip(self.conditions, sizes, strict=True)]
        longest = max(part.tokens.shape[1] for part in parts)
        return join(*(self._padded(part, longest) for part in parts))

    def _padded(self, part: Batch, length: int) -> Batch:
        more = (0, length - part.tokens.shape[1])
        pad = torch.nn.functional.pad
        return Batch(pad(part.tokens, more, value=self.pad), pad(part.targets, more, value=IGNORE))

    def _pairs(self, n: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        keys = rng.permuted(np.tile(np.arange(self.n_keys), (size, 1)), axis=1)[:, :n]
        return keys, rng.integers(self.n_keys, self.n_keys + self.n_values, (size, n))

    def _sequences(self, condition: Any, size: int, rng: np.random.Generator) -> Batch:
        raise NotImplementedError


class AssociativeRecall(_PairTask):
    """n pairs key value, then the n keys again in random order, each followed by its value: multi-query recall (MQAR).

    Scored are the n values of the second half. Tokens: keys ``0 .. n_keys - 1``, then values, then padding. Source: Arora
    et al. 2023 (arXiv 2312.04927), with the questions side by side.

    Args:
        n_keys: number of key tokens.
        n_values: number of value tokens.
        pairs: the numbers of pairs n; batch `step` has ``pairs[step % len(pairs)]``, sequences 4 n - 1 tokens long.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples.
    """

    address = "associative-recall"

    def __init__(
        self,
        *,
        n_keys: int = 64,
        n_values: int = 64,
        pairs: Sequence[int] = (4, 8, 16, 32),
        n_eval: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__(
            n_keys=n_keys, n_values=n_values, pairs=pairs, conditions=tuple(pairs), n_eval=n_eval, seed=seed
        )

    def at(self, n: int) -> "AssociativeRecall":
        """The same task with n pairs only."""
        return AssociativeRecall(
            n_keys=self.n_keys, n_values=self.n_values, pairs=(n,), n_eval=self.n_eval, seed=self.seed
        )

    def _sequences(self, condition: int, size: int, rng: np.random.Generator) -> Batch:
        n = condition
        keys, values = self._pairs(n, size, rng)
        asked = rng.permuted(np.tile(np.arange(n), (size, 1)), axis=1)
        row = np.arange(size)[:, None]
        full = np.stack([np.hstack([keys, keys[row, asked]]), np.hstack([values, values[row, asked]])], axis=2)
        full = full.reshape(size, 4 * n)
        place = np.arange(4 * n)
        return sequences(full, np.broadcast_to((place >= 2 * n) & (place % 2 == 1), full.shape))


class PromptOrder(_PairTask):
    """n pairs key value and one question, a key of theirs, before all pairs or after them; its value is the answer.

    Reading the question first, a recurrent model may keep one value and forget the rest; reading it last, it must have
    kept all pairs. Sequences have 2 n + 1 tokens in either order, and the answer is predicted after the last one. Tokens
    as in `AssociativeRecall`. Source of the question: Peng et al. 2023 (arXiv 2305.13048), sensitivity to prompt order.

    Args:
        n_keys: number of key tokens.
        n_values: number of value tokens.
        pairs: the numbers of pairs n.
        orders: where the question stands. Batches go through the orders, and then through `pairs`.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples.
    """

    address = "prompt-order"

    def __init__(
        self,
        *,
        n_keys: int = 8,
        n_values: int = 8,
        pairs: Sequence[int] = (2, 4, 6, 8),
        orders: Sequence[Order] = ("first", "last"),
        n_eval: int = 512,
        seed: int = 0,
    ) -> None:
        if not set(orders) <= {"first", "last"}:
            raise ValueError(f"orders must be 'first' or 'last', got {tuple(orders)}")
        self.orders = tuple(orders)
        super().__init__(
            n_keys=n_keys,
            n_values=n_values,
            pairs=pairs,
            conditions=tuple(product(pairs, self.orders)),
            n_eval=n_eval,
            seed=seed,
        )

    def at(self, n: int, order: Order) -> "PromptOrder":
        """The same task with n pairs and one order only."""
        return PromptOrder(
            n_keys=self.n_keys,
            n_values=self.n_values,
            pairs=(n,),
            orders=(order,),
            n_eval=self.n_eval,
            seed=self.seed,
        )

    def _sequences(self, condition: tuple[int, Order], size: int, rng: np.random.Generator) -> Batch:
        n, order = condition
        keys, values = self._pairs(n, size, rng)
        asked = rng.integers(0, n, size)
        row = np.arange(size)
        pairs = np.stack([keys, values], axis=2).reshape(size, 2 * n)
        question = keys[row, asked][:, None]
        prompt = [question, pairs] if order == "first" else [pairs, question]
        full = np.hstack([*prompt, values[row, asked][:, None]])
        return sequences(full, np.broadcast_to(np.arange(2 * n + 2) == 2 * n + 1, full.shape))
