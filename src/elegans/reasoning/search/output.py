"""Output: which path of a searched tree is the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from elegans.reasoning.search.node import Node


@runtime_checkable
class Output(Protocol):
    """The choice of a path."""

    def __call__(self, root: Node) -> list[Node]:
        """From the root to the end of the answer; the root alone where nothing was visited."""
        ...


@dataclass(frozen=True)
class BestPath:
    """The visited path to a terminal node with the highest reward, in all or per step; without one, to any leaf.

    RAP and the released code of arXiv 2410.01707 take the sum (``max_reward``), which compares paths of several lengths
    by their length too. Paths that reach the goal come first with `prefer_goal`.
    """

    measure: Literal["sum", "mean"] = "mean"
    prefer_goal: bool = True

    def __post_init__(self) -> None:
        if self.measure not in get_args(Literal["sum", "mean"]):
            raise ValueError(f"measure must be 'sum' or 'mean', got {self.measure!r}")

    def __call__(self, root: Node) -> list[Node]:
        """See `Output`."""
        visited = [node for node in root.walk() if node.visits and node is not root]
        ends = [node for node in visited if node.terminal]
        ends = ends or [node for node in visited if not any(child.visits for child in node.children or ())]
        if self.prefer_goal:
            ends = [node for node in ends if node.goal] or ends
        return max((node.path() for node in ends), key=self._worth, default=[root])

    def _worth(self, path: list[Node]) -> float:
        total = sum(node.reward for node in path)
        return total if self.measure == "sum" else total / (len(path) - 1)


@dataclass(frozen=True)
class MostVisited:
    """Down the child with the most visits, of equals the one of higher value."""

    def __call__(self, root: Node) -> list[Node]:
        """See `Output`."""
        return _descend(root, lambda node: (node.visits, node.value))


@dataclass(frozen=True)
class BestValue:
    """Down the visited child of the highest value."""

    def __call__(self, root: Node) -> list[Node]:
        """See `Output`."""
        return _descend(root, lambda node: (node.value,))


def _descend(root: Node, worth: Callable[[Node], tuple[float, ...]]) -> list[Node]:
    path = [root]
    while visited := [child for child in path[-1].children or () if child.visits]:
        path.append(max(visited, key=worth))
    return path
