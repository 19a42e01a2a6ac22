"""The little that a search must know of a world: what can be done, what follows, and what is wanted.

A world here is what llm-reasoners (Hao et al. 2024, arXiv 2404.05221) calls `WorldModel`, without a language model:

=================================== =====================================================
llm-reasoners                       here
=================================== =====================================================
`WorldModel.init_state()`           `Problem.start`
`WorldModel.step(state, action)`    `World.apply(state, action)`
`WorldModel.is_terminal(state)`     `World.is_goal(state)`; a depth limit belongs to the algorithm
`SearchConfig.get_actions(state)`   `World.actions(state)`
`SearchConfig.reward(...)`          a reward of the search, which may use `World.goal_fraction(state)`
`SearchAlgorithm`                   the search
=================================== =====================================================

A world knows its goal, so a search is given a `Problem` and nothing else. States and actions are hashable values.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

State = TypeVar("State", bound=Hashable)
Action = TypeVar("Action", bound=Hashable)


@runtime_checkable
class World(Protocol[State, Action]):
    """Deterministic transitions towards a goal. States and actions are immutable, hashable, and compare by value."""

    def actions(self, state: State) -> Sequence[Action]:
        """The legal actions, in a fixed order; none where the world ends."""
        ...

    def apply(self, state: State, action: Action) -> State:
        """The state after an action. Raises `ValueError`, one line, for an illegal one."""
        ...

    def is_goal(self, state: State) -> bool:
        """Whether all that is wanted holds."""
        ...

    def goal_fraction(self, state: State) -> float:
        """Share of what is wanted that holds, from 0 to 1; 1 exactly where `is_goal`."""
        ...

    def render_state(self, state: State) -> str:
        """The state as text."""
        ...

    def render_action(self, action: Action) -> str:
        """The action as one line of text."""
        ...


@dataclass(frozen=True)
class Problem(Generic[State, Action]):
    """A world and where to start in it.

    Attributes:
        world: the transitions and the goal.
        start: the first state.
        name: tells problems of one set apart.
        optimal_length: number of actions of the shortest plan, where known.
    """

    world: World[State, Action]
    start: State
    name: str
    optimal_length: int | None = None


def execute(world: World[State, Action], start: State, plan: Iterable[Action]) -> list[State]:
    """The states that a plan passes through, `start` first.

    Raises `ValueError` with the number of the first illegal action, counted from 1.
    """
    states = [start]
    for step, action in enumerate(plan, 1):
        try:
            states.append(world.apply(states[-1], action))
        except ValueError as error:
            raise ValueError(f"step {step}: {error}") from None
    return states


def solves(problem: Problem[State, Action], plan: Iterable[Action]) -> bool:
    """Whether a plan is legal to its end and ends at the goal. What holds only on the way does not count."""
    try:
        return problem.world.is_goal(execute(problem.world, problem.start, plan)[-1])
    except ValueError:
        return False


def shortest_plan(problem: Problem[State, Action], *, max_states: int = 1_000_000) -> list[Action] | None:
    """A plan with the fewest actions by breadth-first search, or None where no plan exists.

    Among several the one whose first difference is the action that the world lists earlier. Raises `ValueError` when
    more than `max_states` states were met before an answer.
    """
    world, start = problem.world, problem.start
    came: dict[Any, tuple[Any, Any] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if world.is_goal(state):
            plan = []
            while (step := came[state]) is not None:
                state, action = step
                plan.append(action)
            return plan[::-1]
        for action in world.actions(state):
            after = world.apply(state, action)
            if after not in came:
                came[after] = state, action
                queue.append(after)
        if len(came) > max_states:
            raise ValueError(f"met more than max_states = {max_states} states of {problem.name!r} without an answer")
    return None
