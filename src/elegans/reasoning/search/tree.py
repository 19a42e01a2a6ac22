"""What goes into a search beside its parts, and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from elegans.reasoning.scorer import Usage
from elegans.reasoning.search.composite import Composite
from elegans.reasoning.search.node import Node
from elegans.tasks.planning import Problem


@dataclass(frozen=True)
class Budget:
    """When to stop, whatever comes first. An iteration that a limit cuts short does not count; it can be resumed.

    Attributes:
        iterations: in all, those of an earlier call for the same tree included.
        passes: forward passes of the expert.
        tokens: that the expert reads and generates.
        seconds: of wall clock.
    """

    iterations: int = 10
    passes: int | float = math.inf
    tokens: int | float = math.inf
    seconds: float = math.inf


@dataclass(frozen=True)
class GoalSignal:
    """What the world says of a visited state, as a reward: `weight` times `bonus` at the goal, else times the share.

    Attributes:
        weight: beside the factors' own weight, `MCTS.factor_weight`.
        bonus: for reaching the goal. RAP gives 100, for sums; 10 is for means per step.
        fraction: reward the share of the goal that holds in other states; without it they get 0.
    """

    weight: float = 0.5
    bonus: float = 10.0
    fraction: bool = True

    def __call__(self, node: Node) -> float:
        """The term of a visited node."""
        return self.weight * (self.bonus if node.goal else node.goal_fraction if self.fraction else 0.0)


@dataclass
class Tree:
    """A search so far, which can go on. `spent` and `seconds` are over all calls, `expanded` counts nodes."""

    problem: Problem
    root: Node
    rewards: Composite
    iterations: int = 0
    expanded: int = 0
    seconds: float = 0.0
    spent: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class SearchResult:
    """A searched tree and the path chosen in it.

    `status` says what ended the search: ``iterations``, ``passes``, ``tokens``, ``seconds``, ``solved`` (where the search
    stops at the first solution), ``complete`` (the start is an end), or ``fault`` with the reason in `fault`. After
    all but ``complete`` and ``solved``, `MCTS.search` with this tree goes on where it stopped.
    """

    tree: Tree
    path: list[Node]
    status: str
    fault: str = ""

    @property
    def actions(self) -> list[Any]:
        """The chosen plan."""
        return [node.action for node in self.path[1:]]

    @property
    def reached_goal(self) -> bool:
        """Whether the world's goal holds at the end of the chosen plan."""
        return self.path[-1].goal

    @property
    def solved(self) -> bool:
        """Whether the plan reaches the goal and the search ended without a fault."""
        return self.reached_goal and self.status != "fault"
