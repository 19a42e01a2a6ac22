"""Countdown and the Game of 24: combine numbers two at a time until the target is left.

A state is the multiset of numbers still there, as exact fractions; an action replaces two by their sum, difference,
product or quotient. The Game of 24 (Yao et al. 2023, arXiv 2305.10601) has four numbers and wants all of them used;
without `use_all`, as in the television game, it is enough that the target is among the numbers left.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

from elegans.ops.rng import numpy_rng
from elegans.tasks.planning import Problem
from elegans.tasks.words import check_at_least

Sign = Literal["+", "-", "*", "/"]

Numbers = tuple[Fraction, ...]
"""A multiset of numbers, ascending."""

_NUMBER = r"\(?(-?\d+(?:/\d+)?)\)?"
_ACTION = re.compile(rf"{_NUMBER}\s*([-+*/])\s*{_NUMBER}(?:\s*=\s*{_NUMBER})?")


class Combine(NamedTuple):
    """``left sign right``."""

    left: Fraction
    sign: Sign
    right: Fraction

    def result(self) -> Fraction:
        """What takes the place of both. Raises `ValueError` for a division by zero."""
        if self.sign == "/" and self.right == 0:
            raise ValueError("division by zero")
        return {
            "+": lambda: self.left + self.right,
            "-": lambda: self.left - self.right,
            "*": lambda: self.left * self.right,
            "/": lambda: self.left / self.right,
        }[self.sign]()


CountdownProblem = Problem[Numbers, Combine]


def numbers(values: Iterable[Fraction | int]) -> Numbers:
    """The state with these numbers."""
    return tuple(sorted(map(Fraction, values)))


@dataclass(frozen=True)
class Countdown:
    """Combine until the target is there; satisfies `World`.

    Sums and products are listed with the smaller number first only, and equal numbers once, so that no action is listed
    under two names. With `use_all` every plan has one action less than there are numbers.

    Attributes:
        target: the number wanted.
        use_all: whether it must be the only number left.
        negative, fractional: whether results may be negative, or not whole.
    """

    target: Fraction
    use_all: bool = True
    negative: bool = True
    fractional: bool = True

    def actions(self, state: Numbers) -> list[Combine]:
        """All combinations of two numbers that are allowed; none at the goal."""
        if self.is_goal(state):
            return []
        pairs = sorted(set(itertools.combinations(state, 2)))
        found = []
        for low, high in pairs:
            turned = [] if low == high else [Combine(low, "-", high), Combine(low, "/", high)]
            candidates = [Combine(low, "+", high), Combine(high, "-", low), Combine(low, "*", high)]
            found += [a for a in (*candidates, Combine(high, "/", low), *turned) if self._allows(a)]
        return found

    def apply(self, state: Numbers, action: Combine) -> Numbers:
        """The numbers after an action; sums and products may name the greater number first.

        Raises `ValueError` for numbers that are not there, a division by zero, or a result that is not allowed.
        """
        rest = list(state)
        for number in (action.left, action.right):
            if number not in rest:
                raise ValueError(f"{number} is not among {self.render_state(state)}")
            rest.remove(number)
        result = action.result()
        if not self._allows(action):
            raise ValueError(f"{result} is not allowed as a result")
        return numbers([*rest, result])

    def is_goal(self, state: Numbers) -> bool:
        """Whether the target is left alone, or without `use_all` is there."""
        return state == (self.target,) if self.use_all else self.target in state

    def goal_fraction(self, state: Numbers) -> float:
        """1 at the goal, else 0: numbers close to the target are not a part of it."""
        return float(self.is_goal(state))

    def render_state(self, state: Numbers) -> str:
        """The numbers with spaces between, ascending: ``2 5 13/4``."""
        return " ".join(map(str, state))

    def render_action(self, action: Combine) -> str:
        """With its result: ``13 - 4 = 9``. Raises `ValueError` for a division by zero."""
        shown = [f"({x})" if x.denominator > 1 else str(x) for x in (action.left, action.right, action.result())]
        return f"{shown[0]} {action.sign} {shown[1]} = {shown[2]}"

    def parse_state(self, text: str) -> Numbers:
        """The numbers of a text. Raises `ValueError` for other words."""
        try:
            return numbers(map(Fraction, text.split()))
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"expected numbers with spaces between, got {text!r}") from None

    def parse_action(self, text: str) -> Combine:
        """The action of a line; a result after ``=`` must be right, anything after it in parentheses is passed over.

        Raises `ValueError` for anything else.
        """
        match = _ACTION.fullmatch(re.sub(r"\(left:.*\)", "", text).strip())
        if not match:
            raise ValueError(f"no action in {text.strip()!r}")
        try:
            left, right, said = (None if x is None else Fraction(x) for x in match.group(1, 3, 4))
        except ZeroDivisionError:
            raise ValueError("division by zero") from None
        assert left is not None and right is not None
        sign: Sign = match[2]  # pyright: ignore[reportAssignmentType]
        action = Combine(left, sign, right)
        if said not in (None, action.result()):
            raise ValueError(f"{left} {sign} {right} is {action.result()}, not {said}")
        return action

    def parse_plan(self, text: str) -> list[Combine]:
        """One action per line; empty lines do not count."""
        return [self.parse_action(line) for line in text.splitlines() if line.strip()]

    def _allows(self, action: Combine) -> bool:
        if action.sign == "/" and action.right == 0:
            return False
        result = action.result()
        return (self.negative or result >= 0) and (self.fractional or result.denominator == 1)


class CountdownOracle:
    """What leads to the target, by exhausting all combinations (four numbers in milliseconds, six in many seconds)."""

    def __init__(self, world: Countdown) -> None:
        self.world = world
        self.distance = functools.cache(self._distance)

    def _distance(self, state: Numbers) -> int | None:
        """Fewest actions to the goal, or None where it cannot be reached."""
        if self.world.is_goal(state):
            return 0
        if self.world.use_all:
            possible = any(self.distance(after) is not None for after in self._successors(state))
            return len(state) - 1 if possible else None
        known = [d for after in self._successors(state) if (d := self.distance(after)) is not None]
        return 1 + min(known) if known else None

    def solvable(self, state: Numbers) -> bool:
        """Whether the goal can be reached."""
        return self.distance(state) is not None

    def optimal_actions(self, state: Numbers) -> list[Combine]:
        """All actions that begin a shortest plan, in the order of `Countdown.actions`; none where there is no plan."""
        here = self.distance(state)
        if not here:
            return []
        return [a for a in self.world.actions(state) if self.distance(self.world.apply(state, a)) == here - 1]

    def plan(self, state: Numbers) -> list[Combine]:
        """A shortest plan, the first optimal action at each step. Raises `ValueError` where there is none."""
        if not self.solvable(state):
            raise ValueError(f"{self.world.target} cannot be made of {self.world.render_state(state)}")
        plan = []
        while not self.world.is_goal(state):
            plan.append(self.optimal_actions(state)[0])
            state = self.world.apply(state, plan[-1])
        return plan

    def _successors(self, state: Numbers) -> set[Numbers]:
        return {self.world.apply(state, action) for action in self.world.actions(state)}


def draw_countdown(
    count: int, *, n_numbers: int = 4, target: int | None = 24, high: int = 13, seed: int = 0
) -> list[CountdownProblem]:
    """Different solvable problems with their lengths.

    With a `target` the Game of 24: numbers uniform in 1 .. `high`, drawn until they can make it. With None Countdown
    without negative or fractional results: the target is what random allowed actions make of all numbers, and is at
    least `high`. Raises `ValueError` when there seem to be too few.
    """
    check_at_least(2, n_numbers=n_numbers, high=high)
    rng = numpy_rng("countdown", n_numbers, -1 if target is None else target, high, seed)
    free = None if target is None else CountdownOracle(Countdown(Fraction(target)))
    found: dict[tuple[Numbers, Fraction], Countdown] = {}
    for _ in range(1000 * count):
        if len(found) == count:
            break
        start = numbers(rng.integers(1, high + 1, n_numbers).tolist())
        if free is not None:
            if free.solvable(start):
                found[start, free.world.target] = free.world
            continue
        world, state = Countdown(Fraction(-1), negative=False, fractional=False), start
        while len(state) > 1:
            choices = world.actions(state)
            state = world.apply(state, choices[int(rng.integers(len(choices)))])
        made = max(state)
        if made >= high:
            found[start, made] = Countdown(made, negative=False, fractional=False)
    if len(found) < count:
        raise ValueError(f"found only {len(found)} of {count} solvable problems")
    return [
        Problem(world, start, f"countdown-{number:03}", n_numbers - 1)
        for number, ((start, _), world) in enumerate(found.items())
    ]
