"""Cities joined in a chain: is A connected with Z? It is where the last line names Z.

Source: the released code of Yin et al. 2024 (arXiv 2410.04691). Repaired here:

- misleading items mislead: the released ones never mention Z, so that the shortcut is right on all of them;
- half of their answers are True, where all released ones are False; they have the same number of lines whatever the
  answer.
"""

import re

import numpy as np

from elegans.tasks.implicit.items import ItemTask
from elegans.tasks.words import check_range

ASK = " So 'the cities A and Z are connected' is"
START, GOAL = "A", "Z"


class Relations(ItemTask):
    """Lines ``B is connected with C``: a first one of A, then a chain of cities, and perhaps one of Z.

    An implicit item has a last line that joins Z to the neighbor of A, or does not mention Z. In a misleading item Z is
    either joined in an earlier line (True), or in the last line to a part of the chain that a missing line cuts off from
    A (False); a line more within the chain makes up for the missing one. Normal items are both by halves, so that the
    shortcut is right with probability 1/2. In every kind half of the answers are True.

    Args:
        n_cities: of the chain, at least 5.
        released: with the faults of the released code.
    """

    name = "relations"
    instruction = "From the connections between cities, tell whether the cities A and Z are connected (True or False)."
    choices = ("True", "False")

    def __init__(self, *, n_cities: int = 9, released: bool = False) -> None:
        check_range("n_cities", n_cities, 5, 24, "the letters B to Y")
        super().__init__(released=released)
        self.n_cities = n_cities

    def draw(self, kind: str, rng: np.random.Generator) -> str:
        """The lines and what is asked."""
        cities = [chr(ord("B") + int(i)) for i in rng.permutation(self.n_cities)]
        near = int(rng.integers(self.n_cities))  # the place in the chain of the neighbor of A
        chain = [(cities[i], cities[i + 1]) for i in range(self.n_cities - 1)]
        lines = [(START, cities[near]), *chain]
        connected, misleading = rng.integers(2) == 1, kind == "misleading" or (kind == "normal" and rng.integers(2))
        if self.released and kind != "implicit":
            lines.pop()
        elif not misleading:
            lines += [(cities[near], GOAL)] if connected else []
        elif connected:
            lines.insert(int(rng.integers(len(lines))), (cities[rng.integers(self.n_cities)], GOAL))
        else:
            lines = self._cut(rng, cities, near)
        return "".join(f"{one} is connected with {other}\n" for one, other in lines) + ASK

    def formal(self, question: str) -> str:
        """Whether a walk along the lines leads from A to Z."""
        lines = re.findall(r"(\w) is connected with (\w)\n", question)
        reached, before = {START}, 0
        while len(reached) > before:
            before = len(reached)
            reached |= {city for line in lines if not reached.isdisjoint(line) for city in line}
        return str(GOAL in reached)

    def shortcut(self, question: str) -> str:
        """Whether the last line names Z."""
        return str(question.removesuffix(ASK).rstrip().endswith(GOAL))

    def vocabulary(self) -> tuple[str, ...]:
        """Letters, the quote, and spaces."""
        return tuple(
            sorted({*map(chr, range(ord("A"), ord("B") + self.n_cities)), *"Z is connected with\nTrueFalse", *ASK})
        )

    def _cut(self, rng: np.random.Generator, cities: list[str], near: int) -> list[tuple[str, str]]:
        """A chain without one line and with another one in the longer part; Z is joined to the part without A."""
        gap = int(rng.integers(1, self.n_cities))
        parts = [range(gap), range(gap, self.n_cities)]
        longer = max(parts, key=len)
        first, second = sorted(rng.choice(len(longer), 2, replace=False) + longer.start)
        while second - first < 2:
            first, second = sorted(rng.choice(len(longer), 2, replace=False) + longer.start)
        far = parts[near < gap]
        lines = [(i, i + 1) for i in range(self.n_cities - 1) if i + 1 != gap]
        lines.insert(int(rng.integers(len(lines) + 1)), (first, second))
        last = cities[far[int(rng.integers(len(far)))]]
        return [(START, cities[near]), *((cities[i], cities[k]) for i, k in lines), (last, GOAL)]
