"""Prefix sums modulo p: the simplest dynamic program, dp_i = dp_{i-1} + s_i.

Shapes: N problems, P tokens of a prompt.
"""

import numpy as np

from elegans.tasks.cot_dp.base import FIRST, SEP, DynamicProgram, Problems, View
from elegans.tasks.stream import constant
from elegans.tasks.words import check_at_least


class PrefixSum(DynamicProgram):
    """``s_1 .. s_n = dp_1 .. dp_n`` with s uniform in Z_p and dp_i the sum of s_1 .. s_i mod p; dp_n is the answer.

    s and dp share the tokens of the p digits. dp_i is computed from the token before it and from s_i, `locality` = n + 1
    tokens back: every step looks up the question at the same distance.

    Args:
        n: number of summands.
        modulus: p.
        view: with the chain or the answer only, see `DynamicProgram`.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples and of the division into splits.
    """

    address = "prefix-sum"

    def __init__(self, *, n: int = 16, modulus: int = 5, view: View = "cot", n_eval: int = 512, seed: int = 0) -> None:
        check_at_least(2, n=n, modulus=modulus)
        self.n, self.modulus = n, modulus
        super().__init__(FIRST + modulus, prompt_length=n + 1, chain_length=n - 1, view=view, n_eval=n_eval, seed=seed)

    @property
    def locality(self) -> int:
        """From dp_i back to s_i."""
        return self.n + 1

    def sample(self, rng: np.random.Generator, size: int) -> Problems:
        """Uniform summands."""
        s = rng.integers(0, self.modulus, (size, self.n)) + FIRST
        return self.solve(np.hstack([s, constant(size, SEP)]))

    def solve(self, prompts: np.ndarray) -> Problems:
        """All prefix sums; the last one is the answer."""
        sums = np.cumsum(prompts[:, :-1] - FIRST, axis=1) % self.modulus + FIRST
        return Problems(prompts, sums[:, :-1], sums[:, -1:])
