"""Blocksworld in the English of PlanBench, written and read.

States, goals and actions follow the public format of PlanBench (Valmeekam et al. 2023, arXiv 2206.10498), so that its
prompts and answers can be exchanged; the introduction is worded anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from elegans.tasks.blocksworld.notation import Notation
from elegans.tasks.blocksworld.state import HAND, TABLE, Action, BlocksworldState, Goal

COLORS = {
    "a": "red",
    "b": "blue",
    "c": "orange",
    "d": "yellow",
    "e": "white",
    "f": "magenta",
    "g": "black",
    "h": "cyan",
    "i": "green",
    "j": "violet",
    "k": "silver",
    "l": "gold",
}
"""How PlanBench calls the objects of its problem files. Other objects are called by their own names."""

INTRODUCTION = """\
There is a table with blocks and one hand. These actions are possible:

pick up a block
put down a block
stack a block on top of another block
unstack a block from on top of another block

The hand holds at most one block.
A block can be picked up if it is on the table, it is clear and the hand is empty.
A block can be unstacked from another if it is on top of it, it is clear and the hand is empty.
A block is clear if no block is on top of it and it is not in the hand.
Only the block in the hand can be put down on the table, or stacked on top of a clear block.
After a block is put down or stacked, the hand is empty and the block is clear.
"""
"""The rules, to begin a prompt with."""

_VERBS = {
    "pick up": "pick-up",
    "pick-up": "pick-up",
    "put down": "put-down",
    "put-down": "put-down",
    "unstack": "unstack",
    "stack": "stack",
}
_ACTION = re.compile(rf"(?:(?:\d+[.):]|[-*])\s*)?({'|'.join(_VERBS)})\b(.*)", re.IGNORECASE)
_PLACE = re.compile(r"the (\w+) block is (?:on top of the (\w+) block|on the table|in (?:the|my) hand|clear)")
_HOLDING = re.compile(r"(?:the hand is (?:currently )?holding|i am holding) (?:the )?(\w+) block")


class English(Notation):
    """``the red block is on top of the blue block``, ``unstack the red block from on top of the blue block``.

    Blocks named a .. l are written in PlanBench's colors, others by their names, which must be of letters, digits and
    underscores. Reading ignores case, a number or dash before an action, and a full stop.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.colors = [COLORS.get(name, name) for name in self.names]
        self._by_color = {color.lower(): block for block, color in enumerate(self.colors)}
        if len(self._by_color) < len(self.colors) or not all(re.fullmatch(r"\w+", color) for color in self.colors):
            raise ValueError(f"these names have no distinct English words: {', '.join(self.names)}")

    def state(self, state: BlocksworldState) -> str:
        """The clear blocks, the hand, what is on what, what is on the table: PlanBench's order."""
        hand = "the hand is empty" if state.held is None else f"the hand is holding the {self._block(state.held)}"
        below = list(enumerate(state.below))
        parts = [
            *(f"the {self._block(x)} is clear" for x in state.clear()),
            hand,
            *self._on(below),
            *(f"the {self._block(x)} is on the table" for x, y in below if y == TABLE),
        ]
        return _listed(parts)

    def goal(self, goal: Goal) -> str:
        """What is on what."""
        tables = (f"the {self._block(x)} is on the table" for x, y in goal.atoms() if y == TABLE)
        return _listed([*self._on(goal.atoms()), *tables])

    def action(self, action: Action) -> str:
        """An imperative."""
        operator, x, y = action
        if y is None:
            return f"{operator.replace('-', ' ')} the {self._block(x)}"
        how = "on top of" if operator == "stack" else "from on top of"
        return f"{operator} the {self._block(x)} {how} the {self._block(y)}"

    def parse_state(self, text: str) -> BlocksworldState:
        """The state of a list of facts. Raises `ValueError` where facts are missing or contradict one another."""
        places: dict[int, int] = {}
        clear, empty = set(), False
        for fact in _facts(text):
            if fact in ("the hand is empty", "my hand is empty"):
                empty = True
            elif fact.endswith(" is clear"):
                clear.add(self._read_place(fact)[0])
            else:
                x, y = self._read_place(fact)
                if places.setdefault(x, y) != y:
                    raise ValueError(f"the {self._block(x)} is said to be at two places")
        if len(places) < len(self.names):
            missing = next(color for x, color in enumerate(self.colors) if x not in places)
            raise ValueError(f"nothing is said of where the {missing} block is")
        state = self._make_state([places[x] for x in range(len(self.names))])
        if empty and state.held is not None:
            raise ValueError("the hand is said to be empty and to hold a block")
        if clear and clear != set(state.clear()):
            raise ValueError(f"not these blocks are clear: {', '.join(self.colors[x] for x in sorted(clear))}")
        return state

    def parse_goal(self, text: str) -> Goal:
        """The goal of a list of facts."""
        return self._make_goal(map(self._read_place, _facts(text)))

    def parse_action(self, text: str) -> Action:
        """The action of an imperative."""
        match = _ACTION.match(text.strip())
        if not match:
            raise ValueError(f"no action in {text.strip()!r}")
        words = re.findall(r"\w+", match[2].lower())
        found = re.findall(r"the (\w+) block", match[2].lower())
        if unknown := set(words) - set(found) - {"the", "block", "on", "top", "of", "from"}:
            raise ValueError(f"cannot read {', '.join(sorted(unknown))!r} in the action {text.strip()!r}")
        colors = [self.names[self._color(color)] for color in found]
        return self._make_action(_VERBS[match[1].lower()], colors)

    def parse_plan(self, text: str) -> list[Action]:
        """The actions between ``[PLAN]`` and ``[PLAN END]``, or in the whole text up to such a mark or a new statement."""
        text = text.split("[PLAN]")[-1]
        return super().parse_plan(re.split(r"\[(?:PLAN )?END\]|\[STATEMENT\]", text)[0])

    def statement(self, start: BlocksworldState, goal: Goal) -> str:
        """A problem as PlanBench states it, up to and with the line ``[PLAN]``."""
        return (
            f"[STATEMENT]\nAs initial conditions I have that, {self.state(start)}.\n"
            f"My goal is to have that {self.goal(goal)}.\n\nMy plan is as follows:\n\n[PLAN]\n"
        )

    def example(self, start: BlocksworldState, goal: Goal, plan: Iterable[Action]) -> str:
        """A problem and its plan, to show in a prompt."""
        return f"{self.statement(start, goal)}{self.plan(plan)}\n[PLAN END]\n"

    def _block(self, x: int) -> str:
        return f"{self.colors[x]} block"

    def _on(self, places: Iterable[tuple[int, int]]) -> list[str]:
        return [f"the {self._block(x)} is on top of the {self._block(y)}" for x, y in places if y >= 0]

    def _color(self, color: str) -> int:
        if color not in self._by_color:
            raise ValueError(f"there is no {color} block; there are {', '.join(self.colors)}")
        return self._by_color[color]

    def _read_place(self, fact: str) -> tuple[int, int]:
        if match := _HOLDING.fullmatch(fact):
            return self._color(match[1]), HAND
        match = _PLACE.fullmatch(fact)
        if not match:
            raise ValueError(f"cannot read the fact {fact!r}")
        if match[2]:
            return self._color(match[1]), self._color(match[2])
        return self._color(match[1]), TABLE if fact.endswith("table") else HAND


def _listed(parts: Sequence[str]) -> str:
    return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else "".join(parts)


def _facts(text: str) -> list[str]:
    facts = re.split(r",|\band\b", " ".join(text.lower().split()).rstrip("."))
    return [fact.strip() for fact in facts if fact.strip()]
