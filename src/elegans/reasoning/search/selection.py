"""Selection: which child to go to.

With Q the value of a visited child, N the visits of a child and N_p those of its parent; a child that was never visited
has no Q, and `first_play` says what stands for it:

=========== =============================================================================================================
``reward``  the estimate of its reward (RAP); on another scale than Q where Q is a sum
``parent``  the parent's Q minus the gap to the best sibling's estimate: first-play urgency, on the scale of Q
``always``  infinity: every child is tried once before any a second time
=========== =============================================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from elegans.reasoning.search.node import Node

FirstPlay = Literal["reward", "parent", "always"]


@runtime_checkable
class Selection(Protocol):
    """The worth of going to each of some siblings; the search takes the highest, the first of equals."""

    def scores(self, parent: Node, children: list[Node]) -> np.ndarray:
        """One number per child."""
        ...


def values(parent: Node, children: list[Node], first_play: FirstPlay) -> np.ndarray:
    """Q of each child, or what stands for it."""
    if first_play == "always":
        unvisited = [math.inf] * len(children)
    elif first_play == "parent" and parent.visits:
        best = max(child.estimate for child in children)
        unvisited = [parent.value - (best - child.estimate) for child in children]
    else:
        unvisited = [child.estimate for child in children]
    return np.array([c.value if c.visits else u for c, u in zip(children, unvisited, strict=True)])


def _exploration(parent: Node, children: list[Node]) -> np.ndarray:
    visits = np.array([max(1, child.visits) for child in children])
    return np.sqrt(math.log(max(1, parent.visits)) / visits)


def _check(c: float, first_play: FirstPlay) -> None:
    if c < 0 or first_play not in get_args(FirstPlay):
        raise ValueError(f"need a constant >= 0 and first_play of {', '.join(get_args(FirstPlay))}")


@dataclass(frozen=True)
class UCT:
    r""":math:`Q + C \sqrt{\ln N_p / N}` (Kocsis and Szepesvari 2006), an unvisited child counting as visited once.

    C has the unit of Q: rewards 100 times larger need a C 100 times larger.
    """

    c: float = 1.0
    first_play: FirstPlay = "reward"

    def __post_init__(self) -> None:
        _check(self.c, self.first_play)

    @classmethod
    def calibrated(cls, sample: np.ndarray, *, k: float = 1.0, first_play: FirstPlay = "reward") -> UCT:
        """C is k population standard deviations of a sample of values: matched to their scale once, before the search."""
        return cls(k * float(np.std(sample)), first_play)

    def scores(self, parent: Node, children: list[Node]) -> np.ndarray:
        """See `Selection`."""
        return values(parent, children, self.first_play) + self.c * _exploration(parent, children)


@dataclass(frozen=True)
class ScaleFreeUCT:
    """UCT whose C is k population standard deviations of all values in the tree so far (arXiv 2510.21275).

    Multiplying all rewards by a number changes no choice.
    """

    k: float = 2.0
    first_play: FirstPlay = "reward"

    def __post_init__(self) -> None:
        _check(self.k, self.first_play)

    def scores(self, parent: Node, children: list[Node]) -> np.ndarray:
        """See `Selection`."""
        seen = [node.value for node in parent.path()[0].walk() if node.visits and node.parent is not None]
        c = self.k * float(np.std(seen)) if seen else 0.0
        return values(parent, children, self.first_play) + c * _exploration(parent, children)


@dataclass(frozen=True)
class PUCT:
    r""":math:`Q + C P \sqrt{N_p} / (1 + N)` with a prior P over siblings (Silver et al. 2017).

    P is the softmax of a factor, or of the estimates, divided by `temperature`: the policy itself where the factor is
    the log-likelihood.
    """

    c: float = 1.0
    prior: str | None = None
    """The name of a factor; None is the estimate."""
    temperature: float = 1.0
    first_play: FirstPlay = "reward"

    def __post_init__(self) -> None:
        _check(self.c, self.first_play)
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    def scores(self, parent: Node, children: list[Node]) -> np.ndarray:
        """See `Selection`."""
        logits = [c.estimate if self.prior is None else c.factors[self.prior] for c in children]
        prior = np.exp((np.array(logits) - max(logits)) / self.temperature)
        visits = np.array([child.visits for child in children])
        bonus = self.c * prior / prior.sum() * math.sqrt(parent.visits) / (1 + visits)
        return values(parent, children, self.first_play) + bonus
