"""The one-layer models of in-context recall: which of their weights are tied to the task's structure, and which are free.

Source: Nguyen and Nguyen-Tang 2025 (arXiv 2505.15009). Shapes: *B sentences, T positions, N tokens.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.models.base import require_positive
from elegans.models.merged import Kind, MergedAttention

Free = Literal["", "W", "V", "F", "WV", "WF", "VF", "WVF"]
"""The weights that are trained without constraint."""
NUDGE = 1e-8
"""Starts the attention weights of a ReLU layer just above zero, where its gradient is not zero."""


class RecallAttention(nn.Module):
    r"""One attention layer that reads the last position, with a linear value and a linear feed-forward read-out.

    Token h is :math:`x_h = E(z_h) + \tilde E(z_{h-1})`, two orthonormal tables, so what came before is part of the input:

    .. math::
        c = \sum_h \sigma(x_h^\top W x_T) \, x_h, \qquad
        \mathrm{logits} = \underbrace{V c}_{\xi_A} + \underbrace{F (x_T + \kappa c)}_{\xi_F}

    W is [2N, 2N] (row: key), V and F are [N, 2N]; features ``0..N-1`` are E, the others :math:`\tilde E`. `free` names
    the weights that are trained freely, from zero. A tied weight has the form of the task's solution:

    - W = sum_q lam_q Et(q) E(q)^T over the triggers, with noise lam (Et(q) - E(tau)) E(q)^T for trigger 0 alone; lam is
      trained from zero;
    - V reads the current token, beta E;
    - F is zero, and with noise E(tau) (gamma E(q) + beta Et(q))^T with gamma = ln(alpha / (1 - alpha)) given, not learned.

    beta is 1 and fixed, or trained from 1 with `train_value`. The paper's models: *Origin* ``free="WVF"``, *Reparam*
    ``free=""``, *ReparamW* ``free="W"``.

    Args:
        vocab: N.
        n_triggers: Q; the noisy task uses trigger 0 only.
        alpha: the rate of tau among the answers after the trigger, 0 for the noiseless task.
        kind: what becomes of the scores: linear, relu or softmax.
        free: see above.
        kappa: how much of the context the feed-forward read-out sees.
        train_value: train beta. A softmax needs it: its context is an average, so with beta = 1 no logit exceeds 1.
        seed: nothing is random, so it changes nothing.
    """

    lam: Tensor
    F_fixed: Tensor
    F_scaled: Tensor

    def __init__(
        self,
        *,
        vocab: int,
        n_triggers: int,
        alpha: float = 0.0,
        kind: Kind = "linear",
        free: Free = "",
        kappa: float = 1.0,
        train_value: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_positive(vocab=vocab, n_triggers=n_triggers)
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), got {alpha}")
        if n_triggers > vocab - 2:
            raise ValueError(f"n_triggers must be at most vocab - 2 = {vocab - 2}, got {n_triggers}")
        if set(free) - set("WVF"):
            raise ValueError(f"free must be made of W, V and F, got {free!r}")
        self.vocab, self.kappa, self.free = vocab, kappa, free
        patterns = None if "W" in free else _patterns(vocab, n_triggers, noisy=alpha > 0)
        self.attention = MergedAttention(width=2 * vocab, kind=kind, value="identity", patterns=patterns, seed=seed)
        if kind == "relu":
            with torch.no_grad():
                for weight in self.attention.parameters():
                    weight.fill_(NUDGE)
        self.beta = nn.Parameter(torch.ones(1), requires_grad=train_value)
        if "V" in free:
            self.V = nn.Parameter(torch.zeros(vocab, 2 * vocab))
        if "F" in free:
            self.F = nn.Parameter(torch.zeros(vocab, 2 * vocab))
        self.register_buffer("F_fixed", torch.zeros(vocab, 2 * vocab))
        self.register_buffer("F_scaled", torch.zeros(vocab, 2 * vocab))
        if alpha > 0:
            self.F_fixed[-1, 0] = math.log(alpha / (1 - alpha))
            self.F_scaled[-1, vocab] = 1.0

    def features(self, tokens: Int[Tensor, "*B T"]) -> Int[Tensor, "*B T 2"]:
        """The two features of each token: E of itself and Et of the one before, -1 at the first position."""
        before = torch.nn.functional.pad(tokens[..., :-1] + self.vocab, (1, 0), value=-1)
        return torch.stack([tokens, before], dim=-1)

    def value(self) -> Float[Tensor, "N D"]:
        """V."""
        return self.V if "V" in self.free else self.beta * torch.eye(self.vocab, 2 * self.vocab).to(self.beta)

    def feed_forward(self) -> Float[Tensor, "N D"]:
        """F."""
        return self.F if "F" in self.free else self.F_fixed + self.beta * self.F_scaled

    def components(self, tokens: Int[Tensor, "*B T"]) -> tuple[Float[Tensor, "*B N"], Float[Tensor, "*B N"]]:
        """What attention and what the feed-forward read-out add to the logits: xi_A and xi_F."""
        features = self.features(tokens)
        context = self.attention.context_index(features)[..., 0, :]
        F = self.feed_forward()
        own = F.mT[features[..., -1, :].clamp(min=0)] * (features[..., -1, :, None] >= 0)
        return context @ self.value().mT, own.sum(-2) + self.kappa * context @ F.mT

    def forward(self, tokens: Int[Tensor, "*B T"]) -> Float[Tensor, "*B N"]:
        """Logits of the token after the last position."""
        attention, feed_forward = self.components(tokens)
        return attention + feed_forward


def _patterns(vocab: int, n_triggers: int, *, noisy: bool) -> Float[Tensor, "K D D"]:
    """The tied forms of W: [key, query]."""
    patterns = torch.zeros(1 if noisy else n_triggers, 2 * vocab, 2 * vocab)
    for trigger, pattern in enumerate(patterns):
        pattern[vocab + trigger, trigger] = 1.0
        if noisy:
            pattern[vocab - 1, trigger] = -1.0
    return patterns
