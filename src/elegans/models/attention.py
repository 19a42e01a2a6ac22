"""Causal softmax attention with rotary positions.

Shapes: B batch, T positions, D width, H heads, K head width.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from elegans.models.block import Mixer, dropped, linear


class Rotary(nn.Module):
    r"""Rotary position encoding (Su et al. 2021, arXiv 2104.09864), halves layout.

    With :math:`\theta_i = \mathrm{base}^{-2 i / K}`, the pair :math:`(x_i, x_{i + K/2})` at position t is turned by the
    angle :math:`t \theta_i`, so that the product of a query and a key depends on their distance only.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_width: int, context: int, base: float = 10000.0) -> None:
        super().__init__()
        if head_width % 2:
            raise ValueError(f"rotary positions need an even head width, got {head_width}")
        angles = torch.outer(torch.arange(context), base ** -(torch.arange(0, head_width, 2) / head_width))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Float[Tensor, "B T H K"], start: int = 0) -> Float[Tensor, "B T H K"]:
        """`x` turned, its first position being number `start`."""
        cos, sin = (table[start : start + x.shape[-3], None] for table in (self.cos, self.sin))
        left, right = x.chunk(2, dim=-1)
        return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


class Cache(NamedTuple):
    """Keys and values of the positions so far, [B, T, H, K] each."""

    keys: Tensor
    values: Tensor


class SelfAttention(Mixer):
    r"""Causal multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762).

    .. math::
        o^h_t = \sum_{s \le t} \mathrm{softmax}_s(q^h_t \cdot k^h_s / \sqrt K) \, v^h_s, \qquad
        y_t = W_o [o^1_t; \dots; o^H_t]

    Queries, keys and values come from one fused projection.
    """

    def __init__(self, width: int, heads: int, *, rotary: Rotary | None = None, dropout: float = 0.0) -> None:
        super().__init__("heads")
        if width % heads:
            raise ValueError(f"width must be divisible by heads, got width {width} and heads {heads}")
        self.heads, self.dropout = heads, dropout
        self.project_in = linear(width, 3 * width)
        self.project_out = linear(width, width)
        self.rotary = rotary
        self.drop = dropped(dropout)

    def reset_parameters(self, generator: torch.Generator, residual_std: float) -> None:
        """Draw all weights anew."""
        nn.init.normal_(self.project_in.weight, std=0.02, generator=generator)
        nn.init.normal_(self.project_out.weight, std=residual_std, generator=generator)
        nn.init.zeros_(self.project_in.bias)
        nn.init.zeros_(self.project_out.bias)

    def _project(self, x: Float[Tensor, "B T D"], start: int) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.project_in(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        return (q, k, v) if self.rotary is None else (self.rotary(q, start), self.rotary(k, start), v)

    def _attend(
        self, q: Float[Tensor, "B T H K"], k: Float[Tensor, "B S H K"], v: Float[Tensor, "B S H K"], causal: bool
    ) -> Float[Tensor, "B T D"]:
        with _backend(q):
            out = scaled_dot_product_attention(
                q.transpose(-3, -2),
                k.transpose(-3, -2),
                v.transpose(-3, -2),
                dropout_p=self.dropout if self.training else 0.0,
                is_causal=causal,
            )
        heads = self.at["heads"](out.transpose(-3, -2))
        return self.drop(self.project_out(heads.flatten(-2)))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What each position reads from itself and those before it."""
        return self._attend(*self._project(x, start=0), causal=True)

    def init_state(self, batch_size: int) -> Cache:
        """An empty cache."""
        weight = self.project_in.weight
        empty = weight.new_empty(batch_size, 0, self.heads, weight.shape[1] // self.heads)
        return Cache(empty, empty)

    def step(self, x: Float[Tensor, "B 1 D"], state: Cache) -> tuple[Float[Tensor, "B 1 D"], Cache]:
        """`forward` for one more position, and the cache with it."""
        q, k, v = self._project(x, start=state.keys.shape[1])
        state = Cache(torch.cat([state.keys, k], dim=1), torch.cat([state.values, v], dim=1))
        return self._attend(q, state.keys, state.values, causal=False), state


def _backend(q: Tensor) -> AbstractContextManager:
    """The math kernel inside `torch.func` transforms on a CPU, because vmap can only loop over the fused one there."""
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    transformed = q.device.type == "cpu" and functorch.peek_interpreter_stack() is not None
    return sdpa_kernel(SDPBackend.MATH) if transformed else nullcontext()
