"""Floor 2: thinking at inference. Language models that score and write, decoding, and search in worlds of one's own.

Five lines search a world (any `tasks.planning.World`) with a model (any `Scorer`)::

    from elegans.reasoning import HFScorer, solve, trace
    from elegans.tasks.planning import Problem

    scorer = HFScorer.load("path/to/a/model")  # or ZooScorer(model, words), ServerScorer(url, name)
    result = solve(Problem(my_world, my_start, "mine"), scorer, depth_limit=8)
    print(result.status, result.solved, result.actions, trace(result)["nodes"])

`elegans.reasoning.search` says what that search is, and has its parts.
"""

from elegans.reasoning.decoding import beam, best_of_n, greedy, sample, self_consistency
from elegans.reasoning.hf import HFScorer, hf_model
from elegans.reasoning.lm import Cursor, LanguageModel
from elegans.reasoning.local import LocalScorer
from elegans.reasoning.scorer import Capabilities, Generation, Scored, Scorer, ScorerError, Usage
from elegans.reasoning.search import MCTS, Budget, SearchResult, default_search, solve, trace
from elegans.reasoning.server import ServerScorer
from elegans.reasoning.speculative import Speculation, SpeculationStats, speculate
from elegans.reasoning.zoo import WordTokenizer, ZooScorer, zoo_model

__all__ = [
    "MCTS",
    "Budget",
    "Capabilities",
    "Cursor",
    "Generation",
    "HFScorer",
    "LanguageModel",
    "LocalScorer",
    "Scored",
    "Scorer",
    "ScorerError",
    "SearchResult",
    "ServerScorer",
    "Speculation",
    "SpeculationStats",
    "Usage",
    "WordTokenizer",
    "ZooScorer",
    "beam",
    "best_of_n",
    "default_search",
    "greedy",
    "hf_model",
    "sample",
    "self_consistency",
    "solve",
    "speculate",
    "trace",
    "zoo_model",
]
