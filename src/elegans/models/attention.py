"""Causal softmax attention, with any encoding of positions and any sink.

Shapes: B batch, T positions, S keys, D width, H heads, G heads of keys and values, K head width.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from elegans.models.base import require_positive
from elegans.models.block import Mixer, draw, dropped, linear
from elegans.models.positions import ALiBi, HardALiBi, Rotary
from elegans.models.sinks import LearnedSink, SoftmaxPlusOne, StableMask
from elegans.models.token_shift import TokenShift
from elegans.ops.attention import attention, attention_scores, normalized, weighted


class HeadedMixer(Mixer):
    """A mixer whose heads read queries, keys and values from one fused projection and write through another.

    Args:
        width: D.
        heads: H, a divisor of `width`.
        sites: names of sites beside ``heads``.
        key_heads: G, a divisor of `heads`; each head of keys and values serves H / G heads of queries (Ainslie et al.
            2023, arXiv 2305.13245). None is H.
        bias: whether the projections have one.
        dropout: rate on the output.
        shift: mix each input of the projections with that of the position before, as RWKV does.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        sites: tuple[str, ...] = (),
        key_heads: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        shift: bool = False,
    ) -> None:
        super().__init__("heads", *sites)
        key_heads = heads if key_heads is None else key_heads
        require_positive(width=width, heads=heads, key_heads=key_heads)
        if width % heads:
            raise ValueError(f"width must be divisible by heads, got width {width} and heads {heads}")
        if heads % key_heads:
            raise ValueError(f"heads must be divisible by key_heads, got heads {heads} and key_heads {key_heads}")
        self.heads, self.key_heads, self.head_width = heads, key_heads, width // heads
        self.sizes = (width, key_heads * self.head_width, key_heads * self.head_width)
        self.project_in = linear(width, sum(self.sizes), bias=bias)
        self.project_out = linear(width, width, bias=bias)
        self.shift = TokenShift(width, ("q", "k", "v")) if shift else None
        self.drop = dropped(dropout)

    def reset_parameters(self, generator: torch.Generator, residual_std: float, std: float = 0.02) -> None:
        """Draw all weights anew."""
        draw(self.project_in, std, generator)
        draw(self.project_out, residual_std, generator)
        if self.shift is not None:
            self.shift.reset_parameters()

    def project(
        self, x: Float[Tensor, "B T D"], last: Float[Tensor, "B D"] | None = None
    ) -> tuple[Float[Tensor, "B T H K"], Float[Tensor, "B T G K"], Float[Tensor, "B T G K"]]:
        """Queries, keys and values; `last` is the input at the position before the first, None at the beginning."""
        if self.shift is None:
            parts = self.project_in(x).split(self.sizes, dim=-1)
        else:
            weights = self.project_in.weight.split(self.sizes)
            biases = (None,) * 3 if self.project_in.bias is None else self.project_in.bias.split(self.sizes)
            inputs = self.shift(x, last)
            parts = [nn.functional.linear(*part) for part in zip(inputs, weights, biases, strict=True)]
        q, k, v = (part.unflatten(-1, (-1, self.head_width)) for part in parts)
        return q, k, v

    def merge(self, heads: Float[Tensor, "B T H K"]) -> Float[Tensor, "B T D"]:
        """What the heads add to the residual stream."""
        return self.drop(self.project_out(self.at["heads"](heads).flatten(-2)))


class Cache(NamedTuple):
    """Keys and values of the positions so far, [B, T, G, K] each, and with token shift the last input, [B, D]."""

    keys: Tensor
    values: Tensor
    last: Tensor | None = None


class SelfAttention(HeadedMixer):
    r"""Causal multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762).

    .. math::
        o^h_t = \sum_{s \le t} \mathrm{softmax}_s(q^h_t \cdot k^h_s / \sqrt K) \, v^h_s, \qquad
        y_t = W_o [o^1_t; \dots; o^H_t]

    The sites ``scores`` and ``weights`` hold the attention map before and after the softmax. Only where a hook is on one
    of them is the map computed at all.

    Args:
        width, heads, key_heads, bias, dropout, shift: as in `HeadedMixer`; dropout acts on the weights too.
        rotary: turns queries and keys by their position.
        distance: a bias on the scores by distance.
        sink: the logit of reading nothing (see `elegans.ops.attention`).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        rotary: Rotary | None = None,
        distance: ALiBi | HardALiBi | None = None,
        sink: StableMask | LearnedSink | SoftmaxPlusOne | None = None,
        key_heads: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        shift: bool = False,
    ) -> None:
        super().__init__(
            width, heads, sites=("scores", "weights"), key_heads=key_heads, bias=bias, dropout=dropout, shift=shift
        )
        self.dropout = dropout
        self.rotary, self.distance, self.sink = rotary, distance, sink

    def reset_parameters(self, generator: torch.Generator, residual_std: float, std: float = 0.02) -> None:
        """Draw all weights anew."""
        super().reset_parameters(generator, residual_std, std)
        if isinstance(self.sink, LearnedSink):
            nn.init.zeros_(self.sink.logit)

    def _turned(
        self, x: Float[Tensor, "B T D"], start: int, last: Float[Tensor, "B D"] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.project(x, last)
        return (q, k, v) if self.rotary is None else (self.rotary(q, start), self.rotary(k, start), v)

    def bias_and_sink(self, num_queries: int, num_keys: int) -> tuple[Tensor | None, Tensor | None]:
        """What positions add to the scores [H, T, S], and the sink logits [H, T]; None where there is none."""
        bias = None if self.distance is None else self.distance(num_queries, num_keys)
        sink = None if self.sink is None else self.sink(num_keys - num_queries, num_queries)
        return bias, sink

    def _attend(
        self, q: Float[Tensor, "B T H K"], k: Float[Tensor, "B S G K"], v: Float[Tensor, "B S G K"]
    ) -> Float[Tensor, "B T D"]:
        if self.key_heads < self.heads:
            k, v = (x.repeat_interleave(self.heads // self.key_heads, dim=-2) for x in (k, v))
        bias, sink = self.bias_and_sink(q.shape[-3], k.shape[-3])
        dropout = self.dropout if self.training else 0.0
        if not self.at.watched("scores", "weights"):
            return self.merge(attention(q, k, v, sink, bias, dropout=dropout))
        scores = self.at["scores"](attention_scores(q, k, bias))
        weights = self.at["weights"](normalized(scores, sink))
        return self.merge(weighted(nn.functional.dropout(weights, dropout), v))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What each position reads from itself and those before it."""
        return self._attend(*self._turned(x, start=0))

    def init_state(self, batch_size: int) -> Cache:
        """An empty cache."""
        weight = self.project_in.weight
        empty = weight.new_empty(batch_size, 0, self.key_heads, self.head_width)
        last = weight.new_zeros(batch_size, weight.shape[1]) if self.shift else None
        return Cache(empty, empty, last)

    def extend(self, x: Float[Tensor, "B T D"], state: Cache) -> tuple[Float[Tensor, "B T D"], Cache]:
        """`forward` for T more positions, and the cache with them."""
        q, k, v = self._turned(x, state.keys.shape[1], state.last)
        last = x[:, -1] if self.shift else None
        state = Cache(torch.cat([state.keys, k], dim=1), torch.cat([state.values, v], dim=1), last)
        return self._attend(q, state.keys, state.values), state

    def state_bytes(self, num_tokens: int) -> int:
        """Bytes of the keys and values of one sequence, and of its last input with token shift."""
        weight = self.project_in.weight
        numbers = 2 * num_tokens * self.sizes[1] + (weight.shape[1] if self.shift else 0)
        return numbers * weight.element_size()
