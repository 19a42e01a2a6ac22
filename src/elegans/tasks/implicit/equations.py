"""Linear equations in two unknowns that are equal, so that one equation and one division give the answer.

Source: the released code of Yin et al. 2024 (arXiv 2410.04691). Repaired here:

- there is a pattern: the released question gives a and asks for b, so that any one equation is enough in items of
  every kind, and its items without the pattern only have four equations; here a is not given and the pattern is a = b;
- the first two equations are independent: in the released code they may be the same line;
- all kinds have two independent equations and a dependent one, so that length does not tell them apart.
"""

import re

import numpy as np

from elegans.tasks.implicit.items import ItemTask

TOP = 5
"""Unknowns are from 1 to `TOP`, coefficients from 1 to `TOP` - 1."""


class EquationSystems(ItemTask):
    """``2a + 3b = 15``, one more, and a combination ``p`` row i + ``q`` row j of the two, p and q from 1 to 3: what is b?

    Implicit items have a = b, so that b is the constant of the first line divided by the sum of its coefficients; the
    shortcut rounds it, since without the pattern it lies between a and b. On normal items, a and b uniform, it is right
    at a rate of about 0.38.

    Args:
        released: with the faults of the released code, where the shortcut, b from the first equation, is right always.
    """

    name = "equations"
    instruction = "Solve each system of equations."
    choices = tuple(str(value) for value in range(1, TOP + 1))

    def draw(self, kind: str, rng: np.random.Generator) -> str:
        """The equations and what is asked."""
        a, b = rng.integers(1, TOP + 1, 2)
        if not self.released and kind != "normal":
            b = a if kind == "implicit" else (a - 1 + rng.integers(1, TOP)) % TOP + 1
        n_independent = 4 if self.released and kind != "implicit" else 2
        while True:
            lines = rng.integers(1, TOP, (n_independent, 2))
            if self.released or lines[0, 0] * lines[1, 1] != lines[0, 1] * lines[1, 0]:
                break
        if n_independent == 2:
            p, q = rng.integers(1, 4, 2)
            lines = np.vstack([lines, [p, q] @ lines])
        text = "\n".join(f"{k}a + {m}b = {k * a + m * b}" for k, m in lines)
        return f"{text}\nThe solution is: {f'a = {a}, ' if self.released else ''}b ="

    def formal(self, question: str) -> str:
        """b by elimination with the first equation that is independent of the first one, or with a where it is given."""
        rows, a = _read(question)
        k, m, c = rows[0]
        if a is not None:
            return str((c - k * a) // m)
        p, q, d = next(row for row in rows[1:] if row[0] * m != row[1] * k)
        return str((k * d - p * c) // (k * q - p * m))

    def shortcut(self, question: str) -> str:
        """b as if a were the same, from the first equation; with a where it is given."""
        rows, a = _read(question)
        k, m, c = rows[0]
        return str((2 * c + k + m) // (2 * (k + m))) if a is None else str((c - k * a) // m)

    def vocabulary(self) -> tuple[str, ...]:
        """Digits, letters and signs."""
        return tuple(sorted({*"0123456789ab+=, \n", *"The solution is:"}))


def _read(question: str) -> tuple[list[tuple[int, int, int]], int | None]:
    """Coefficients of a and b and the constant of each line, and a where it is given."""
    rows = [tuple(map(int, row)) for row in re.findall(r"(\d+)a \+ (\d+)b = (\d+)", question)]
    given = re.search(r"a = (\d+), b =$", question)
    return [(k, m, c) for k, m, c in rows], int(given[1]) if given else None
