"""Worlds and rewards small enough to be searched by hand."""

from dataclasses import dataclass

import numpy as np
import pytest

from elegans.ops.rng import numpy_rng
from elegans.reasoning.search import Composite
from elegans.tasks.planning import Problem


@dataclass(frozen=True)
class Walk:
    """A walk on a graph: actions are the edges' labels, states nodes; the last node is the goal."""

    edges: tuple[tuple[int, ...], ...]
    goal: int

    def actions(self, state):
        return tuple(range(len(self.edges[state])))

    def apply(self, state, action):
        if action >= len(self.edges[state]) or self.edges[state][action] < 0:
            raise ValueError(f"no edge {action}\nfrom {state}")
        return self.edges[state][action]

    def is_goal(self, state):
        return state == self.goal

    def goal_fraction(self, state):
        return 1.0 if state == self.goal else 0.5 * (state / len(self.edges))

    def render_state(self, state):
        return f"at {state}"

    def render_action(self, action):
        return f"edge {action}"


class Table:
    """A factor that looks its values up by the address of the action, and counts how often it is asked."""

    name = "table"

    def __init__(self, values=None, *, seed=0, scale=1.0, name="table"):
        self.values, self.seed, self.scale, self.name, self.calls = values, seed, scale, name, 0

    def __call__(self, choice):
        self.calls += 1
        if self.values is not None:
            return [self.scale * self.values[(*choice.address, k)] for k in range(len(choice.actions))]
        drawn = numpy_rng("table", self.seed, *choice.address).standard_normal(len(choice.actions))
        return (self.scale * np.round(drawn * 64) / 64).tolist()


def full_tree(depth, branching):
    """Every address is a state of its own; the goal is out of reach."""
    rows, level = [], 1
    for _ in range(depth):
        level *= branching
    count = (level * branching - 1) // (branching - 1)
    rows = [tuple(branching * i + 1 + k for k in range(branching)) for i in range(count)]
    return Walk(tuple(row if row[-1] < count else () for row in rows), -1)


@pytest.fixture
def tree_problem():
    return lambda depth=3, branching=3: Problem(full_tree(depth, branching), 0, "tree")


@pytest.fixture
def table():
    return lambda *args, **kwargs: Composite([Table(*args, **kwargs)])
