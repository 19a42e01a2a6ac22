"""All searches on all problems. They share what the models said, so that the whole table costs little more than a row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import xarray as xr

from elegans.lab.run import Run
from elegans.reasoning.search.backup import MeanBackup, ProgressBackup, SumBackup
from elegans.reasoning.search.closed_loop import act
from elegans.reasoning.search.composite import Composite, collect
from elegans.reasoning.search.contrast import ActionReader
from elegans.reasoning.search.mcts import MCTS
from elegans.reasoning.search.node import Choice, Trajectory
from elegans.reasoning.search.output import BestPath
from elegans.reasoning.search.rewards import (
    ContrastiveLogRatio,
    Factor,
    JSDivergence,
    LogLikelihood,
    RandomReward,
    SelfEvaluation,
)
from elegans.reasoning.search.selection import UCT, ScaleFreeUCT
from elegans.reasoning.search.trace import trace
from elegans.reasoning.search.tree import Budget, GoalSignal, SearchResult
from elegans.studies.contrastive_mcts.arms import SearchConfig
from elegans.studies.contrastive_mcts.prompting import State, WorldPrompts, problems, scorer
from elegans.studies.contrastive_mcts.settings import CLOSED_LOOP, SETTINGS, TRACED, Setting
from elegans.studies.contrastive_mcts.training import trained
from elegans.tasks.blocksworld.state import Action
from elegans.tasks.blocksworld.world import buffered
from elegans.tasks.planning import Problem

BONUS = {"sum": 100.0, "mean": 10.0}
MODEL_FACTORS = ("ll", "se", "jsd", "cd")

Row = tuple[bool, int, int, int]
"""Whether solved; expanded nodes, passes of the expert, and tokens that it scored."""


def search(config: SearchConfig, seed: int, run: Run) -> xr.Dataset:
    """Whether each method solves each problem, and what it asks: nodes, passes and tokens of the expert.

    Costs are those of the method alone, as if nothing had been read for another. `trace` are the trees of some searches
    on the last problem.
    """
    texts = WorldPrompts()
    reader = ActionReader(texts.prompts, scorer(trained(run, "expert")), scorer(trained(run, "amateur")))
    factors = factors_of(reader) | {"random": RandomReward(seed)}
    samples = _prior(config, texts, factors)
    rewards = {name: _rewards(setting, factors, samples) for name, setting in SETTINGS.items()}
    tests = problems(config.part, config.four, config.five)
    rows: list[list[Row]] = []
    traces = dict.fromkeys(TRACED, "")
    for number, plain in enumerate(tests):
        run.progress(number, len(tests))
        problem = buffered(plain)
        texts.set(problem)
        row = []
        for name, setting in SETTINGS.items():
            algorithm = _algorithm(setting, *rewards[name], depth=(problem.optimal_length or 0) + setting.spare)
            result = algorithm.search(problem)
            row.append(_cost(result, setting))
            if name in traces and number == len(tests) - 1:
                traces[name] = json.dumps(trace(result) | {"seconds": None})  # the same on every machine
        rows.append(row + _closed_loop(problem, Composite([factors["ll"]]), seed))
        reader.forget()
    found = xr.DataArray(
        rows, dims=("problem", "planner", "quantity"), coords={"planner": [*SETTINGS, *CLOSED_LOOP]}
    ).astype(int)
    solved, nodes, passes, tokens = (found.isel(quantity=k) for k in range(4))
    costs = {"nodes": nodes, "passes": passes, "tokens": tokens}
    return xr.Dataset({
        "solved": solved,
        "length": ("problem", [problem.optimal_length for problem in tests]),
        **{name: cost.mean("problem") for name, cost in costs.items()},
        "trace": xr.DataArray(list(traces.values()), {"traced": list(traces)}),
    })  # fmt: skip


def factors_of(reader: ActionReader) -> dict[str, Factor]:
    """The rewards of the models by their short names."""
    return {
        "ll": LogLikelihood(reader),
        "se": SelfEvaluation(reader),
        "jsd": JSDivergence(reader),
        "cd": ContrastiveLogRatio(reader),
    }


def _prior(config: SearchConfig, texts: WorldPrompts, factors: Mapping[str, Factor]) -> dict[str, np.ndarray]:
    """Each factor of all actions along the likeliest plays of problems that are neither trained nor tested on."""
    models = Composite([factors[name] for name in MODEL_FACTORS])
    parts = []
    for plain in problems("dev", config.prior_four, config.prior_five):
        problem = buffered(plain)
        texts.set(problem)
        play = act(problem, Composite([factors["ll"]]), depth_limit=problem.optimal_length or 0)
        parts.append(collect(models, _choices(problem, play)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _choices(problem: Problem[State, Action], play: Trajectory) -> list[Choice]:
    """The choices that a play went through."""
    found = []
    for number in range(len(play.actions)):
        until = Trajectory(play.states[: number + 1], play.actions[:number])
        actions = tuple(problem.world.actions(cast(State, until.state)))
        found.append(Choice(until, actions, lambda _, state=until.state: state))
    return found


def _rewards(
    setting: Setting, factors: Mapping[str, Factor], samples: Mapping[str, np.ndarray]
) -> tuple[Composite, float]:
    """The reward of a setting, and its exploration constant."""
    chosen = [factors[name] for name in setting.factors]
    rewards = Composite(chosen, {factor.name: setting.scale for factor in chosen})
    if setting.normalized:
        known = {factor.name: samples[factor.name] for factor in chosen}
        rewards = rewards.normalized(known, regions=setting.normalized, online=setting.online)
        if setting.c is None:
            return rewards, UCT.calibrated(MCTS.factor_weight * rewards.fresh().combined(known)).c
    assert setting.c is not None
    return rewards, setting.c


def _algorithm(setting: Setting, rewards: Composite, c: float, *, depth: int) -> MCTS:
    backup = SumBackup() if setting.backup == "sum" else MeanBackup()
    if setting.progress:
        clip, length_penalty = (-0.1, 0.1) if setting.penalties else (0.0, 0.0)
        backup = ProgressBackup(clip=clip, length_penalty=length_penalty, weight=setting.progress, base=backup)
    uct = UCT(c, setting.first_play)
    return MCTS(
        rewards=rewards,
        depth_limit=depth,
        budget=Budget(iterations=setting.iterations),
        selection=ScaleFreeUCT(setting.scale_free, setting.first_play) if setting.scale_free else uct,
        backup=backup,
        output=BestPath(setting.backup, prefer_goal=setting.goal),
        goal=GoalSignal(weight=0.5 * setting.scale, bonus=BONUS[setting.backup]) if setting.goal else None,
        end_at_goal=setting.goal,
    )


def _cost(result: SearchResult, setting: Setting) -> Row:
    nodes, passes = result.tree.expanded, setting.passes
    actions = [cast(Action, node.action) for node in result.tree.root.walk() if node.parent is not None]
    return result.solved, nodes, nodes * passes, _tokens(actions) * bool(passes) + (passes > 1) * len(actions)


def _tokens(actions: Sequence[Action]) -> int:
    """An operator and one or two blocks each."""
    return sum(3 if action.other is not None else 2 for action in actions)


def _closed_loop(problem: Problem[State, Action], likelihood: Composite, seed: int) -> list[Row]:
    """The plays of `CLOSED_LOOP`."""
    length = problem.optimal_length or 0

    def play(depth: int, temperature: float = 0.0, number: int = 0) -> Row:
        end = act(problem, likelihood, depth_limit=depth, temperature=temperature, seed=1000 * seed + number)
        scored = [action for state in end.states[:-1] for action in problem.world.actions(cast(State, state))]
        return problem.world.is_goal(cast(State, end.state)), len(end.actions), len(end.actions), _tokens(scored)

    drawn = [play(length, 1.0, number) for number in range(10)]
    best = [_until_solved(drawn[:n]) for n in (5, 10)]
    return [play(length), play(length + 4), *best]


def _until_solved(plays: Sequence[Row]) -> Row:
    """Plays up to the first that reaches the goal."""
    end = next((k for k, play in enumerate(plays, 1) if play[0]), len(plays))
    solved, *costs = zip(*plays[:end], strict=True)
    nodes, passes, tokens = map(sum, costs)
    return any(solved), nodes, passes, tokens
