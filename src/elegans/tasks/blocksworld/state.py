"""Blocks on a table and one hand: states, goals, the four actions and their effects.

Blocks are numbered 0 .. n - 1; names belong to text (`Notation`). States are reached by the four operators of the
International Planning Competition's domain, which PlanBench uses (Valmeekam et al. 2023, arXiv 2206.10498).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

TABLE, HAND, ANYWHERE = -1, -2, -3
"""What can be below a block beside another block; `ANYWHERE` only in a goal that says nothing of the block."""

Operator = Literal["pick-up", "put-down", "stack", "unstack"]
OPERATORS: tuple[Operator, ...] = ("pick-up", "put-down", "stack", "unstack")


class Action(NamedTuple):
    """One of the four operators; `other` is the block stacked on or unstacked from, else None."""

    operator: Operator
    block: int
    other: int | None = None


class BlocksworldState(NamedTuple):
    """`below[x]` is the block under block x, `TABLE`, or `HAND` for the block that is held (at most one)."""

    below: tuple[int, ...]

    @property
    def held(self) -> int | None:
        """The block in the hand."""
        return self.below.index(HAND) if HAND in self.below else None

    def clear(self) -> list[int]:
        """The blocks with nothing on them, without the one in the hand, in ascending order."""
        return [x for x, y in enumerate(self.below) if y != HAND and x not in self.below]

    def stacks(self) -> list[tuple[int, ...]]:
        """The stacks on the table, each from the bottom up, in ascending order of the lowest block."""
        above = {y: x for x, y in enumerate(self.below) if y >= 0}
        found = []
        for x, y in enumerate(self.below):
            if y == TABLE:
                stack = [x]
                while stack[-1] in above:
                    stack.append(above[stack[-1]])
                found.append(tuple(stack))
        return found


def from_stacks(stacks: Iterable[Sequence[int]], *, held: int | None = None) -> BlocksworldState:
    """The state with these stacks, each from the bottom up. Raises `ValueError` unless each block is there once."""
    below: dict[int, int] = {} if held is None else {held: HAND}
    count = len(below)
    for stack in stacks:
        count += len(stack)
        below |= dict(zip(stack, (TABLE, *stack[:-1]), strict=True))
    if count != len(below) or sorted(below) != list(range(count)):
        raise ValueError("every block from 0 to n - 1 must be at one place")
    return BlocksworldState(tuple(below[x] for x in range(count)))


def from_below(below: Sequence[int]) -> BlocksworldState:
    """The checked state. Raises `ValueError` if two blocks share a place, or some rest on nothing but each other."""
    state = BlocksworldState(tuple(below))
    _check_places(state.below, allowed=(TABLE, HAND))
    if state.below.count(HAND) > 1:
        raise ValueError("the hand holds at most one block")
    if HAND in state.below and state.held in state.below:
        raise ValueError(f"block {state.held} is in the hand with a block on it")
    return state


class Goal(NamedTuple):
    """`wants[x]` is what should be below block x: a block, `TABLE`, or `ANYWHERE`."""

    wants: tuple[int, ...]

    def atoms(self) -> list[tuple[int, int]]:
        """The pairs (x, y) for which on(x, y) is wanted; y is `TABLE` for a block that should stand there."""
        return [(x, y) for x, y in enumerate(self.wants) if y != ANYWHERE]

    def satisfied(self, state: BlocksworldState) -> int:
        """How many atoms hold."""
        return sum(x == y for x, y in zip(self.wants, state.below, strict=True))

    def holds(self, state: BlocksworldState) -> bool:
        """Whether all atoms hold, whatever is in the hand."""
        return all(want in (ANYWHERE, y) for want, y in zip(self.wants, state.below, strict=True))


def make_goal(atoms: Iterable[tuple[int, int]], n_blocks: int) -> Goal:
    """The goal with these atoms (x, y). Raises `ValueError` if there are none, or they cannot all hold at once."""
    wants = [ANYWHERE] * n_blocks
    for x, y in atoms:
        if not (0 <= x < n_blocks and TABLE <= y < n_blocks):
            raise ValueError(f"a goal names block {max(x, y)} of {n_blocks}")
        if wants[x] not in (ANYWHERE, y):
            raise ValueError(f"the goal wants block {x} at two places")
        wants[x] = y
    if all(y == ANYWHERE for y in wants):
        raise ValueError("the goal wants nothing")
    _check_places(wants, allowed=(TABLE, ANYWHERE))
    return Goal(tuple(wants))


def goal_of(state: BlocksworldState) -> Goal:
    """Every on(x, y) of a state, nothing of the blocks on the table: the goals of PlanBench. May be empty."""
    return Goal(tuple(y if y >= 0 else ANYWHERE for y in state.below))


def legal_actions(state: BlocksworldState) -> list[Action]:
    """Hand empty: one action for each clear block. Hand full: put down first, then stack on each clear block."""
    held = state.held
    if held is None:
        return [
            Action("pick-up", x) if state.below[x] == TABLE else Action("unstack", x, state.below[x])
            for x in state.clear()
        ]
    return [Action("put-down", held), *(Action("stack", held, y) for y in state.clear())]


def step(state: BlocksworldState, action: Action) -> BlocksworldState:
    """The state after an action. Raises `ValueError` naming the precondition that fails, with numbers for blocks."""
    operator, x, y = action
    below = state.below
    two = operator in ("stack", "unstack")
    if operator not in OPERATORS or two != (y is not None):
        raise ValueError(f"there is no action {operator!r} of {1 if y is None else 2} blocks")
    for block in (x, y) if two else (x,):
        if block is None or not 0 <= block < len(below):
            raise ValueError(f"there is no block {block}")
    if operator in ("pick-up", "unstack"):
        place = TABLE if y is None else y
        if HAND in below:
            raise ValueError(f"cannot {operator} block {x}: the hand holds block {state.held}")
        if below[x] != place:
            raise ValueError(f"cannot {operator} block {x}: it is not on {'the table' if y is None else f'block {y}'}")
        if x in below:
            raise ValueError(f"cannot {operator} block {x}: block {below.index(x)} is on it")
        after = HAND
    else:
        if below[x] != HAND:
            raise ValueError(f"cannot {operator} block {x}: it is not in the hand")
        if y == x or y in below:
            raise ValueError(f"cannot stack block {x}: block {y} is not clear")
        after = TABLE if y is None else y
    return BlocksworldState((*below[:x], after, *below[x + 1 :]))


def inverse(action: Action) -> Action:
    """The action that takes `action` back: every move in this world can be undone."""
    pairs: dict[Operator, Operator] = {
        "pick-up": "put-down",
        "put-down": "pick-up",
        "stack": "unstack",
        "unstack": "stack",
    }
    return action._replace(operator=pairs[action.operator])


def _check_places(places: Sequence[int], *, allowed: tuple[int, int]) -> None:
    """Raise `ValueError` unless at most one block is on each and all rest in the end on one of `allowed`."""
    for x, y in enumerate(places):
        if y not in allowed and not 0 <= y < len(places):
            raise ValueError(f"block {x} is on something that is not there")
        if y >= 0 and places.index(y) != x:
            raise ValueError(f"two blocks are on block {y}")
        for _ in places:
            if y < 0:
                break
            y = places[y]
        else:
            raise ValueError(f"block {x} does not stand on the table in the end")
