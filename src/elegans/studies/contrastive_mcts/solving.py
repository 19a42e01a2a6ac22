"""The job of `elegans.studies.contrastive_mcts.own`: problem after problem, each kept as soon as it is finished."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from elegans.lm.directory import load_lm
from elegans.reasoning.hf import HFScorer
from elegans.reasoning.scorer import Scorer, ScorerError
from elegans.reasoning.search.closed_loop import act
from elegans.reasoning.search.composite import Composite
from elegans.reasoning.search.contrast import ActionReader
from elegans.reasoning.search.mcts import MCTS
from elegans.reasoning.search.rewards import (
    ContrastiveLogRatio,
    JSDivergence,
    LogLikelihood,
    RandomReward,
    SelfEvaluation,
)
from elegans.reasoning.search.selection import UCT
from elegans.reasoning.search.trace import trace
from elegans.reasoning.search.tree import Budget, SearchResult
from elegans.reasoning.server import ServerScorer
from elegans.studies.contrastive_mcts.own_config import Answer, SolveConfig
from elegans.studies.contrastive_mcts.own_problems import digest, load
from elegans.studies.contrastive_mcts.own_prompts import AnyProblem, Shown, shown
from elegans.tasks.blocksworld.oracle import Oracle
from elegans.tasks.blocksworld.world import Blocksworld
from elegans.tasks.countdown import Countdown, CountdownOracle
from elegans.tasks.planning import solves
from elegans.training.checkpoint import Checkpoint, Point

if TYPE_CHECKING:
    import torch

    from elegans.lab.run import Run

FACTORS = {"ll": LogLikelihood, "se": SelfEvaluation, "cd": ContrastiveLogRatio, "jsd": JSDivergence}
ORACLE_BLOCKS, ORACLE_NUMBERS = 10, 5
"""The sizes up to which an oracle answers in a second."""


@dataclass(frozen=True)
class Effort:
    """What one planner came to on one problem; of several random searches the means."""

    solved: float
    length: float
    """Actions of the plan, nan where it does not reach the goal."""
    nodes: float
    passes: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """A problem when all planners are done with it, or a scorer's fault has ended the search."""

    problem: str
    status: str
    fault: str = ""
    plan: list[str] = field(default_factory=list)
    shortest: int | None = None
    trace: str = ""
    efforts: dict[str, Effort] = field(default_factory=dict)
    """By planner; none after a fault."""

    @classmethod
    def read(cls, notes: dict[str, Any]) -> Outcome:
        """From what a checkpoint holds."""
        return cls(**{**notes, "efforts": {name: Effort(**values) for name, values in notes["efforts"].items()}})

    @property
    def answer(self) -> Answer:
        """For a person."""
        search, greedy = self.efforts.get("search", NOTHING), self.efforts.get("greedy", NOTHING)
        return Answer(
            problem=self.problem,
            solved=bool(search.solved),
            status=self.status,
            fault=self.fault,
            plan=tuple(self.plan),
            shortest=self.shortest,
            greedy=bool(greedy.solved),
            passes=search.passes,
            tokens=search.tokens,
            seconds=search.seconds,
        )


NOTHING = Effort(0, float("nan"), 0, 0, 0, 0.0)


def solve(config: SolveConfig, seed: int, run: Run) -> xr.Dataset:
    """Each problem by each planner: whether it is `solved`, `length` of the plan, `nodes`, `passes`, `tokens`, `seconds`.

    Of the search also `status`, `plan` (an action per line) and `trace` (JSON, see `elegans.reasoning.search.trace`);
    `shortest` is the length of the shortest plan where an oracle knows it.

    A finished problem is a checkpoint, so an interruption costs the problem under way. One whose search ended in a
    scorer's fault is kept too, and tried again by the next run: raises `ScorerError` at the end if there is any.
    """
    if digest(config) != config.digest:
        raise ValueError(f"{config.problems} or another file has changed since this run was planned; plan it again")
    problems, outcomes = load(config), []
    planners = _Planners(config, seed, problems, run.device)
    total = len(problems) * config.iterations
    for number, problem in enumerate(problems):
        place = run.checkpoint(_place(number))
        outcome = kept(place)

        def tell(iteration: int, done: int = number) -> None:
            run.progress(done * config.iterations + iteration, total, solved=_solved(outcomes))

        tell(0)
        if outcome is None or outcome.status == "fault":
            outcome = planners.all(number, problem, tell)
            place.save(Point(number, {}, asdict(outcome)))
        outcomes.append(outcome)
    run.progress(total, total, solved=_solved(outcomes))
    faults = [outcome for outcome in outcomes if outcome.status == "fault"]
    if faults:
        raise ScorerError(
            f"{len(faults)} of {len(problems)} problems ended in a fault; the others are kept, and the same command tries "
            f"these again: {'; '.join(f'{outcome.problem} ({outcome.fault})' for outcome in faults[:3])}"
        )
    return _dataset(outcomes)


def kept(place: Checkpoint) -> Outcome | None:
    """What a checkpoint holds of a problem, None where it was not reached."""
    point = place.load()
    return None if point is None else Outcome.read(point.notes)


def kept_answers(config: SolveConfig, checkpoint: Callable[[str], Checkpoint]) -> list[Answer]:
    """The problems that an unfinished or failed job has looked at so far; `checkpoint` gives its places by name."""
    found = (kept(checkpoint(_place(number))) for number in range(len(load(config))))
    return [outcome.answer for outcome in found if outcome is not None]


def connect(config: SolveConfig) -> ServerScorer:
    """The model behind a server. Raises `ValueError` for an address of another form and `ScorerError` from the server."""
    address, _, model = config.server.partition("#")
    if not model or "?" in address:
        raise ValueError("a server is given as http://host:port/v1#model, a key in the variable OPENAI_API_KEY")
    return ServerScorer(address, model, timeout=config.timeout, retries=config.retries)


def _place(number: int) -> str:
    return f"problem-{number}"


def _solved(outcomes: Iterable[Outcome]) -> int:
    return sum(outcome.answer.solved for outcome in outcomes)


class _Planners:
    """Whoever plans. Models are loaded when the first problem asks them.

    Each plan is made by a scorer of its own, so neither its costs nor its last digits depend on what was read before.
    """

    def __init__(self, config: SolveConfig, seed: int, problems: list[AnyProblem], device: torch.device) -> None:
        self.config, self.seed, self.problems, self.device = config, seed, problems, device

    @cached_property
    def _shown(self) -> Shown:
        return shown(self.config, self.problems)

    @cached_property
    def _server(self) -> ServerScorer:
        return connect(self.config)

    @cached_property
    def _lms(self) -> dict[str, Any]:
        paths = {"expert": self.config.lm, "amateur": self.config.amateur}
        return {
            name: load_lm(path, dtype=self.config.dtype, device=self.device) for name, path in paths.items() if path
        }

    def _reader(self, problem: AnyProblem) -> ActionReader:
        prompts = self._shown.prompts(problem.world, judge="se" in self.config.factors)
        if self.config.server:
            return ActionReader(prompts, self._server)
        scorers = {name: cast(Scorer, HFScorer(lm.model, lm.tokenizer)) for name, lm in self._lms.items()}
        return ActionReader(prompts, scorers["expert"], scorers.get("amateur"))

    def all(self, number: int, plain: AnyProblem, tell: Callable[[int], None]) -> Outcome:
        """One problem by each planner."""
        problem = replace(plain, optimal_length=_shortest(plain))
        result = self._search(problem, tell)
        found = Outcome(
            problem=problem.name,
            status=result.status,
            fault=result.fault,
            plan=[problem.world.render_action(action) for action in result.actions],
            shortest=problem.optimal_length,
            trace=json.dumps(trace(result)),
        )
        if found.status == "fault":
            return found
        try:
            greedy = self._greedy(problem)
        except ScorerError as error:
            return replace(found, status="fault", fault=str(error))
        efforts = {"search": _effort(result), "greedy": greedy, "random": self._random(number, problem, result)}
        return replace(found, efforts=efforts)

    def _algorithm(self, rewards: Composite, budget: Budget) -> MCTS:
        """The default search, whatever the rewards."""
        config = self.config
        return MCTS(
            rewards=rewards,
            depth_limit=config.depth,
            budget=budget,
            selection=UCT(config.c),
            stop_when_solved=config.stop_when_solved,
        )

    def _search(self, problem: AnyProblem, tell: Callable[[int], None]) -> SearchResult:
        config, reader = self.config, self._reader(problem)
        limits = {name: getattr(config, name) for name in ("passes", "tokens", "seconds")}
        budget = Budget(**{name: limit for name, limit in limits.items() if limit is not None})
        algorithm = self._algorithm(Composite([FACTORS[name](reader) for name in config.factors]), budget)
        tree, result = None, None
        for iteration in range(1, config.iterations + 1):
            result = replace(algorithm, budget=replace(budget, iterations=iteration)).search(problem, tree)
            tree = result.tree
            tell(iteration)
            if result.status != "iterations":
                break
        assert result is not None
        return result

    def _greedy(self, problem: AnyProblem) -> Effort:
        reader, started = self._reader(problem), time.monotonic()
        before = replace(reader.expert.usage)
        plan = act(problem, Composite([LogLikelihood(reader)]), depth_limit=self.config.depth).actions
        spent, seconds = reader.expert.usage - before, time.monotonic() - started
        solved = solves(problem, plan)
        tokens = spent.read_tokens + spent.generated_tokens
        return Effort(solved, len(plan) if solved else float("nan"), len(plan), spent.passes, tokens, seconds)

    def _random(self, number: int, problem: AnyProblem, like: SearchResult) -> Effort:
        draws, first = self.config.draws, (self.seed * len(self.problems) + number) * self.config.draws
        results = [
            self._algorithm(Composite([RandomReward(first + draw)]), Budget(like.tree.iterations)).search(problem)
            for draw in range(draws)
        ]
        rows = [_effort(result) for result in results]
        lengths = [row.length for row in rows if row.solved]
        means = {name: float(np.mean([getattr(row, name) for row in rows])) for name in ("solved", "nodes", "seconds")}
        return Effort(length=float(np.mean(lengths)) if lengths else float("nan"), passes=0, tokens=0, **means)


def _effort(result: SearchResult) -> Effort:
    """What a search came to. It has solved the problem if its plan, executed by the world, reaches the goal."""
    tree = result.tree
    solved = result.solved and solves(tree.problem, result.actions)
    length = len(result.actions) if solved else float("nan")
    tokens = tree.spent.read_tokens + tree.spent.generated_tokens
    return Effort(solved, length, tree.expanded, tree.spent.passes, tokens, tree.seconds)


def _shortest(problem: AnyProblem) -> int | None:
    """Actions of the shortest plan, where that is known or quickly found."""
    world = problem.world
    if problem.optimal_length is not None:
        return problem.optimal_length
    if isinstance(world, Blocksworld) and len(problem.start.below) <= ORACLE_BLOCKS:
        return Oracle(world.goal).distance(problem.start)
    if isinstance(world, Countdown) and len(problem.start) <= ORACLE_NUMBERS:
        return CountdownOracle(world).distance(problem.start)
    return None


def _dataset(outcomes: list[Outcome]) -> xr.Dataset:
    planners = list(outcomes[0].efforts)
    table = {
        name: (("planner", "problem"), [[getattr(o.efforts[p], name) for o in outcomes] for p in planners])
        for name in Effort.__dataclass_fields__
    }
    texts = {
        "status": [o.status for o in outcomes],
        "plan": ["\n".join(o.plan) for o in outcomes],
        "trace": np.array([o.trace for o in outcomes], dtype=object),  # of very different lengths
    }
    shortest = [float("nan") if o.shortest is None else float(o.shortest) for o in outcomes]
    return xr.Dataset(
        {**table, **{name: ("problem", values) for name, values in texts.items()}, "shortest": ("problem", shortest)},
        coords={"planner": planners, "problem": [o.problem for o in outcomes]},
    )
