"""All states of n blocks as arrays, and breadth-first distances to goals over them.

Shapes: S states, F of them with an empty hand (they come first), n blocks, G goals.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int8, Int32

from elegans.tasks.blocksworld.state import ANYWHERE, HAND, TABLE, Action, BlocksworldState, Goal
from elegans.tasks.words import check_range

MAX_BLOCKS = 8
"""695417 states; a table of 9 blocks would have more than eight million."""


@dataclass(frozen=True, eq=False)
class StateSpace:
    """Every state of n blocks and where each action leads.

    In a state with an empty hand the action of column x takes block x; in a state that holds x the action of column x
    puts it down, that of column y stacks it on y. Every action can be undone, so distances are symmetric.

    Attributes:
        below: [S, n] as in `BlocksworldState`; the first `n_free` rows have an empty hand.
        successors: [S, n] the state that the action of each column leads to, -1 where it is illegal.
        n_free: F.
    """

    below: Int8[np.ndarray, "S n"]
    successors: Int32[np.ndarray, "S n"]
    n_free: int
    _codes: np.ndarray
    _order: np.ndarray

    def index(self, state: BlocksworldState) -> int:
        """The row of a state."""
        return int(self.rows(np.asarray(state.below)[None])[0])

    def rows(self, below: np.ndarray) -> Int[np.ndarray, " N"]:
        """The rows of states given as [N, n]."""
        return self._order[np.searchsorted(self._codes, _encode(below))]

    def state(self, row: int | np.integer) -> BlocksworldState:
        """The state of a row."""
        return BlocksworldState(tuple(self.below[row].tolist()))

    def action(self, row: int | np.integer, column: int) -> Action:
        """The action of a column in the state of a row."""
        below = self.below[row].tolist()
        if HAND not in below:
            return Action("pick-up", column) if below[column] == TABLE else Action("unstack", column, below[column])
        held = below.index(HAND)
        return Action("put-down", held) if column == held else Action("stack", held, column)

    def distances(self, goals: Sequence[Goal] | Int[np.ndarray, "G n"]) -> Int8[np.ndarray, "S G"]:
        """Fewest actions from every state to each goal, given as goals or as what each block wants [G, n].

        -1 where a goal cannot be reached, that is nowhere for a goal that `make_goal` lets pass.
        """
        wants = np.array([goal.wants for goal in goals]) if not isinstance(goals, np.ndarray) else goals
        reached = np.ones((len(self.below), len(wants)), dtype=bool)
        for x, column in enumerate(wants.T):
            reached &= (column == ANYWHERE) | (self.below[:, x, None] == column)
        found = np.where(reached, 0, -1).astype(np.int8)
        front, length = reached, 0
        illegal = self.successors < 0
        while front.any():
            length += 1
            neighbors = np.zeros_like(front)
            for column, no in zip(self.successors.T, illegal.T, strict=True):
                neighbors |= front[column] & ~no[:, None]
            front = neighbors & (found < 0)
            found[front] = length
        return found


@functools.cache
def state_space(n_blocks: int) -> StateSpace:
    """The states of 1 to 8 blocks; built once (5 blocks in milliseconds, 8 in seconds)."""
    check_range("n_blocks", n_blocks, 1, MAX_BLOCKS, "the largest table")
    free = hand_empty(n_blocks)
    rest = hand_empty(n_blocks - 1)
    holding = []
    for held in range(n_blocks):
        others = np.delete(np.arange(n_blocks), held)
        below = np.full((len(rest), n_blocks), HAND, dtype=np.int8)
        below[:, others] = np.where(rest < 0, rest, others[rest]) if n_blocks > 1 else rest
        holding.append(below)
    below = np.concatenate([free, *holding])
    codes = _encode(below)
    order = np.argsort(codes)
    space = StateSpace(below, np.empty(below.shape, np.int32), len(free), codes[order], order)
    full = (below == HAND).any(1)
    held = np.where(full, (below == HAND).argmax(1), -1)
    for column in range(n_blocks):
        clear = ~(below == column).any(1)
        legal = clear & (below[:, column] != HAND) | (held == column)
        after = below.copy()
        after[~full, column] = HAND
        mine = full & legal
        after[mine, held[mine]] = np.where(held[mine] == column, TABLE, column)
        space.successors[:, column] = -1
        space.successors[legal, column] = space.rows(after[legal])
    for array in (space.below, space.successors):
        array.setflags(write=False)
    return space


@functools.cache
def hand_empty(n_blocks: int) -> Int8[np.ndarray, "F n"]:
    """All states with an empty hand: 1, 3, 13, 73, 501 ... for 1, 2, 3, 4, 5 ... blocks (OEIS A000262).

    Each comes once from a state of one block less: the new block goes on top of a block, or below the lowest of a
    stack, or on the table by itself.
    """
    if n_blocks == 0:
        return np.empty((1, 0), dtype=np.int8)
    smaller, new = hand_empty(n_blocks - 1), n_blocks - 1
    alone = np.concatenate([smaller, np.full((len(smaller), 1), TABLE, dtype=np.int8)], axis=1)
    found = [alone]
    for y in range(new):
        above = alone.copy()
        above[:, new] = y
        above[:, :new][smaller == y] = new
        under = alone[smaller[:, y] == TABLE]
        under[:, y] = new
        found += [above, under]
    return np.concatenate(found)


def _encode(below: np.ndarray) -> np.ndarray:
    """One number for each row of places [N, n], which are at least `HAND`."""
    n_blocks = below.shape[1]
    return (below.astype(np.int64) - HAND) @ (n_blocks + 2) ** np.arange(n_blocks)
