"""Lagged sums: a dynamic program that reads exactly m values back, whatever the length.

Shapes: B batch, T positions.
"""

import math
from collections.abc import Mapping

import numpy as np

from elegans.tasks.base import Batch
from elegans.tasks.stream import StreamTask, sequences
from elegans.tasks.words import check_at_least, check_range


class LaggedSum(StreamTask):
    """Interleaved tokens s_1 y_1 s_2 y_2 ... with s uniform in Z_p and y_t = (s_t + y_{t-m}) mod p, y_t = s_t for t <= m.

    Each y_t with t > m is predicted after s_t; the symbols of s and y are the tokens ``0 .. p - 1``. A predictor must
    keep the last m values of y, which are independent and uniform: m log2 p bits of state, at any length. So `lag` (the
    locality) and `length` move independently; y_{t-m} stands `locality` = 2 m tokens before the predicted token.

    Args:
        length: number of pairs (s_t, y_t); a sequence has 2 `length` - 1 input tokens.
        lag: m, from 1 to `length` - 1.
        modulus: p.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples.
    """

    address = "lagged-sum"

    def __init__(self, *, length: int = 32, lag: int = 2, modulus: int = 2, n_eval: int = 512, seed: int = 0) -> None:
        check_at_least(2, length=length, modulus=modulus)
        check_range("lag", lag, 1, length - 1, "length - 1")
        self.length, self.lag, self.modulus = length, lag, modulus
        super().__init__(modulus, n_eval=n_eval, seed=seed)

    @property
    def locality(self) -> int:
        """Tokens from the predicted one back to the farthest one it depends on."""
        return 2 * self.lag

    @property
    def state_bits(self) -> float:
        """Bits that any exact predictor must carry from token to token."""
        return self.lag * math.log2(self.modulus)

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess; y_t is uniform given everything before s_t."""
        level = 1 / self.modulus
        return {
            "nll": self._uniform_nll(split),
            "token_accuracy": level,
            "accuracy": level ** (self.length - self.lag),
        }

    def _draw(self, split: str, size: int, step: int, rng: np.random.Generator) -> Batch:
        s = rng.integers(0, self.modulus, (size, self.length))
        y = s.copy()
        for t in range(self.lag, self.length):
            y[:, t] = (s[:, t] + y[:, t - self.lag]) % self.modulus
        full = np.stack([s, y], axis=2).reshape(size, 2 * self.length)
        scored = (np.arange(2 * self.length) % 2 == 1) & (np.arange(2 * self.length) > 2 * self.lag)
        return sequences(full, np.broadcast_to(scored, full.shape))
