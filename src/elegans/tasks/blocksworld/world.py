"""Blocksworld with a goal as a `World`, plain or with the two-step refresh of Reasoning via Planning.

Sources: Hao et al. 2023 (arXiv 2305.14992); Gao et al. 2024 (arXiv 2410.01707).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from elegans.tasks.blocksworld.notation import Notation
from elegans.tasks.blocksworld.state import Action, BlocksworldState, Goal, legal_actions, step
from elegans.tasks.planning import Problem


@dataclass(frozen=True)
class Blocksworld:
    """The four operators and a goal. States are `BlocksworldState`, actions `Action`; satisfies `World`.

    The goal holds when its atoms do, whatever is in the hand.

    Attributes:
        goal: what is wanted.
        notation: how states and actions are written, with the names of the blocks.
    """

    goal: Goal
    notation: Notation

    def actions(self, state: BlocksworldState) -> list[Action]:
        """See `legal_actions`."""
        return legal_actions(state)

    def apply(self, state: BlocksworldState, action: Action) -> BlocksworldState:
        """The state after an action. Raises `ValueError` for an illegal one."""
        try:
            return step(state, action)
        except ValueError as error:
            raise ValueError(self.notation.named(str(error))) from None

    def is_goal(self, state: BlocksworldState) -> bool:
        """Whether every atom of the goal holds."""
        return self.goal.holds(state)

    def goal_fraction(self, state: BlocksworldState) -> float:
        """Share of the goal's atoms that hold; 1 for a goal without atoms."""
        atoms = self.goal.atoms()
        return self.goal.satisfied(state) / len(atoms) if atoms else 1.0

    def render_state(self, state: BlocksworldState) -> str:
        """In the world's notation."""
        return self.notation.state(state)

    def render_action(self, action: Action) -> str:
        """In the world's notation."""
        return self.notation.action(action)


class BufferedState(NamedTuple):
    """A state and how it is shown: the last state with an empty hand and the action since then, if any.

    Attributes:
        refreshed: the last state with an empty hand (or the start).
        buffer: the actions that lead from there to `current`: none, or one that took a block.
        current: the state.
    """

    refreshed: BlocksworldState
    buffer: tuple[Action, ...]
    current: BlocksworldState


@dataclass(frozen=True)
class BufferedBlocksworld:
    """The same world whose text shows a block in the hand as the last hand-empty state and the action that took it.

    A policy then never reads a state with a full hand: its prompt is refreshed after every second action. States that
    differ in where a held block came from are different. Satisfies `World`.

    Attributes:
        world: the plain world.
    """

    world: Blocksworld

    @staticmethod
    def start(state: BlocksworldState) -> BufferedState:
        """A plain state as the first state of a search."""
        return BufferedState(state, (), state)

    def actions(self, state: BufferedState) -> list[Action]:
        """See `legal_actions`."""
        return legal_actions(state.current)

    def apply(self, state: BufferedState, action: Action) -> BufferedState:
        """The state after an action. Raises `ValueError` for an illegal one."""
        after = self.world.apply(state.current, action)
        if after.held is None:
            return self.start(after)
        return BufferedState(state.refreshed, (*state.buffer, action), after)

    def is_goal(self, state: BufferedState) -> bool:
        """Whether every atom of the goal holds."""
        return self.world.is_goal(state.current)

    def goal_fraction(self, state: BufferedState) -> float:
        """Share of the goal's atoms that hold."""
        return self.world.goal_fraction(state.current)

    def render_state(self, state: BufferedState) -> str:
        """The refreshed state, and the buffered action in a line of its own."""
        return "\n".join((self.world.render_state(state.refreshed), *map(self.render_action, state.buffer)))

    def render_action(self, action: Action) -> str:
        """In the world's notation."""
        return self.world.render_action(action)


BlocksworldProblem = Problem[BlocksworldState, Action]


def blocksworld_of(problem: Problem[Any, Action]) -> Blocksworld:
    """The plain world of a problem, with its goal and notation. Raises `ValueError` for a problem of another world."""
    world = problem.world.world if isinstance(problem.world, BufferedBlocksworld) else problem.world
    if not isinstance(world, Blocksworld):
        raise ValueError(f"{problem.name!r} is a problem of {type(world).__name__}, not of Blocksworld")
    return world


def buffered(problem: BlocksworldProblem) -> Problem[BufferedState, Action]:
    """The same problem in the world whose text is refreshed after every second action."""
    world = BufferedBlocksworld(blocksworld_of(problem))
    return Problem(world, world.start(problem.start), problem.name, problem.optimal_length)
