"""What a language model is shown of a world: solved problems, and after them the one that is searched.

A prompt lists what is wanted, and then every state and step so far, so what was read for a step is the beginning of what
is read for the next::

    Goal: the red block is on top of the blue block
    State: the red block is clear, ...
    Action: pick up the red block
    State: the blue block is clear, the hand is holding the red block ...
    Action:
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from elegans.ops.rng import numpy_rng
from elegans.reasoning.search.node import Action, Trajectory
from elegans.reasoning.search.prompts import Prompts
from elegans.studies.contrastive_mcts.own_config import SolveConfig
from elegans.studies.contrastive_mcts.own_problems import NOTATIONS, load
from elegans.tasks.blocksworld.classes import canonical
from elegans.tasks.blocksworld.english import INTRODUCTION, English
from elegans.tasks.blocksworld.instances import Mix, draw_problems
from elegans.tasks.blocksworld.notation import Notation
from elegans.tasks.blocksworld.world import Blocksworld
from elegans.tasks.countdown import Countdown, draw_countdown
from elegans.tasks.planning import Problem, World, execute, shortest_plan
from elegans.tasks.problem_file import WORLDS

AnyProblem = Problem[Any, Any]
QUESTION = "Is this action good or bad?"
COUNTDOWN = "Put the sum, difference, product or quotient of two numbers in their place, until the goal is left.\n"
TRIES = 1000
"""Problems that are drawn at most for one that is not the user's."""


def wanted(world: World) -> str:
    """What a world wants, as text: of a world of the user's own its `render_goal()`, nothing where it has none."""
    if isinstance(world, Blocksworld):
        return world.notation.goal(world.goal)
    if isinstance(world, Countdown):
        return str(world.target)
    return world.render_goal() if hasattr(world, "render_goal") else ""  # pyright: ignore[reportAttributeAccessIssue]


def introduction(world: World) -> str:
    """The rules, to begin a prompt with; nothing for a notation of formulas and a world of the user's own."""
    if isinstance(world, Blocksworld):
        return INTRODUCTION if isinstance(world.notation, English) else ""
    return COUNTDOWN if isinstance(world, Countdown) else ""


def transcript(world: World, trajectory: Trajectory) -> str:
    """What is wanted, and all states and actions in turn."""
    goal = wanted(world)
    lines = [f"Goal: {goal}"] if goal else []
    lines.append(f"State: {world.render_state(trajectory.states[0])}")
    for action, state in zip(trajectory.actions, trajectory.states[1:], strict=True):
        lines += [f"Action: {world.render_action(action)}", f"State: {world.render_state(state)}"]
    return "\n".join(lines)


@dataclass(frozen=True)
class Shown:
    """What stands before every prompt: whole plans before a choice, judged actions before a self-evaluation."""

    plans: str = ""
    judgments: str = ""

    @classmethod
    def of(cls, world: World, examples: Sequence[AnyProblem]) -> Shown:
        """The rules of a world, and examples with their shortest plans. Of every other example a bad action is judged.

        Raises `ValueError` for an example that has no plan or is too large for one to be found.
        """
        plans, judgments = [introduction(world)], [introduction(world)]
        for number, example in enumerate(examples):
            path = _shortest(example)
            plans.append(f"{transcript(example.world, path)}\nDone.\n")
            place = number % len(path.actions)
            state, action = path.states[place], path.actions[place]
            bad = _detours(example, state, len(path.actions) - place) if number % 2 else []
            question = _question(example.world, state, bad[0] if bad else action)
            judgments.append(f"{question} {'bad' if bad else 'good'}\n")
        return cls(*("\n".join(filter(None, part)) + "\n" * any(part) for part in (plans, judgments)))

    def prompts(self, world: World, *, judge: bool) -> Prompts:
        """The prompts of a world, which with `judge` also ask whether an action is good."""

        def policy(trajectory: Trajectory) -> str:
            return f"{self.plans}{transcript(world, trajectory)}\nAction:"

        def action(_: Trajectory, chosen: Action) -> str:
            return f" {world.render_action(chosen)}"

        def question(trajectory: Trajectory, chosen: Action) -> tuple[str, str]:
            return self.judgments + _question(world, trajectory.state, chosen), " good"

        return Prompts(policy, action, question if judge else None)


def longest(problem: AnyProblem, depth: int) -> Trajectory:
    """A way of so many actions, each the one with the longest text: about as long as a prompt can get."""
    world, trajectory = problem.world, Trajectory((problem.start,))
    while len(trajectory.actions) < depth and (actions := world.actions(trajectory.state)):
        action = max(actions, key=lambda a: len(world.render_action(a)))
        trajectory = trajectory.then(action, world.apply(trajectory.state, action))
    return trajectory


def _question(world: World, state: Any, action: Action) -> str:
    return f"{transcript(world, Trajectory((state,)))}\nAction: {world.render_action(action)}\n{QUESTION}"


def _shortest(example: AnyProblem) -> Trajectory:
    plan = shortest_plan(example)
    if not plan:
        raise ValueError(f"the example {example.name} has {'no plan' if plan is None else 'nothing to do'}")
    return Trajectory(tuple(execute(example.world, example.start, plan)), tuple(plan))


def _detours(example: AnyProblem, state: Any, to_go: int) -> list[Action]:
    """The actions after which the way to the goal is no shorter than the `to_go` actions before."""
    world, found = example.world, []
    for action in world.actions(state):
        rest = shortest_plan(Problem(world, world.apply(state, action), example.name))
        if rest is None or len(rest) >= to_go:
            found.append(action)
    return found


# ------------------------------------------------------------------------------------------------ examples


def identity(problem: AnyProblem) -> Hashable:
    """Equal for problems that are the same; in Blocksworld also where only the blocks have other names."""
    world, start = problem.world, problem.start
    if isinstance(world, Blocksworld):
        return ("held", start, world.goal) if start.held is not None else canonical(start, world.goal)
    return wanted(world), start


def shown(config: SolveConfig, problems: Sequence[AnyProblem]) -> Shown:
    """What stands before every prompt of these problems.

    Raises `ValueError` for examples that cannot be had, and for one of the user's that is a problem too.
    """
    if not config.shots:
        return Shown.of(problems[0].world, [])
    if not config.examples:
        found = draw_examples(problems, config.world, config.shots, notation=NOTATIONS[config.render])
        return Shown.of(problems[0].world, found)
    found = load(config, examples=True)[: config.shots]
    known = {identity(problem): problem.name for problem in problems}
    for example in found:
        if identity(example) in known:
            raise ValueError(f"the example {example.name} is the problem {known[identity(example)]}")
    return Shown.of(problems[0].world, found)


def draw_examples(
    problems: Sequence[AnyProblem], world: str, count: int, *, notation: type[Notation] = English
) -> list[AnyProblem]:
    """So many small problems of a world, none of which is one of `problems`.

    Raises `ValueError` for a world of the user's own, which has no generator, and where all that are drawn are known.
    """
    if world not in WORLDS:
        raise ValueError(f"nothing draws problems of {world}: give solved ones by --examples, or --shots 0")
    known, found = {identity(problem) for problem in problems}, []
    for number in range(count * TRIES):
        if len(found) == count:
            break
        (problem,) = _draw(problems, world, number, notation)
        if identity(problem) not in known:
            known.add(identity(problem))
            found.append(problem)
    if len(found) < count:
        raise ValueError(f"only {len(found)} of {count} examples are not among the problems; use fewer --shots")
    return found


def _draw(problems: Sequence[AnyProblem], world: str, number: int, notation: type[Notation]) -> list[AnyProblem]:
    """One problem: four blocks and four to six actions, or about as many numbers as the user's problems have."""
    if world == "blocksworld":
        return draw_problems(Mix(((4, 1),), lengths=(4, 6)), part="train", notation=notation, seed=number)
    like = problems[int(numpy_rng("solve-examples", number).integers(len(problems)))]
    return draw_countdown(1, n_numbers=min(4, len(like.start)), target=None, seed=number)
