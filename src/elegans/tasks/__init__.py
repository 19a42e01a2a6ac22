"""Floor 1: worlds with known truth. Each task is a seeded sampler with named splits, metrics and the level of a guess.

`CATALOG` lists the tasks without importing torch; the classes load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans.tasks.base import IGNORE, Batch, FiniteTask, Task, facts, score, token_nll
    from elegans.tasks.chain import TransitiveChain
    from elegans.tasks.formal import ChainOfThought, FormalLanguage
    from elegans.tasks.group_sparse import GroupSparse
    from elegans.tasks.recall import InContextRecall
    from elegans.tasks.regression import InContextRegression
    from elegans.tasks.reversal import InContextReversal, ReversalPairs
    from elegans.tasks.weight_prediction import InContextWeightPrediction

CATALOG: dict[str, tuple[str, str]] = {
    "ReversalPairs": (
        "elegans.tasks.reversal:ReversalPairs",
        "facts A -> B, some trained in one direction only; the test is the other direction",
    ),
    "InContextReversal": (
        "elegans.tasks.reversal:InContextReversal",
        "x -> y <=> y <- x in one sequence: reversal whose answer stands in the context",
    ),
    "TransitiveChain": (
        "elegans.tasks.chain:TransitiveChain",
        "facts A -> B and B -> C; the test is the conclusion A ~> C",
    ),
    "FormalLanguage": (
        "elegans.tasks.formal:FormalLanguage",
        "strings with the class that a finite automaton gives them: even pairs, parity check, any other",
    ),
    "ChainOfThought": (
        "elegans.tasks.formal:ChainOfThought",
        "sums modulo a number (parity check) taught symbol by symbol",
    ),
    "GroupSparse": (
        "elegans.tasks.group_sparse:GroupSparse",
        "many groups of normal features of which few decide the label",
    ),
    "InContextRecall": (
        "elegans.tasks.recall:InContextRecall",
        "what followed the trigger earlier in this sentence, among filler and noise; answers seen and unseen",
    ),
    "InContextRegression": (
        "elegans.tasks.regression:InContextRegression",
        "predict f(x') from pairs (x, f(x)): a linear function, its sine or its exponential",
    ),
    "InContextWeightPrediction": (
        "elegans.tasks.weight_prediction:InContextWeightPrediction",
        "name the vector that made the labels, in one step or by steps of gradient descent as vector thoughts",
    ),
}
"""Name -> (import path, one-line description)."""

_BASE = ("IGNORE", "Batch", "FiniteTask", "Task", "facts", "score", "token_nll")

__all__ = [
    "CATALOG",
    "IGNORE",
    "Batch",
    "ChainOfThought",
    "FiniteTask",
    "FormalLanguage",
    "GroupSparse",
    "InContextRecall",
    "InContextRegression",
    "InContextReversal",
    "InContextWeightPrediction",
    "ReversalPairs",
    "Task",
    "TransitiveChain",
    "facts",
    "score",
    "token_nll",
]


def __getattr__(name: str) -> Any:
    """Load a task on first use."""
    if name in CATALOG:
        module, _, attribute = CATALOG[name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if name in _BASE:
        return getattr(importlib.import_module("elegans.tasks.base"), name)
    raise AttributeError(f"module 'elegans.tasks' has no attribute {name!r}")
