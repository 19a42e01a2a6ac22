"""Programs whose long first function does not matter, since the second one ignores what it returned.

Source: the released code of Yin et al. 2024 (arXiv 2410.04691), which draws from snippets written by hand; here every
item has a program of its own. Repaired here:

- training labels are true: the released ones all are the answer of one arithmetic expression;
- programs run: released ones read a text and calculate with it, and some draw random numbers;
- division is integer division: released answers to it end in ``.0`` or are rounded decimals;
- there are misleading items, whose second function uses what the first one returned: the released code has none.
"""

import re

import numpy as np

from elegans.tasks.implicit.expressions import Expressions
from elegans.tasks.implicit.items import Item, ItemTask, pick
from elegans.tasks.implicit.python import printed
from elegans.tasks.words import check_range

STATEMENTS = (
    "y = y * {a} + {b}",
    "y = y + x * {a}",
    "y = {c} * x - y",
    "y = (y - {a}) * (y + {b})",
    "y = x * x - y // {a}",
    "y = y * y % {c} + x",
    "for i in range({a}):\n        y = y + i * {b}",
    "for i in range(1, {a}):\n        y = y * i - {b}",
    "for i in range({a}):\n        y = y + (x + i) % {b}",
    "for i in range({a}):\n        for j in range({b}):\n            y = y + i * j",
    "if y % {a} == {d}:\n        y = y + {b}\n    else:\n        y = y - {c}",
    "if y > {c}:\n        y = y // {a}",
    "if x < {a}:\n        y = y * {b}\n    else:\n        y = y + {c}",
)
"""Lines of the first function; a and b are from 2 to 9, c from 10 to 19, d is 0 or 1."""

PROGRAM = """def function1(x):
    y = x + {start}
    {body}
    return y % {modulus}

def function2(z, a):
    return {operand} {sign} {number}

input_value = int(input())
result = function2(input_value, function1(input_value))
print(result)
"""
HINT, GIVEN, ASK = "The code is: \n", "The input is: ", ", so the output is:"


class CodeReading(ItemTask):
    """A program, an input from 0 to 10, and the question what is printed.

    ``function1`` has `n_statements` random statements and returns a number from 0 to at most 18; ``function2(z, a)``
    returns ``z`` (the input) with one of + - * // and a number from 1 to 9, in misleading items ``a`` (what function1
    returned) instead. A normal item is one or the other with probability 1/2; the shortcut, to take the input, is right
    on somewhat more than half of them.

    Args:
        n_statements: fewest and most statements of ``function1`` besides its first and last one.
        released: with the faults of the released code: one label for the whole training split, decimal division, no
            other kind than implicit (`ValueError`).
    """

    name = "code-reading"
    instruction = "Tell what the Python code prints."

    def __init__(self, *, n_statements: tuple[int, int] = (3, 5), released: bool = False) -> None:
        check_range("the least of n_statements", n_statements[0], 1, n_statements[1], "the most")
        super().__init__(released=released)
        self.n_statements = n_statements

    def items(self, kind: str, count: int, split: str = "train", seed: int = 0) -> list[Item]:
        """See `ItemTask.items`."""
        if self.released and kind != "implicit":
            raise ValueError(f"the released code has no {kind} items of code reading")
        found = super().items(kind, count, split, seed)
        if self.released and split == "train":
            stale = Expressions(min_terms=1, max_terms=3, number_range=10, released=True).items(
                "implicit", 1, seed=seed
            )
            found = [Item(item.question, stale[0].answer) for item in found]
        return found

    def draw(self, kind: str, rng: np.random.Generator) -> str:
        """Program, input, and what is asked."""
        body = [self._statement(rng) for _ in range(int(rng.integers(self.n_statements[0], self.n_statements[1] + 1)))]
        uses_first = kind == "misleading" or (kind == "normal" and bool(rng.integers(2)))
        program = PROGRAM.format(
            start=rng.integers(1, 10),
            body="\n    ".join(body),
            modulus=rng.integers(11, 20),
            operand="a" if uses_first else "z",
            sign=pick(rng, "+", "-", "*", "/" if self.released else "//"),
            number=rng.integers(1, 10),
        )
        return f"{HINT}{program}{GIVEN}{rng.integers(0, 11)}{ASK}"

    def formal(self, question: str) -> str:
        """What the program prints."""
        program, given = _read(question)
        return printed(program, given)

    def shortcut(self, question: str) -> str:
        """The second function of the input."""
        program, given = _read(question)
        return printed(re.sub(r"return [za] ", "return z ", program), given)

    def vocabulary(self) -> tuple[str, ...]:
        """The characters of programs and of what is asked."""
        fixed = re.sub(r"{\w+}", "", "".join((HINT, PROGRAM, GIVEN, ASK, *STATEMENTS)))
        return tuple(sorted({*fixed, *"0123456789+-*/."}))

    def _statement(self, rng: np.random.Generator) -> str:
        (a, b), c, d = rng.integers(2, 10, 2), rng.integers(10, 20), rng.integers(2)
        return pick(rng, *STATEMENTS).format(a=a, b=b, c=c, d=d)


def _read(question: str) -> tuple[str, str]:
    """Program and input."""
    program, given = question.removeprefix(HINT).removesuffix(ASK).rsplit(GIVEN, 1)
    return program, given
