"""Shortest plans: distance to go, every optimal action, from tables up to seven blocks and by A* beyond."""

from __future__ import annotations

import heapq
import itertools

import numpy as np

from elegans.tasks.blocksworld.space import state_space
from elegans.tasks.blocksworld.state import ANYWHERE, HAND, TABLE, Action, BlocksworldState, Goal, legal_actions, step

TABLE_BLOCKS = 7
"""Up to so many blocks (65990 states) the distances of all states to a goal are computed at once."""


class Oracle:
    """What is optimal on the way to one goal.

    Up to seven blocks the first question costs a breadth-first search from the goal over all states, the others a
    look-up. Beyond, each new state costs an A* search whose heuristic counts the hand's moves that no plan can spare.

    Args:
        goal: what is wanted; see `make_goal`.
    """

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self._table: np.ndarray | None = None
        self._wanted = {y: x for x, y in enumerate(goal.wants) if y >= 0}
        self._known: dict[tuple[int, ...], int] = {}

    def distance(self, state: BlocksworldState) -> int:
        """Fewest actions to the goal. Raises `ValueError` for a state with another number of blocks."""
        n_blocks = len(self.goal.wants)
        if len(state.below) != n_blocks:
            raise ValueError(f"the goal has {n_blocks} blocks, the state {len(state.below)}")
        if n_blocks > TABLE_BLOCKS:
            return self._search(state)
        space = state_space(n_blocks)
        if self._table is None:
            self._table = space.distances([self.goal])[:, 0]
        return int(self._table[space.index(state)])

    def optimal_actions(self, state: BlocksworldState) -> list[Action]:
        """All actions that begin a shortest plan, in the order of `legal_actions`; none where the goal holds."""
        here = self.distance(state)
        return [action for action in legal_actions(state) if self.distance(step(state, action)) < here]

    def plan(self, state: BlocksworldState, rng: np.random.Generator | None = None) -> list[Action]:
        """A shortest plan: the first optimal action at each step, or one drawn uniformly among them."""
        plan = []
        while not self.goal.holds(state):
            choices = self.optimal_actions(state)
            plan.append(choices[0 if rng is None else int(rng.integers(len(choices)))])
            state = step(state, plan[-1])
        return plan

    def at_least(self, state: BlocksworldState) -> int:
        """A lower bound of the distance that changes by at most one with each action, and is 0 only at the goal.

        A block must move if it is not where it is wanted, if it rests on a block that must move, or if it stands
        where another is wanted. Each costs two actions, whatever is in the hand one.
        """
        if self.goal.holds(state):
            return 0
        return 2 * self._must_move(state).bit_count() + (HAND in state.below)

    def _must_move(self, state: BlocksworldState) -> int:
        """Bit mask of the blocks on the table or on others that must move."""
        mask = 0
        for stack in state.stacks():
            for y, x in zip((TABLE, *stack[:-1]), stack, strict=True):
                mask |= self._misplaced(x, y, mask) << x
        return mask

    def _misplaced(self, x: int, y: int, mask: int) -> bool:
        return self.goal.wants[x] not in (ANYWHERE, y) or (
            y >= 0 and (self._wanted.get(y, x) != x or bool(mask >> y & 1))
        )

    def _search(self, start: BlocksworldState) -> int:
        """A* with `at_least`; the distances of the states on the way are known from then on."""
        if self.goal.holds(start):
            return 0
        wants, wanted, known, first = self.goal.wants, self._wanted, self._known, start.below
        ticket = itertools.count()
        cost: dict[tuple[int, ...], int] = {first: 0}
        came: dict[tuple[int, ...], tuple[int, ...]] = {}
        queue = [(0, 0, next(ticket), first, self._must_move(start))]
        while True:
            _, back, _, below, mask = heapq.heappop(queue)
            price = 1 - back
            if price - 1 > cost[below]:
                continue
            full = HAND in below
            if below in known or not (full or mask):
                break
            clear = [x for x, y in enumerate(below) if y != HAND and x not in below]
            held = below.index(HAND) if full else None
            for block in (TABLE, *clear) if full else clear:
                x, y = (block, HAND) if held is None else (held, block)
                after = (*below[:x], y, *below[x + 1 :])
                if price >= cost.get(after, price + 1):
                    continue
                cost[after], came[after] = price, below
                if held is None:
                    left = mask & ~(1 << x)
                    to_go = 2 * left.bit_count() + 1
                else:  # `_misplaced`, written out in the innermost loop
                    misplaced = wants[x] not in (ANYWHERE, y) or (y >= 0 and (wanted.get(y, x) != x or mask >> y & 1))
                    left = mask | bool(misplaced) << x
                    to_go = 2 * left.bit_count()
                heapq.heappush(queue, (price + known.get(after, to_go), -price, next(ticket), after, left))
        to_go = known.setdefault(below, 0)
        while below != first:
            below, to_go = came[below], to_go + 1
            known[below] = to_go
        return to_go
