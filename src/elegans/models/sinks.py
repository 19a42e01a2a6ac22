"""Sink logits of attention: how much a head may read of nothing.

Each module maps the positions of T queries to logits [H, T] for `elegans.ops.attention`.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from elegans.models.positions import alibi_slopes
from elegans.ops.attention import pseudo_log_mass

SinkKind = Literal["none", "stablemask", "stablemask-finite", "learned", "softmax1"]
SINKS: tuple[SinkKind, ...] = get_args(SinkKind)


class StableMask(nn.Module):
    r"""StableMask (Yin et al. 2024, arXiv 2402.04779): pseudo scores that decay with rate gamma per head.

    Args:
        heads: number of heads H.
        gamma: ``"alibi"`` for the slopes :math:`2^{-8 h / H}` of the released code, one rate for all heads, or one each.
        finite: the form of training, whose pseudo columns end with the sequence. Its outputs depend on how long the
            sequence is, so it cannot be cached. The endless form can; it is the paper's form for inference.
        relative: pseudo scores by distance to the query in place of absolute ones.
    """

    gamma: Tensor

    def __init__(
        self,
        heads: int,
        gamma: Literal["alibi"] | float | Sequence[float] = "alibi",
        *,
        finite: bool = False,
        relative: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(gamma, str):
            if gamma != "alibi":
                raise ValueError(f"gamma must be 'alibi' or numbers, got {gamma!r}")
            rates = alibi_slopes(heads)
        else:
            rates = torch.as_tensor(gamma, dtype=torch.float)
            if rates.ndim and len(rates) != heads:
                raise ValueError(f"gamma must have one rate for each of {heads} heads, got {len(rates)}")
            rates = rates.expand(heads).contiguous()
        if (rates < 0).any() or (not finite and (rates == 0).any()):
            raise ValueError(f"gamma must be at least 0, and above 0 in the endless form, got {gamma}")
        self.finite, self.relative = finite, relative
        self.register_buffer("gamma", rates, persistent=False)

    def forward(self, start: int, num_queries: int) -> Float[Tensor, "H T"]:
        """The logits of queries `start`, `start` + 1, ... (from 0). Raises `ValueError` if finite and `start` > 0."""
        if self.finite and start:
            raise ValueError("the finite form of StableMask depends on the whole length and has no recurrent form")
        end = start + num_queries
        positions = torch.arange(start + 1, end + 1, device=self.gamma.device, dtype=torch.double)
        total = end if self.finite else None
        mass = pseudo_log_mass(self.gamma.double(), positions, total, relative=self.relative)
        return mass.to(torch.promote_types(self.gamma.dtype, torch.float32))  # i gamma needs more than half precision


class LearnedSink(nn.Module):
    """One trained logit per head, 0 at the start; the attention sink of GPT-OSS."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(heads))

    def forward(self, start: int, num_queries: int) -> Float[Tensor, "H T"]:
        """The logits, the same for all queries."""
        return self.logit[:, None].expand(-1, num_queries)


class SoftmaxPlusOne(nn.Module):
    """The logit 0: a softmax with one more term in its denominator."""

    zeros: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(heads, 1), persistent=False)

    def forward(self, start: int, num_queries: int) -> Float[Tensor, "H T"]:
        """Zeros."""
        return self.zeros.expand(-1, num_queries)


def make_sink(
    kind: SinkKind,
    heads: int,
    gamma: Literal["alibi"] | float | Sequence[float] = "alibi",
    *,
    relative: bool = False,
) -> StableMask | LearnedSink | SoftmaxPlusOne | None:
    """A sink by name. Raises `ValueError` for an unknown one."""
    if kind not in SINKS:
        raise ValueError(f"sink must be one of {', '.join(SINKS)}, got {kind!r}")
    if kind == "learned":
        return LearnedSink(heads)
    if kind == "softmax1":
        return SoftmaxPlusOne(heads)
    if kind == "none":
        return None
    return StableMask(heads, gamma, finite=kind == "stablemask-finite", relative=relative)
