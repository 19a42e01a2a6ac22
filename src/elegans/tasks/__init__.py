"""Floor 1: worlds with known truth. Each task is a seeded sampler with named splits, metrics and the level of a guess.

`CATALOG` lists the tasks without importing torch; the classes load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans.tasks.base import IGNORE, Batch, FiniteTask, Task, facts, score, token_nll
    from elegans.tasks.chain import TransitiveChain
    from elegans.tasks.reversal import InContextReversal, ReversalPairs

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
}
"""Name -> (import path, one-line description)."""

_BASE = ("IGNORE", "Batch", "FiniteTask", "Task", "facts", "score", "token_nll")

__all__ = [
    "CATALOG",
    "IGNORE",
    "Batch",
    "FiniteTask",
    "InContextReversal",
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
