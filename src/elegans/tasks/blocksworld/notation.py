"""States, goals and plans of blocks as text and back.

Every notation names the blocks and reads what it writes; what it cannot read is a `ValueError` of one line.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from elegans.tasks.blocksworld.state import (
    HAND,
    OPERATORS,
    TABLE,
    Action,
    BlocksworldState,
    Goal,
    from_below,
    make_goal,
)

END = "E"
"""The word after the last action of a plan in compact words."""


class Notation(ABC):
    """A way to write, with a name for each block 0 .. n - 1. Raises `ValueError` for names that repeat or have spaces."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._index = {name: block for block, name in enumerate(self.names)}
        if len(self._index) < len(self.names) or any(len(name.split()) != 1 for name in self.names):
            raise ValueError(f"blocks need different names of one word each, got {', '.join(map(repr, self.names))}")

    @abstractmethod
    def state(self, state: BlocksworldState) -> str:
        """A state as text."""

    @abstractmethod
    def goal(self, goal: Goal) -> str:
        """A goal as text."""

    @abstractmethod
    def action(self, action: Action) -> str:
        """An action as one line."""

    @abstractmethod
    def parse_state(self, text: str) -> BlocksworldState:
        """The state that a text describes."""

    @abstractmethod
    def parse_goal(self, text: str) -> Goal:
        """The goal that a text describes."""

    @abstractmethod
    def parse_action(self, text: str) -> Action:
        """The action that a line names, legal or not."""

    def plan(self, actions: Iterable[Action]) -> str:
        """One action per line."""
        return "\n".join(map(self.action, actions))

    def parse_plan(self, text: str) -> list[Action]:
        """The actions of a plan, one per line; empty lines do not count."""
        return [self.parse_action(line) for line in text.splitlines() if line.strip()]

    def block(self, name: str) -> int:
        """The block of a name."""
        if name not in self._index:
            raise ValueError(f"there is no block {name!r}; there are {', '.join(self.names)}")
        return self._index[name]

    def named(self, message: str) -> str:
        """A message about blocks by number, with their names."""
        return re.sub(r"\bblock (\d+)", lambda match: f"block {self._names_of(match[1])}", message)

    def _names_of(self, number: str) -> str:
        return self.names[int(number)] if int(number) < len(self.names) else number

    def _make_state(self, below: Sequence[int]) -> BlocksworldState:
        try:
            return from_below(below)
        except ValueError as error:
            raise ValueError(self.named(str(error))) from None

    def _make_goal(self, atoms: Iterable[tuple[int, int]]) -> Goal:
        try:
            return make_goal(atoms, len(self.names))
        except ValueError as error:
            raise ValueError(self.named(str(error))) from None

    def _make_action(self, operator: str, names: Sequence[str]) -> Action:
        if operator not in OPERATORS:
            raise ValueError(f"there is no action {operator!r}; there are {', '.join(OPERATORS)}")
        expected = 2 if operator in ("stack", "unstack") else 1
        if len(names) != expected:
            raise ValueError(f"{operator} takes {expected} block{'s' * (expected > 1)}, got {len(names)}")
        return Action(operator, *map(self.block, names))


class Compact(Notation):
    """Words in a row: a state is ``a b b table c hand`` (a on b, b on the table, c held), an action ``stack c a``.

    A plan is its actions in a row; reading one stops at the word ``E``.
    """

    def state(self, state: BlocksworldState) -> str:
        """Block and place, in the order of the names."""
        return " ".join(f"{name} {self._place(y)}" for name, y in zip(self.names, state.below, strict=True))

    def goal(self, goal: Goal) -> str:
        """Block and place, for each that is wanted."""
        return " ".join(f"{self.names[x]} {self._place(y)}" for x, y in goal.atoms())

    def action(self, action: Action) -> str:
        """The operator and its blocks."""
        return " ".join((action.operator, *(self.names[x] for x in action[1:] if x is not None)))

    def plan(self, actions: Iterable[Action]) -> str:
        """All actions in one line."""
        return " ".join(map(self.action, actions))

    def parse_state(self, text: str) -> BlocksworldState:
        """The state of pairs in any order."""
        below = dict(self._pairs(text))
        if len(below) < len(self.names):
            raise ValueError(f"the state {text!r} does not place every block")
        return self._make_state([below[x] for x in range(len(self.names))])

    def parse_goal(self, text: str) -> Goal:
        """The goal of pairs in any order."""
        return self._make_goal(self._pairs(text))

    def parse_action(self, text: str) -> Action:
        """The action of two or three words."""
        operator, *names = text.split() or [""]
        return self._make_action(operator, names)

    def parse_plan(self, text: str) -> list[Action]:
        """The actions before the word ``E`` or the end."""
        plan: list[list[str]] = []
        for word in text.split():
            if word == END:
                break
            if word in self._index and plan:
                plan[-1].append(word)
            else:
                plan.append([word])
        return [self._make_action(operator, names) for operator, *names in plan]

    def _place(self, y: int) -> str:
        return {TABLE: "table", HAND: "hand"}.get(y) or self.names[y]

    def _pairs(self, text: str) -> list[tuple[int, int]]:
        words = text.split()
        if len(words) % 2:
            raise ValueError(f"{text!r} is not made of pairs of a block and its place")
        places = {"table": TABLE, "hand": HAND}
        pairs = [
            (self.block(x), places[y] if y in places else self.block(y))
            for x, y in zip(words[::2], words[1::2], strict=True)
        ]
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"{text!r} places a block twice")
        return pairs
