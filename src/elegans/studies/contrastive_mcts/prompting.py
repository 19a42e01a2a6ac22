"""Problems, and what the models are shown of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from elegans.models.base import SequenceModel
from elegans.ops.rng import numpy_rng
from elegans.reasoning.scorer import Scorer
from elegans.reasoning.search.node import Choice, Trajectory
from elegans.reasoning.search.prompts import Prompts
from elegans.reasoning.zoo import ZooScorer
from elegans.tasks.blocksworld.classes import Part
from elegans.tasks.blocksworld.instances import Mix, draw_problems
from elegans.tasks.blocksworld.notation import END, Compact
from elegans.tasks.blocksworld.oracle import Oracle
from elegans.tasks.blocksworld.state import Action, step
from elegans.tasks.blocksworld.words import GOOD, Words, policy_prompt, self_evaluation_prompt
from elegans.tasks.blocksworld.world import Blocksworld, BlocksworldProblem, BufferedState, blocksworld_of
from elegans.tasks.planning import Problem

State = BufferedState


def problems(part: Part, four: int, five: int) -> list[BlocksworldProblem]:
    """So many problems of four and of five blocks, each of a class of its own, with shortest plans of 4 and more."""
    counts = tuple((n, count) for n, count in ((4, four), (5, five)) if count)
    return draw_problems(Mix(counts=counts), part=part)


def scorer(model: SequenceModel) -> Scorer:
    """A trained model as a scorer."""
    words = Words()
    return cast(Scorer, ZooScorer(model, words.words, ends=[words.token(END)]))


class WorldPrompts:
    """The prompts of whatever problem was set last, so that one reader serves all problems."""

    def __init__(self) -> None:
        self.world: Blocksworld | None = None
        self.prompts = Prompts(self._policy, self._action, self._judge)

    def set(self, problem: Problem[Any, Action]) -> None:
        """Speak of this problem from now on."""
        self.world = blocksworld_of(problem)

    def _policy(self, trajectory: Trajectory) -> str:
        assert self.world is not None
        return policy_prompt(self.world, _shown(trajectory))

    def _action(self, _: Trajectory, action: Any) -> str:
        assert self.world is not None
        return f" {Compact(self.world.notation.names).action(action)}"

    def _judge(self, trajectory: Trajectory, action: Any) -> tuple[str, str]:
        assert self.world is not None
        return self_evaluation_prompt(self.world, _shown(trajectory), action), f" {GOOD}"


def _shown(trajectory: Trajectory) -> BufferedState:
    state = trajectory.state
    assert isinstance(state, BufferedState)
    return state


def walk(problem: Problem[State, Action], *, wrong: float, seed: int) -> Iterator[tuple[Choice, list[bool]]]:
    """The choices on the way of a planner who errs, and of each action whether it lowers the distance to the goal.

    The planner takes a shortest way, but with probability `wrong` any action; it gives up after twice the shortest plan.
    """
    world, oracle = problem.world, Oracle(blocksworld_of(problem).goal)
    rng = numpy_rng("erring-planner", problem.name, seed)
    trajectory = Trajectory((problem.start,))
    for _ in range(2 * (problem.optimal_length or 1)):
        state = _shown(trajectory)
        if world.is_goal(state):
            return
        actions = tuple(world.actions(state))
        here = oracle.distance(state.current)
        lowers = [oracle.distance(step(state.current, action)) < here for action in actions]
        yield Choice(trajectory, actions, lambda k, s=state, a=actions: world.apply(s, a[k])), lowers
        open_to = range(len(actions)) if rng.random() < wrong else [k for k, good in enumerate(lowers) if good]
        action = actions[int(rng.choice(list(open_to)))]
        trajectory = trajectory.then(action, world.apply(state, action))
