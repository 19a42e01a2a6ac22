"""Arithmetic modulo p, one operation per line.

Source: Feng et al. 2023 (arXiv 2305.15408). Shapes: N problems, P tokens of a prompt, O of an output.

An expression is a list of symbols: the numbers 0 .. p - 1, then + - * / ( ) as p .. p + 5.
"""

from bisect import bisect_right
from itertools import accumulate, product
from typing import Literal

import numpy as np

from elegans.tasks.cot_dp.base import EOS, FIRST, PAD, SEP, DynamicProgram, Problems, View
from elegans.tasks.words import check_at_least

Expression = list[int]


class ModularArithmetic(DynamicProgram):
    """``2 * ( 3 + 1 ) = 2 * 4 = 3``: an expression with + - * / over Z_p, reduced one operation per line.

    The expression grows from a random number: again and again a random one of its numbers x is replaced by a op b = x,
    (op, a) uniform among those for which there is a b (b uniform if there are several), in brackets where precedence
    asks for them. It never divides by 0.

    With ``order="random"`` (the source's data) the chain is this growth in reverse, so a prompt has several chains: the
    loss has an entropy floor, and `verify` accepts every chain whose lines each carry out one operation that may come
    first. With ``order="canonical"`` the chain is a function of the prompt: innermost leftmost bracket, then leftmost
    * or /, then leftmost + or -; no other is accepted. A line is computed from the line before: `locality` is two lines.

    Args:
        modulus: p, a prime.
        n_operators: in the question.
        order: of the operations in the chain.
        view: with the chain or the answer only, see `DynamicProgram`.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples and of the division into splits.
    """

    address = "modular-arithmetic"

    def __init__(
        self,
        *,
        modulus: int = 11,
        n_operators: int = 4,
        order: Literal["canonical", "random"] = "canonical",
        view: View = "cot",
        n_eval: int = 512,
        seed: int = 0,
    ) -> None:
        check_at_least(1, n_operators=n_operators)
        check_prime(modulus)
        if order not in ("canonical", "random"):
            raise ValueError(f"order must be 'canonical' or 'random', got {order!r}")
        self.n_operators, self.order = n_operators, order
        self.algebra = Algebra(modulus)
        # An expression with k operators has up to 2 k + 1 + 2 (k - 1) symbols.
        chain_length = sum(4 * k for k in range(1, n_operators))
        super().__init__(
            FIRST + modulus + 6,
            prompt_length=4 * n_operators,
            chain_length=chain_length,
            view=view,
            n_eval=n_eval,
            seed=seed,
        )

    @property
    def locality(self) -> int:
        """From the end of a line back to the start of the one before, both as long as they can be."""
        return 4 * self.n_operators + max(4 * (self.n_operators - 1) - 1, 0)

    def sample(self, rng: np.random.Generator, size: int) -> Problems:
        """Expressions grown at random."""
        starts = rng.integers(0, self.algebra.modulus, size).tolist()
        draws = rng.random((size, self.n_operators, 2)).tolist()
        grown = [self.algebra.grow(start, draw) for start, draw in zip(starts, draws, strict=True)]
        if self.order == "random":
            return self._encode([lines[::-1] for lines in grown])
        return self._encode([self.algebra.canonical(lines[-1]) for lines in grown])

    def solve(self, prompts: np.ndarray) -> Problems:
        """Canonical chains, legal in either order."""
        return self._encode([self.algebra.canonical(_line(row[:-1])) for row in prompts.tolist()])

    def _encode(self, chains: list[list[Expression]]) -> Problems:
        size = len(chains)
        prompts = np.full((size, self.prompt_length), PAD)
        table = np.full((size, sum(4 * k for k in range(1, self.n_operators))), PAD)
        answers = np.empty((size, 1), dtype=np.int64)
        for row, (question, *lines, answer) in enumerate(chains):
            text = [token for line in lines for token in (*(s + FIRST for s in line), SEP)]
            prompts[row, -len(question) - 1 :] = [*(s + FIRST for s in question), SEP]
            table[row, : len(text)] = text
            answers[row] = answer[0] + FIRST
        return Problems(prompts, table, answers)

    def _progress(self, truth: Problems, given: np.ndarray) -> np.ndarray:
        if self.order == "canonical":
            return super()._progress(truth, given)
        return np.array([self._legal(p, g) for p, g in zip(truth.prompts.tolist(), given.tolist(), strict=True)])

    def _legal(self, prompt: list[int], output: list[int]) -> float:
        """Share of the lines before the first that carries out no legal operation; the last one must end the output."""
        line, start = _line(prompt[:-1]), 0
        for done in range(self.n_operators):
            last = done == self.n_operators - 1
            stop = EOS if last else SEP
            end = output.index(stop, start) if stop in output[start:] else len(output)
            following = [token - FIRST for token in output[start:end]]
            if end == len(output) or following not in self.algebra.reductions(line):
                return done / self.n_operators
            line, start = following, end + 1
        return 1.0


class Algebra:
    """Expressions over Z_p: growing and reducing them."""

    def __init__(self, modulus: int) -> None:
        self.modulus = p = modulus
        self.plus, self.minus, self.times, self.over, self.open, self.close = range(p, p + 6)
        self.inverse = [pow(x, -1, p) if x else 0 for x in range(p)]
        self._terms: list[list[Expression]] = [[] for _ in range(p)]
        weights: list[list[float]] = [[] for _ in range(p)]
        for op, a in product((self.plus, self.minus, self.times, self.over), range(p)):
            ways = [[] for _ in range(p)]
            for b in range(p):
                if op != self.over or b:
                    ways[self.apply(a, op, b)].append([a, op, b])
            for x, terms in enumerate(ways):
                # 0 * b and 0 / b draw b as well; 0 / 0 is drawn in vain, so 0 / b is a little rarer.
                share = 1 / p if a == 0 and op in (self.times, self.over) else 1.0
                self._terms[x] += terms
                weights[x] += [share] * len(terms)
        self._levels = [[level / sum(w) for level in accumulate(w)] for w in weights]

    def apply(self, a: int, op: int, b: int) -> int:
        """a op b in Z_p; b must not be 0 in a division."""
        if op == self.plus:
            return (a + b) % self.modulus
        if op == self.minus:
            return (a - b) % self.modulus
        return a * (b if op == self.times else self.inverse[b]) % self.modulus

    def grow(self, start: int, draws: list[list[float]]) -> list[Expression]:
        """Expressions from one number on, each with one more operator; a draw is two uniform numbers in [0, 1)."""
        line = [start]
        lines = [line]
        for operators, (where, which) in enumerate(draws):
            numbers = [place for place, symbol in enumerate(line) if symbol < self.modulus]
            place = numbers[int(where * (operators + 1))]
            term = self._term(line[place], which)
            left = line[place - 1] if place else None
            right = line[place + 1] if place + 1 < len(line) else None
            if self._needs_brackets(left, term[1], right):
                term = [self.open, *term, self.close]
            line = [*line[:place], *term, *line[place + 1 :]]
            lines.append(line)
        return lines

    def reductions(self, line: Expression) -> list[Expression]:
        """Every line that follows by one operation without changing the value; brackets of a lone number go."""
        places = range(1, len(line) - 1)
        return [self._reduce(line, place) for place in places if self._may_come_first(line, place)]

    def canonical(self, line: Expression) -> list[Expression]:
        """The lines down to the value: innermost leftmost bracket, then leftmost * or /, then leftmost + or -."""
        lines = [line]
        while len(line) > 1:
            start, end = 0, len(line)
            if self.close in line:
                end = line.index(self.close)
                start = max(place for place in range(end) if line[place] == self.open) + 1
            inside = [place for place in range(start + 1, end, 2)]
            place = next((i for i in inside if line[i] in (self.times, self.over)), inside[0])
            line = self._reduce(line, place)
            lines.append(line)
        return lines

    def _term(self, x: int, which: float) -> Expression:
        return self._terms[x][min(bisect_right(self._levels[x], which), len(self._terms[x]) - 1)]

    def _needs_brackets(self, left: int | None, op: int, right: int | None) -> bool:
        if left == self.over:
            return True
        tight = (self.times, self.over)
        return op in (self.plus, self.minus) and (left in (self.times, self.minus) or right in tight)

    def _may_come_first(self, line: Expression, place: int) -> bool:
        a, op, b = line[place - 1 : place + 2]
        if not (a < self.modulus and self.plus <= op <= self.over and b < self.modulus):
            return False
        left = line[place - 2] if place >= 2 else None
        right = line[place + 2] if place + 2 < len(line) else None
        return not self._needs_brackets(left, op, right)

    def _reduce(self, line: Expression, place: int) -> Expression:
        value = self.apply(line[place - 1], line[place], line[place + 1])
        start, end = place - 1, place + 2
        if start and line[start - 1] == self.open and end < len(line) and line[end] == self.close:
            start, end = start - 1, end + 1
        return [*line[:start], value, *line[end:]]


def check_prime(modulus: int) -> None:
    """Raise `ValueError` unless every number but 0 has an inverse modulo `modulus`."""
    if modulus < 2 or any(modulus % d == 0 for d in range(2, int(modulus**0.5) + 1)):
        raise ValueError(f"modulus must be a prime, got {modulus}")


def _line(tokens: list[int]) -> Expression:
    return [token - FIRST for token in tokens if token != PAD]
