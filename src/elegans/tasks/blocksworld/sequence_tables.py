"""All states, goals and problems of several sizes in flat arrays, so that training sequences are drawn without loops.

Shapes: S states, G goals of all sizes, n blocks (the most), B items.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from elegans.tasks.blocksworld.classes import problem_table
from elegans.tasks.blocksworld.space import state_space
from elegans.tasks.blocksworld.state import ANYWHERE, HAND, TABLE


class Items(NamedTuple):
    """Problems with weights, grouped by size.

    Attributes:
        index: numbers of the problems, those of one size together.
        cumulative: sum of the weights up to and with each of them.
        edges: sum of the weights before each size, and of all.
    """

    index: np.ndarray
    cumulative: np.ndarray
    edges: np.ndarray


class SequenceTables:
    """The states, goals and problems of several sizes in one numbering, padded to the most blocks.

    Attributes:
        below, wants: [S, n], [G, n] as in the state space; padded with `ANYWHERE`.
        successors, actions: [S, n], [S, n, 3] where a column's action leads; operator, block, other block or -1.
        legal: [S] bit mask of the columns that are legal.
        good, part: of a state and a goal, at `row(state, goal)`: bit mask of the columns that lower the distance; 0 for a
            training problem, 1 for one of the part ``dev``, 2 for others.
        starts, goals: the state and the goal of each problem.
        longest: the most actions of a shortest plan.
        width: enough places for any sequence before it is closed up.
        problems: the training problems, those of ``dev``.
        on_plans: the same, weighted by how often one is met along optimal plans from all starts of its size.
        free, full: first and last + 1 state of each size with an empty, with a full hand.
    """

    def __init__(self, sizes: list[int]) -> None:
        self.n_blocks, self.n = np.array(sizes), max(sizes)
        below, wants, successors, actions, good, part, lengths = [], [], [], [], [], [], []
        starts, goals, bases, bounds, visits = [], [], [], [], []
        n_states = n_goals = n_rows = 0
        for n_blocks in sizes:
            space, table = state_space(n_blocks), problem_table(n_blocks)
            distances = space.distances(table.wants).T.astype(np.int8)  # [G, S]
            legal = space.successors >= 0
            lower = (distances[:, np.where(legal, space.successors, 0)] < distances[..., None]) & legal
            good.append((lower << np.arange(n_blocks)).sum(-1).ravel())
            lengths.append(distances.ravel())
            visits.append(_visits(distances, lower, space.successors, space.n_free).ravel())
            split = np.full(distances.shape, 2, dtype=np.int8)
            for number, name in enumerate(("train", "dev")):
                split[:, : space.n_free][table.in_part(name).T] = number
            part.append(split.ravel())
            wanted, start = np.indices(table.lengths.T.shape).reshape(2, -1)
            starts.append(start + n_states)
            goals.append(wanted + n_goals)
            bases.append(n_rows - n_states + len(space.below) * np.arange(len(table.wants)))
            bounds.append([n_states, n_states + space.n_free, n_states + len(space.below)])
            below.append(_widen(space.below, self.n, ANYWHERE))
            wants.append(_widen(table.wants, self.n, ANYWHERE))
            successors.append(_widen(np.where(legal, space.successors + n_states, -1), self.n, -1))
            actions.append(_action_table(below[-1]))
            n_states, n_goals, n_rows = n_states + len(space.below), n_goals + len(table.wants), n_rows + distances.size
        self.below, self.wants = np.concatenate(below).astype(np.int64), np.concatenate(wants)
        self.successors, self.actions = np.concatenate(successors), np.concatenate(actions)
        self.legal = ((self.successors >= 0) << np.arange(self.n)).sum(1)
        self.good, self.part, self._lengths = map(np.concatenate, (good, part, lengths))
        self.starts, self.goals, self._base = map(np.concatenate, (starts, goals, bases))
        edges = np.array(bounds).T
        self.free, self.full = edges[:2], edges[1:]
        self.longest = int(self._lengths.max())
        self.width = max(2 + self.n + 3 * (self.longest + 2) + 1, 4 * self.n + 7)
        parts = self.part[self.row(self.starts, self.goals)]
        ones, visited = np.ones(len(parts)), np.concatenate(visits)[self.row(self.starts, self.goals)]
        self.problems = [self._items(parts == number, ones) for number in (0, 1)]
        self.on_plans = [self._items(parts == number, visited) for number in (0, 1)]

    def row(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Where the tables of a state and a goal have their entry."""
        return self._base[goal] + state

    def length(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Fewest actions from a state to a goal."""
        return self._lengths[self.row(state, goal)]

    def pick(self, items: Items, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A problem of each size, by the weights."""
        low, high = items.edges[sizes], items.edges[sizes + 1]
        place = np.searchsorted(items.cumulative, low + rng.random(len(sizes)) * (high - low), side="right")
        return items.index[np.minimum(place, len(items.index) - 1)]

    def _items(self, chosen: np.ndarray, weights: np.ndarray) -> Items:
        index = np.flatnonzero(chosen)
        size = np.searchsorted(self.free[0], self.starts[index], side="right") - 1
        cumulative = weights[index].cumsum()
        ends = np.searchsorted(size, np.arange(len(self.n_blocks)), side="right")
        return Items(index, cumulative, np.append(0, np.append(0, cumulative)[ends]))


def _visits(distances: np.ndarray, lower: np.ndarray, successors: np.ndarray, n_free: int) -> np.ndarray:
    """[G, S] how often a state is passed by plans for a goal: one from each start, its actions drawn among the optimal.

    From `distances` [G, S], `lower` [G, S, n] whether an action is optimal, and where it leads.
    """
    found = np.zeros(distances.shape)
    found[:, :n_free] = 1
    for length in range(distances.max(), 0, -1):
        goal, state = np.nonzero(distances == length)
        optimal = lower[goal, state]
        share = found[goal, state] / optimal.sum(1)
        row, column = np.nonzero(optimal)
        np.add.at(found, (goal[row], successors[state[row], column]), share[row])
    return found


def _widen(rows: np.ndarray, width: int, fill: int) -> np.ndarray:
    return np.pad(rows.astype(np.int64), ((0, 0), (0, width - rows.shape[1])), constant_values=fill)


def _action_table(below: np.ndarray) -> np.ndarray:
    """[S, n, 3] operator, block, other block or -1 of the action of each column, whether it is legal or not."""
    column = np.broadcast_to(np.arange(below.shape[1]), below.shape)
    full = (below == HAND).any(1, keepdims=True)
    held = (below == HAND).argmax(1)[:, None]
    name = np.where(full, np.where(column == held, 1, 2), np.where(below == TABLE, 0, 3))
    block = np.where(full, held, column)
    other = np.where(name == 2, column, np.where(name == 3, below, -1))
    return np.stack([name, block, other], axis=-1)
