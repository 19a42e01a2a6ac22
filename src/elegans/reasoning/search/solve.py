"""The search to begin with."""

from __future__ import annotations

from typing import Any

from elegans.reasoning.scorer import Scorer
from elegans.reasoning.search.composite import Composite
from elegans.reasoning.search.contrast import ActionReader
from elegans.reasoning.search.mcts import MCTS
from elegans.reasoning.search.prompts import Prompts
from elegans.reasoning.search.rewards import LogLikelihood, SelfEvaluation
from elegans.reasoning.search.tree import SearchResult
from elegans.tasks.planning import Problem


def default_search(scorer: Scorer, prompts: Prompts, *, depth_limit: int, **settings: Any) -> MCTS:
    """What measured best on Blocksworld: log-likelihood of actions, and self-evaluation where the prompts ask for it.

    Both as they are, mean reward per step, C = 1, a bonus for the goal. Self-evaluation takes a second pass per choice:
    log-likelihood alone with three times the iterations does as well for as many passes. `settings` are further ones of
    `MCTS`.
    """
    reader = ActionReader(prompts, scorer)
    factors = [LogLikelihood(reader), *([SelfEvaluation(reader)] if prompts.judge else [])]
    return MCTS(rewards=Composite(factors), depth_limit=depth_limit, **settings)


def solve(
    problem: Problem, scorer: Scorer, prompts: Prompts | None = None, *, depth_limit: int = 16, **settings: Any
) -> SearchResult:
    """Search a problem with `default_search`. Without prompts the model sees the world's own texts (`Prompts.of`)."""
    prompts = Prompts.of(problem.world) if prompts is None else prompts
    return default_search(scorer, prompts, depth_limit=depth_limit, **settings).search(problem)
