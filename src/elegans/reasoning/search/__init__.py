"""Monte Carlo tree search over reasoning steps, of parts that can be exchanged.

The three parts of llm-reasoners (Hao et al. 2024, arXiv 2404.05221) are three things here, so a search is ported part by
part:

============================ ==========================================================================================
llm-reasoners                here
============================ ==========================================================================================
`WorldModel`                 a `tasks.planning.World`; `GeneratedWorld` where a model writes the states
`.init_state`, `.step`       `Problem.start`, `World.apply`
`.is_terminal`               `World.is_goal`, and `MCTS.depth_limit`
`SearchConfig`               `Composite` of reward factors, `GoalSignal`, `Prompts`
`.get_actions`               `World.actions`
`.fast_reward`               ``factor_weight * Composite``: asked once per node, for all its actions together
`.reward`                    that and `GoalSignal`, once the action is taken
`SearchAlgorithm`, `MCTS`    `MCTS`: `selection`, `simulation`, `backup`, `output`, `budget`
`w_exp`                      `UCT.c`
`cum_reward`, `calc_q`       `SumBackup`, `MeanBackup`, `MaxBackup`, `ProgressBackup`
`output_strategy`            `BestPath` (``max_reward``), `MostVisited`, `BestValue`
`MCTSResult`, its visualizer `SearchResult`, `trace`
============================ ==========================================================================================

The defaults are what measured best on Blocksworld with models trained here, of ten iterations for about thirty passes, not
what arXiv 2410.01707 proposes: raw log-likelihood (and self-evaluation), mean reward per step, C = 1. More iterations are
the first thing to add: they cost few passes, as known paths are not read again. That paper's system, for comparison::

    reader = ActionReader(prompts, expert, amateur)
    factors = Composite([LogLikelihood(reader), SelfEvaluation(reader), JSDivergence(reader)])
    rewards = factors.normalized(collect(factors, choices), regions=3, online=True)
    MCTS(rewards=rewards, selection=UCT.calibrated(returns), backup=ProgressBackup(), depth_limit=n)

and its released code: ``LogLikelihood(reader, span="sequence")``, ``ActionReader(..., divergence="kl-to-mixture")`` with
``JSDivergence(reader, reduce="sum")``, ``UCT(50)``, ``SumBackup()``, ``GoalSignal(bonus=100)``, ``BestPath("sum")``.
Standardized rewards with sums per path starve exploration, as an unvisited child is judged by one step and a visited
one by all: use `MeanBackup`, or ``first_play="parent"``.
"""

from elegans.reasoning.search.backup import Backup, MaxBackup, MeanBackup, ProgressBackup, SumBackup
from elegans.reasoning.search.closed_loop import act
from elegans.reasoning.search.composite import Composite, collect
from elegans.reasoning.search.contrast import ActionReader, ActionScores, jensen_shannon
from elegans.reasoning.search.generated import GeneratedWorld
from elegans.reasoning.search.mcts import MCTS
from elegans.reasoning.search.node import Choice, Node, Trajectory
from elegans.reasoning.search.normalization import Normalizer, RegionalNormalizer, standardized
from elegans.reasoning.search.output import BestPath, BestValue, MostVisited, Output
from elegans.reasoning.search.prompts import Prompts
from elegans.reasoning.search.rewards import (
    ContrastiveLogRatio,
    Factor,
    GoalFraction,
    JSDivergence,
    LogLikelihood,
    RandomReward,
    SelfEvaluation,
)
from elegans.reasoning.search.selection import PUCT, UCT, ScaleFreeUCT, Selection
from elegans.reasoning.search.simulation import Greedy, LookAhead, Simulation
from elegans.reasoning.search.solve import default_search, solve
from elegans.reasoning.search.trace import trace
from elegans.reasoning.search.tree import Budget, GoalSignal, SearchResult, Tree

__all__ = [
    "MCTS",
    "PUCT",
    "UCT",
    "ActionReader",
    "ActionScores",
    "Backup",
    "BestPath",
    "BestValue",
    "Budget",
    "Choice",
    "Composite",
    "ContrastiveLogRatio",
    "Factor",
    "GeneratedWorld",
    "GoalFraction",
    "GoalSignal",
    "Greedy",
    "JSDivergence",
    "LogLikelihood",
    "LookAhead",
    "MaxBackup",
    "MeanBackup",
    "MostVisited",
    "Node",
    "Normalizer",
    "Output",
    "ProgressBackup",
    "Prompts",
    "RandomReward",
    "RegionalNormalizer",
    "ScaleFreeUCT",
    "SearchResult",
    "Selection",
    "SelfEvaluation",
    "Simulation",
    "SumBackup",
    "Trajectory",
    "Tree",
    "act",
    "collect",
    "default_search",
    "jensen_shannon",
    "solve",
    "standardized",
    "trace",
]
