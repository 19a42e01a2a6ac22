"""Reward factors: what may speak for an action. Each judges all actions of a choice at once.

A factor is any callable from a `Choice` to one number per action that has a `name`; a process reward model of one's own
is one. The factors of language models share an `ActionReader`, and so its passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np

from elegans.ops.rng import numpy_rng
from elegans.reasoning.search.contrast import ActionReader
from elegans.reasoning.search.node import Choice
from elegans.tasks.planning import World

Reduce = Literal["sum", "mean"]
Span = Literal["action", "sequence"]


@runtime_checkable
class Factor(Protocol):
    """One number per action; higher is better."""

    name: str

    def __call__(self, choice: Choice) -> Sequence[float]:
        """The numbers of all actions of a choice, in their order."""
        ...


class _Read:
    """A factor that reads the actions, reduced over their tokens."""

    name = ""

    def __init__(self, reader: ActionReader, *, reduce: Reduce = "sum") -> None:
        if reduce not in get_args(Reduce):
            raise ValueError(f"reduce must be 'sum' or 'mean', got {reduce!r}")
        self.reader, self.reduce = reader, reduce

    def _reduced(self, values: np.ndarray) -> float:
        return float(values.sum() if self.reduce == "sum" else values.mean())


class LogLikelihood(_Read):
    r"""R_LL: :math:`\sum_i \log p_e(x_i \mid x_{<i})` (arXiv 2410.01707, section 4.1).

    `span` is ``action``, the tokens of the action alone; or ``sequence``, which adds those of the prompt, as the released
    code of that paper does: then the prompt's length and wording outweigh the action. A mean makes actions of several
    lengths comparable.
    """

    name = "log-likelihood"

    def __init__(self, reader: ActionReader, *, span: Span = "action", reduce: Reduce = "sum") -> None:
        super().__init__(reader, reduce=reduce)
        if span not in get_args(Span):
            raise ValueError(f"span must be 'action' or 'sequence', got {span!r}")
        if (span, reduce) == ("sequence", "mean"):
            raise ValueError("the log-likelihood of the whole sequence is a sum")
        self.span = span

    def __call__(self, choice: Choice) -> list[float]:
        """See `Factor`."""
        values = [self._reduced(scores.expert) for scores in self.reader.actions(choice)]
        prompt = self.reader.prompt(choice) if self.span == "sequence" else 0.0
        return [prompt + value for value in values]


class _Contrast(_Read):
    """A factor of expert and amateur."""

    def __init__(self, reader: ActionReader, *, reduce: Reduce) -> None:
        super().__init__(reader, reduce=reduce)
        if reader.amateur is None:
            raise ValueError(f"the reward {self.name} needs an amateur beside the expert")


class JSDivergence(_Contrast):
    r"""R_JSD: :math:`\frac 1 n \sum_i \mathrm{JSD}(p_e(\cdot \mid x_{<i}) \| p_a(\cdot \mid x_{<i}))` (same paper).

    The first token of every action follows the same prompt, so its divergence is the same for all actions of a choice:
    only later tokens can tell actions apart, and with actions of one token nothing can. The paper's reward is the mean;
    its released code sums another divergence (``ActionReader(divergence="kl-to-mixture")``).
    """

    name = "jsd"

    def __init__(self, reader: ActionReader, *, reduce: Reduce = "mean") -> None:
        super().__init__(reader, reduce=reduce)

    def __call__(self, choice: Choice) -> list[float]:
        """See `Factor`."""
        return [self._reduced(_known(scores.divergence)) for scores in self.reader.actions(choice)]


class ContrastiveLogRatio(_Contrast):
    r"""R_CD: :math:`\sum_i (1 + \beta) \log p_e(x_i) - \log p_a(x_i)`, after Li et al. 2023 (arXiv 2210.15097).

    `alpha` in (0, 1) masks tokens that the expert finds less than alpha times as likely as its first choice. Contrastive
    decoding never takes these; a reward must stay finite, so they count (1 + beta) log p_e alone: an amateur that finds
    them unlikelier still cannot speak for them. 0 masks nothing.
    """

    name = "log-ratio"

    def __init__(self, reader: ActionReader, *, alpha: float = 0.0, beta: float = 0.0, reduce: Reduce = "sum") -> None:
        super().__init__(reader, reduce=reduce)
        if not 0 <= alpha < 1 or beta < 0:
            raise ValueError(f"need 0 <= alpha < 1 and beta >= 0, got {alpha} and {beta}")
        self.alpha, self.beta = alpha, beta

    def __call__(self, choice: Choice) -> list[float]:
        """See `Factor`."""
        values = []
        for scores in self.reader.actions(choice):
            plausible = np.exp(_known(scores.plausible)) >= self.alpha
            contrast = (1 + self.beta) * scores.expert - np.where(plausible, _known(scores.amateur), 0.0)
            values.append(self._reduced(contrast))
        return values


class SelfEvaluation:
    """R_SE: the expert's log-probability of the answer that calls the action good (same paper; Hao et al. 2023).

    One more pass of the expert per choice.
    """

    name = "self-evaluation"

    def __init__(self, reader: ActionReader) -> None:
        if reader.prompts.judge is None:
            raise ValueError("self-evaluation needs prompts with a `judge`")
        self.reader = reader

    def __call__(self, choice: Choice) -> list[float]:
        """See `Factor`."""
        return self.reader.judged(choice)


class GoalFraction:
    """The share of what is wanted that holds after the action, or with `gain` how much it adds; 0 for an illegal one."""

    name = "goal-fraction"

    def __init__(self, world: World, *, gain: bool = False) -> None:
        self.world, self.gain = world, gain

    def __call__(self, choice: Choice) -> list[float]:
        """See `Factor`."""
        before = self.world.goal_fraction(choice.trajectory.state) if self.gain else 0.0
        values = []
        for place in range(len(choice.actions)):
            try:
                values.append(self.world.goal_fraction(choice.successor(place)) - before)
            except ValueError:
                values.append(-before)
        return values


class RandomReward:
    """Uniform on [0, 1): a pure function of the seed and the address of the action in the tree."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, choice: Choice) -> list[float]:
        """See `Factor`."""
        return numpy_rng("random-reward", self.seed, *choice.address).random(len(choice.actions)).tolist()


def _known(values: np.ndarray | None) -> np.ndarray:
    assert values is not None
    return values
