"""The length of the longest increasing subsequence.

Source: Feng et al. 2023 (arXiv 2305.15408). Shapes: N problems, P tokens of a prompt.
"""

import numpy as np

from elegans.tasks.cot_dp.base import FIRST, SEP, DynamicProgram, Problems, View
from elegans.tasks.stream import constant
from elegans.tasks.words import check_at_least


class LongestIncreasingSubsequence(DynamicProgram):
    """``s_1 .. s_n = dp_1 .. dp_n = max``, dp_l = 1 + max of dp_i over i < l with s_i < s_l: the longest that ends at l.

    Values are uniform. With `planted` (the source's data) one to three strictly increasing runs are written one after
    the other over random places; they have 3 to n places together. The numerals 1 .. n of dp are other tokens than the
    values. A step reads the question up to s_l and all dp before: not local, `locality` = 2 n.

    Args:
        n: number of values.
        n_values: values are 1 .. `n_values`.
        planted: whether to write increasing runs, which needs n >= 3 and `n_values` >= n.
        view: with the chain or the answer only, see `DynamicProgram`.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples and of the division into splits.
    """

    address = "longest-increasing-subsequence"

    def __init__(
        self,
        *,
        n: int = 10,
        n_values: int = 20,
        planted: bool = False,
        view: View = "cot",
        n_eval: int = 512,
        seed: int = 0,
    ) -> None:
        check_at_least(3 if planted else 1, n=n)
        check_at_least(n if planted else 2, n_values=n_values)
        self.n, self.n_values, self.planted = n, n_values, planted
        super().__init__(
            FIRST + n + n_values, prompt_length=n + 1, chain_length=n + 1, view=view, n_eval=n_eval, seed=seed
        )

    @property
    def locality(self) -> int:
        """From dp_n back to s_1."""
        return 2 * self.n

    def sample(self, rng: np.random.Generator, size: int) -> Problems:
        """Uniform values, with runs if they are planted."""
        values = rng.integers(0, self.n_values, (size, self.n))
        if self.planted:
            values = self._plant(values, rng)
        return self.solve(np.hstack([values + FIRST + self.n, constant(size, SEP)]))

    def solve(self, prompts: np.ndarray) -> Problems:
        """dp by its definition; the answer is its maximum."""
        s = prompts[:, :-1]
        dp = np.ones_like(s)
        for place in range(1, self.n):
            before = np.where(s[:, :place] < s[:, place : place + 1], dp[:, :place], 0)
            dp[:, place] = 1 + before.max(1)
        chains = np.hstack([dp + FIRST - 1, constant(len(s), SEP)])
        return Problems(prompts, chains, dp.max(1, keepdims=True) + FIRST - 1)

    def _plant(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size, n = values.shape
        total = rng.integers(3, n + 1, size)
        runs = rng.integers(1, 4, size)
        first = np.where(runs == 1, total, rng.integers(0, total // np.maximum(runs, 2) + 1) + 1)
        rest = total - first
        second = np.where(runs == 3, rng.integers(0, rest // 2 + 1) + 1, rest)
        lengths = np.stack([first, second, rest - second], axis=1)
        sorted_runs = np.stack([self._runs(length, rng) for length in lengths.T], axis=1)
        places = np.argsort(rng.random((size, n)), axis=1).argsort(axis=1) < total[:, None]
        order = np.cumsum(places, axis=1) - 1  # the how manieth of the planted values a place holds
        starts = np.cumsum(lengths, axis=1) - lengths
        run = (order[:, :, None] >= starts[:, None, 1:]).sum(2)
        row = np.arange(size)[:, None]
        planted = sorted_runs[row, run, np.maximum(order - starts[row, run], 0)]
        return np.where(places, planted, values)

    def _runs(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[N, n] of which the first `lengths` are a uniform strictly increasing run of values."""
        choice = np.argsort(rng.random((len(lengths), self.n_values)), axis=1)[:, : self.n]
        return np.sort(np.where(np.arange(self.n) < lengths[:, None], choice, self.n_values), axis=1)
