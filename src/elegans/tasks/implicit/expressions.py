"""Expressions ``(S)+(Z)*(C)=`` in which Z is zero, so that the answer is S.

Source: the released code of Yin et al. 2024 (arXiv 2410.04691). Repaired here:

- no term exceeds the range: in the released code the last term, which closes the sum, may;
- misleading items have neither a Z nor a C of zero, with which S would be right after all;
- Z has two terms at least: with one, as in the released training data, the pattern is written out as ``(0)``;
- all splits have one distribution: the released training data have fewer and smaller terms than the test.
"""

import numpy as np

from elegans.tasks.implicit.items import ItemTask
from elegans.tasks.implicit.python import evaluate
from elegans.tasks.words import check_at_least, check_range

SMALL = 10
"""The range of S and C."""


class Expressions(ItemTask):
    """Sums of integers: S of 1 or 2 terms from 0 to 10, Z of some terms, C of 4 terms from -10 to 10.

    The total of S is uniform from 0 to 10, that of C from -10 to 10, and that of Z is 0 or, in misleading and normal
    items, uniform from -R to R. On normal items the shortcut is right with probability 1 - (2R / (2R + 1)) (20 / 21).

    Args:
        min_terms: of Z.
        max_terms: of Z.
        number_range: R, of the terms of Z.
        released: with the faults of the released code, whose training data have `min_terms` 1, `max_terms` 3 and
            `number_range` 10, and whose tests have 2, 4 and 20.
    """

    name = "expressions"
    instruction = "Calculate the value of each expression."
    gap = ""

    def __init__(
        self, *, min_terms: int = 2, max_terms: int = 4, number_range: int = 20, released: bool = False
    ) -> None:
        check_range("min_terms", min_terms, 1, max_terms, "max_terms")
        check_at_least(1, number_range=number_range)
        super().__init__(released=released)
        self.min_terms, self.max_terms, self.number_range = min_terms, max_terms, number_range

    def draw(self, kind: str, rng: np.random.Generator) -> str:
        """The text up to the equals sign."""
        reach = self.number_range
        zero = 0 if kind == "implicit" else int(rng.integers(-reach, reach + 1))
        factor = int(rng.integers(-SMALL, SMALL + 1))
        simple = int(rng.integers(0, SMALL + 1))
        n_terms = int(rng.integers(self.min_terms, self.max_terms + 1))
        parts = (
            self._sum(rng, int(rng.integers(1, 3)), 0, SMALL, simple),
            self._sum(rng, n_terms, -reach, reach, zero),
            self._sum(rng, 4, -SMALL, SMALL, factor),
        )
        return "({})+({})*({})=".format(*parts)

    def formal(self, question: str) -> str:
        """The value of the expression."""
        return str(evaluate(question.removesuffix("=")))

    def shortcut(self, question: str) -> str:
        """The value of S."""
        return str(evaluate(question[: question.index(")") + 1]))

    def vocabulary(self) -> tuple[str, ...]:
        """Digits and signs."""
        return tuple("0123456789+-*()=")

    def _sum(self, rng: np.random.Generator, n_terms: int, low: int, high: int, total: int) -> str:
        while True:
            terms = rng.integers(low, high + 1, n_terms - 1).tolist()
            terms.append(total - sum(terms))
            if self.released or -high <= terms[-1] <= high:
                return "".join(f"{term:+d}" for term in terms).removeprefix("+")
