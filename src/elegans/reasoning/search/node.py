"""The tree, and what a reward gets to see of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

State = Hashable
Action = Hashable


@dataclass(frozen=True)
class Trajectory:
    """How a state was reached: `states`, the start first, and the actions between them."""

    states: tuple[State, ...]
    actions: tuple[Action, ...] = ()

    @property
    def state(self) -> State:
        """The last state."""
        return self.states[-1]

    def then(self, action: Action, state: State) -> Trajectory:
        """With one more step."""
        return Trajectory((*self.states, state), (*self.actions, action))


@dataclass(frozen=True)
class Choice:
    """A trajectory and the actions that may follow: rewards judge all of them at once.

    `address` are the places of the actions taken among those that could be, from the start on. `successor(k)` is the
    state after action k; it raises `ValueError` where the world has none.
    """

    trajectory: Trajectory
    actions: tuple[Action, ...]
    successor: Callable[[int], State]
    address: tuple[int, ...] = ()


@dataclass(eq=False)
class Node:
    """A step of the search: an action and the state after it, which is known once the node was visited."""

    action: Action = None
    index: int = 0
    """Place among the siblings."""
    parent: Node | None = field(default=None, repr=False)
    trajectory: Trajectory | None = field(default=None, repr=False)
    factors: dict[str, float] = field(default_factory=dict)
    """What each factor says of the action, as it is."""
    estimate: float = 0.0
    """The weighted factors, after normalization: the reward but for the goal term, known before the action is taken."""
    reward: float = 0.0
    """The estimate and the goal term: the reward of having taken it."""
    goal_fraction: float = 0.0
    goal: bool = False
    terminal: bool = False
    invalid: str = ""
    """Why the action has no state after it; empty where it has one."""
    children: list[Node] | None = field(default=None, repr=False)
    visits: int = 0
    value: float = 0.0
    """Q: what the back-ups credited to this node, aggregated."""

    @property
    def depth(self) -> int:
        """Number of actions from the root."""
        return len(self.path()) - 1

    @property
    def address(self) -> tuple[int, ...]:
        """Places among the siblings from the root down."""
        return tuple(node.index for node in self.path()[1:])

    @property
    def id(self) -> str:
        """The address as text, ``root`` or ``0.2.1``: the same in every run of the same search."""
        return ".".join(map(str, self.address)) or "root"

    @property
    def valid_children(self) -> list[Node]:
        """The children that can be gone to, as far as is known."""
        return [child for child in self.children or () if not child.invalid]

    def path(self) -> list[Node]:
        """From the root to here."""
        nodes: list[Node] = [self]
        while (parent := nodes[-1].parent) is not None:
            nodes.append(parent)
        return nodes[::-1]

    def walk(self) -> Iterator[Node]:
        """This node and all below, parents first, siblings in their order."""
        todo: list[Node] = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(reversed(node.children or ()))
