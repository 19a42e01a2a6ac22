"""The searches that are compared, as a table. Nothing here imports torch.

Factors: ``ll`` log-likelihood of the action, ``se`` self-evaluation, ``jsd`` Jensen-Shannon divergence and ``cd`` log-ratio
of expert and amateur, ``random``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Factors = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One search.

    Attributes:
        factors: of the reward, each with weight 1.
        normalized: 0 for raw factors, else the number of regions in which each is standardized.
        online: whether normalizers go on learning during a search.
        backup: ``sum`` of rewards with a bonus of 100 for the goal, or ``mean`` per step with one of 10.
        progress: weight of the term for progress (arXiv 2410.01707, eq. 3) beside the back-up.
        penalties: whether that term punishes losses and length.
        c: the exploration constant; None is the standard deviation of rewards on other problems.
        scale_free: k of a constant that follows the values in the tree, in place of `c`.
        first_play: see `elegans.reasoning.search.selection`.
        goal: whether the search is told how much of the goal holds, and prefers a path that reaches it.
        iterations: paths.
        spare: actions that a path may have beyond the shortest plan.
        scale: by which all rewards are multiplied.
    """

    factors: Factors
    normalized: int = 0
    online: bool = False
    backup: Literal["sum", "mean"] = "mean"
    progress: float = 0.0
    penalties: bool = True
    c: float | None = 1.0
    scale_free: float = 0.0
    first_play: Literal["reward", "parent"] = "reward"
    goal: bool = True
    iterations: int = 10
    spare: int = 0
    scale: float = 1.0

    @property
    def passes(self) -> int:
        """Passes of the expert per expanded node: one reads the actions, self-evaluation asks once more."""
        return 0 if self.factors == ("random",) else 1 + ("se" in self.factors)


LL = Setting(factors=("ll",), backup="sum")
RAP = replace(LL, factors=("ll", "se"))
BOTH = Setting(factors=("ll", "se"))
NORM = replace(BOTH, normalized=1)
COMPOSITE = replace(NORM, factors=("ll", "se", "jsd"))
RANDOM = Setting(factors=("random",), backup="sum")
FULL = replace(COMPOSITE, normalized=3, online=True, progress=1.0, c=None)

CONSTANTS = (0.0, 0.3, 1.0, 3.0, 10.0, 50.0)
ITERATIONS = (1, 3, 7, 10, 30)
SCALE = 128.0
"""A power of two, so that multiplying by it loses no digit."""


def _named(name: str, base: Setting) -> dict[str, Setting]:
    """A search with other constants, and with other numbers of iterations."""
    constants = {f"{name} C={c:g}": replace(base, c=c) for c in CONSTANTS if c != base.c}
    return {name: base} | constants | _longer(name, base)


def _longer(name: str, base: Setting) -> dict[str, Setting]:
    return {f"{name} x{n}": replace(base, iterations=n) for n in ITERATIONS if n != base.iterations}


SETTINGS: MappingProxyType[str, Setting] = MappingProxyType(
    _named("ll", LL)
    | _named("ll+se", BOTH)
    | _longer("composite", COMPOSITE)
    | {f"random x{n}": replace(RANDOM, iterations=n) for n in (1, 30)}
    | {
        "random": RANDOM,
        "random, no goal": replace(RANDOM, goal=False),
        "ll, no goal": replace(LL, goal=False),
        "ll, spare": replace(LL, spare=4),
        "ll, scaled": replace(LL, scale=SCALE),
        "ll, scale-free": replace(LL, scale_free=2.0),
        "ll, scale-free, scaled": replace(LL, scale_free=2.0, scale=SCALE),
        "ll, mean": replace(LL, backup="mean"),
        "rap": RAP,
        "rap+jsd": replace(RAP, factors=("ll", "se", "jsd")),
        "ll+se, no goal": replace(BOTH, goal=False),
        "ll+se, spare": replace(BOTH, spare=4),
        "ll+se, first play": replace(BOTH, first_play="parent"),
        "normalized": NORM,
        "normalized, sum": replace(NORM, backup="sum"),
        "normalized, sum, first play": replace(NORM, backup="sum", first_play="parent"),
        "composite": COMPOSITE,
        "composite, no goal": replace(COMPOSITE, goal=False),
        "composite without ll": replace(COMPOSITE, factors=("se", "jsd")),
        "composite without se": replace(COMPOSITE, factors=("ll", "jsd")),
        "composite with cd": replace(COMPOSITE, factors=("ll", "se", "cd")),
        "se": replace(BOTH, factors=("se",)),
        "cd": replace(BOTH, factors=("cd",)),
        "jsd": replace(BOTH, factors=("jsd",)),
        "progress": replace(BOTH, progress=2.0),
        "progress, no penalties": replace(BOTH, progress=2.0, penalties=False),
        "progress, first play": replace(BOTH, progress=2.0, first_play="parent"),
        "full system": FULL,
        "full system, first play": replace(FULL, first_play="parent"),
    }
)
"""By name. ``ll+se`` is the package's default search; ``rap`` Hao et al. 2023; ``full system`` is arXiv 2410.01707."""

TRACED = ("ll+se", "rap", "normalized", "composite", "full system", "random")
"""Searches whose trees are kept, of one problem."""

CLOSED_LOOP = ("closed loop", "closed loop, spare", "closed loop, best of 5", "closed loop, best of 10")
"""One choice after the other without a tree: the likeliest action, or the best of several drawn plays by a goal check."""

OPEN_LOOP = (
    "greedy plan",
    "self-consistency of 10",
    "best of 10 by likelihood",
    "best of 5",
    "best of 10",
    "best of 16",
)
"""Whole plans in one text; ``best of`` n takes one that a goal check passes, if there is any."""
