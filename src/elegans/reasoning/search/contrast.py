"""Two models on the same tokens: divergences and log-ratios.

Shapes: n tokens of an action, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from elegans.reasoning.scorer import Scored, Scorer, ScorerError, Text
from elegans.reasoning.search.node import Choice
from elegans.reasoning.search.prompts import Prompts

Divergence = Literal["jsd", "kl-to-mixture"]
Fixed = str | tuple[int, ...]
T = TypeVar("T")


def jensen_shannon(p: Float[Tensor, "n V"], q: Float[Tensor, "n V"]) -> Float[Tensor, " n"]:
    r"""Jensen-Shannon divergence, in nats, of distributions given as log-probabilities.

    :math:`(\mathrm{KL}(p \| m) + \mathrm{KL}(q \| m)) / 2` with :math:`m = (p + q) / 2`: from 0, exactly so where p and q
    are the same numbers, to ln 2.
    """
    p, q = p.double(), q.double()
    return ((_to_mixture(p, q) + _to_mixture(q, p)) / 2).clamp(0.0, math.log(2))


def _to_mixture(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || m): the sum of -p log((1 + q/p) / 2)."""
    terms = -p.exp() * torch.log1p(torch.expm1((q - p).clamp(max=700)) / 2)
    return terms.where(p.exp() > 0, 0.0).sum(-1)


def kl_to_mixture(p: Float[Tensor, "n V"], q: Float[Tensor, "n V"]) -> Float[Tensor, " n"]:
    r""":math:`(\mathrm{KL}(m \| p) + \mathrm{KL}(m \| q)) / 2`, unbounded.

    This is what the released code of arXiv 2410.01707 computes under the name of the Jensen-Shannon divergence.
    """
    p, q = p.double(), q.double()
    m = torch.logaddexp(p, q) - math.log(2)
    return (m.exp() * (m - (p + q) / 2)).where(m.exp() > 0, 0.0).sum(-1)


@dataclass(frozen=True, eq=False)
class ActionScores:
    """One action, token by token, [n] each: log-probabilities of the expert, and beside an amateur what they differ in.

    `plausible` is the expert's log-probability of the token minus that of its first choice.
    """

    expert: Float[np.ndarray, " n"]
    amateur: Float[np.ndarray, " n"] | None = None
    divergence: Float[np.ndarray, " n"] | None = None
    plausible: Float[np.ndarray, " n"] | None = None


class ActionReader:
    """Reads all actions of a choice in one batch of the expert, and one of the amateur where there is one.

    What was read is kept by prompt and actions, so factors, searches and settings that share a reader share its passes,
    and results are the same as without. `forget` empties it.

    Args:
        prompts: the texts.
        expert: the model whose policy is searched.
        amateur: a weaker model with the same tokenizer.
        divergence: ``jsd``, or ``kl-to-mixture`` (see `kl_to_mixture`).
        remember: keep what was read.
    """

    def __init__(
        self,
        prompts: Prompts,
        expert: Scorer,
        amateur: Scorer | None = None,
        *,
        divergence: Divergence = "jsd",
        remember: bool = True,
    ) -> None:
        for name, scorer in (("expert", expert), ("amateur", amateur)):
            if scorer is not None and not scorer.capabilities.log_probs:
                raise ValueError(f"this {name} cannot score given actions")
            if scorer is not None and amateur is not None and not scorer.capabilities.distributions:
                raise ValueError(f"this {name} gives no whole distributions, which comparing two models needs")
        if divergence not in ("jsd", "kl-to-mixture"):
            raise ValueError(f"divergence must be 'jsd' or 'kl-to-mixture', got {divergence!r}")
        self.prompts, self.expert, self.amateur = prompts, expert, amateur
        self._divergence: Callable[[Tensor, Tensor], Tensor] = {
            "jsd": jensen_shannon,
            "kl-to-mixture": kl_to_mixture,
        }[divergence]
        self._memo: dict[Hashable, Any] | None = {} if remember else None

    def forget(self) -> None:
        """Empty the memory."""
        if self._memo is not None:
            self._memo.clear()

    def _once(self, key: Hashable, compute: Callable[[], T]) -> T:
        if self._memo is None:
            return compute()
        if key not in self._memo:
            self._memo[key] = compute()
        return self._memo[key]

    def actions(self, choice: Choice) -> list[ActionScores]:
        """The scores of each action."""
        prefix = _fixed(self.prompts.policy(choice.trajectory))
        texts = tuple(_fixed(self.prompts.action(choice.trajectory, action)) for action in choice.actions)
        return self._once(("actions", prefix, texts), lambda: self._read([(prefix, text) for text in texts]))

    def prompt(self, choice: Choice) -> float:
        """The expert's log-probability of the prompt, from its second token on."""
        prefix = _fixed(self.prompts.policy(choice.trajectory))
        empty = "" if isinstance(prefix, str) else ()
        return self._once(("prompt", prefix), lambda: float(self.expert.log_probs(empty, [prefix])[0].sum()))

    def judged(self, choice: Choice) -> list[float]:
        """The expert's log-probability of calling each action good. Raises `ValueError` if the prompts do not ask."""
        if self.prompts.judge is None:
            raise ValueError("self-evaluation needs prompts with a `judge`")
        asked = [self.prompts.judge(choice.trajectory, action) for action in choice.actions]
        pairs = tuple((_fixed(question), _fixed(answer)) for question, answer in asked)
        return self._once(("judged", pairs), lambda: [float(s.log_probs.sum()) for s in self.expert.score(pairs)])

    def _read(self, pairs: list[tuple[Fixed, Fixed]]) -> list[ActionScores]:
        expert = self.expert.score(pairs, distributions=self.amateur is not None)
        if self.amateur is None:
            return [ActionScores(scored.log_probs) for scored in expert]
        amateur = self.amateur.score(pairs, distributions=True)
        return [self._compared(e, a) for e, a in zip(expert, amateur, strict=True)]

    def _compared(self, expert: Scored, amateur: Scored) -> ActionScores:
        if expert.tokens != amateur.tokens:
            raise ScorerError("expert and amateur split an action into other tokens; they need one tokenizer")
        e, a = expert.distributions, amateur.distributions
        assert e is not None and a is not None
        plausible = expert.log_probs - e.max(-1).values.double().cpu().numpy()
        size = min(e.shape[-1], a.shape[-1])
        if e.shape != a.shape:  # models of one family pad their tables differently
            e, a = (x[:, :size].log_softmax(-1) for x in (e, a))
        divergence = self._divergence(e, a.to(e.device)).cpu().numpy()
        return ActionScores(expert.log_probs, amateur.log_probs, divergence, plausible)


def _fixed(text: Text) -> Fixed:
    """The text itself, or tokens as a tuple."""
    return text if isinstance(text, str) else tuple(text)
