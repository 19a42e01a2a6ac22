"""Simulation: how an iteration goes on from the node that selection found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from elegans.reasoning.search.node import Node


@runtime_checkable
class Walker(Protocol):
    """A running search, as a simulation sees it."""

    def expand(self, node: Node) -> None:
        """Give a node its children, with the rewards of all of them; an end where the world has no action."""
        ...

    def go(self, parent: Node, scores: Callable[[Node, list[Node]], np.ndarray]) -> Node | None:
        """To the valid child of the highest score; None, and the parent is an end, where there is none."""
        ...

    def peek(self, node: Node) -> Node | None:
        """The node after a greedy step, which does not join the tree; None where there is none."""
        ...


@runtime_checkable
class Simulation(Protocol):
    """From a node of the tree to the end of this iteration's path."""

    def __call__(self, run: Walker, node: Node) -> Node:
        """The last node of the path."""
        ...


def best_estimate(_: Node, children: list[Node]) -> np.ndarray:
    """The rewards of the actions before they are taken."""
    return np.array([child.estimate for child in children])


@dataclass(frozen=True)
class Greedy:
    """Expand and take the best estimate, again and again; all nodes on the way join the tree (RAP).

    `steps` limits how many nodes are expanded; None goes on to an end, 1 is expansion without simulation.
    """

    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def __call__(self, run: Walker, node: Node) -> Node:
        """See `Simulation`."""
        steps = 0
        while not node.terminal and (self.steps is None or steps < self.steps):
            if node.children is None:
                run.expand(node)
            node = run.go(node, best_estimate) or node
            steps += 1
        return node


@dataclass(frozen=True)
class LookAhead:
    r"""Expand, take the best estimate, and look ahead without adding nodes (arXiv 2410.01707, algorithm 2).

    From the new node `steps` greedy steps are tried, of which the best reward v_max is kept:
    :math:`v \leftarrow \alpha v + (1 - \alpha) v_{\max}` is then the node's reward. The released code has no such part.
    """

    steps: int = 2
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.alpha <= 1:
            raise ValueError(f"need steps >= 1 and alpha in [0, 1], got {self.steps} and {self.alpha}")

    def __call__(self, run: Walker, node: Node) -> Node:
        """See `Simulation`."""
        new = Greedy(1)(run, node)
        if new is node or new.terminal:
            return new
        seen, here = [], new
        while len(seen) < self.steps and not here.terminal and (after := run.peek(here)) is not None:
            seen.append(after.reward)
            here = after
        if seen:
            new.reward = self.alpha * new.reward + (1 - self.alpha) * max(seen)
        return new
