"""Where a token stands: encodings of position for attention, and tables added to the input.

Shapes: B batch, T queries, S keys, D width, H heads, K head width.
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

Positions = Literal["learned", "sinusoidal", "rotary", "alibi", "hard-alibi", "none"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)


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
        self.base = base
        angles = torch.outer(torch.arange(context), base ** -(torch.arange(0, head_width, 2) / head_width))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Float[Tensor, "B T H K"], start: int = 0) -> Float[Tensor, "B T H K"]:
        """`x` turned, its first position being number `start`."""
        cos, sin = (table[start : start + x.shape[-3], None] for table in (self.cos, self.sin))
        left, right = x.chunk(2, dim=-1)
        return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


def alibi_slopes(heads: int) -> Float[Tensor, " H"]:
    r"""The slope of head h = 1..H, :math:`2^{-8 h / H}`: ALiBi's, and the decay rates of StableMask's pseudo scores."""
    return 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)


class ALiBi(nn.Module):
    r"""Linear bias (Press et al. 2021, arXiv 2108.12409): :math:`-m_h (i - j)` is added to the scores of head h."""

    slopes: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(heads), persistent=False)

    def forward(self, num_queries: int, num_keys: int) -> Float[Tensor, "H T S"]:
        """The bias of queries at the last of `num_keys` positions."""
        return -self.slopes[:, None, None] * _distance(num_queries, num_keys, self.slopes)


class HardALiBi(nn.Module):
    """Windows (Jelassi et al. 2024, arXiv 2402.01032): head h = 0, 1, ... sees the last h + 1 tokens, itself included.

    The second half of the heads sees everything.
    """

    windows: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        if heads < 2:
            raise ValueError(f"hard ALiBi needs at least 2 heads, got {heads}")
        windows = torch.arange(1, heads + 1).float().masked_fill(torch.arange(heads) >= heads // 2, math.inf)
        self.register_buffer("windows", windows, persistent=False)

    def forward(self, num_queries: int, num_keys: int) -> Float[Tensor, "H T S"]:
        """0 inside a head's window, -inf outside."""
        outside = _distance(num_queries, num_keys, self.windows) >= self.windows[:, None, None]
        return torch.zeros_like(outside, dtype=self.windows.dtype).masked_fill(outside, -math.inf)


def _distance(num_queries: int, num_keys: int, like: Tensor) -> Float[Tensor, "T S"]:
    keys = torch.arange(num_keys, device=like.device, dtype=like.dtype)
    return keys[num_keys - num_queries :, None] - keys


def sinusoidal_table(context: int, width: int) -> Float[Tensor, "T D"]:
    r"""Fixed positions (Vaswani et al. 2017, Section 3.5): :math:`\sin(t / 10000^{2 i / D})` and cosines, alternating."""
    angles = torch.outer(torch.arange(context), 10000.0 ** -(torch.arange(0, width, 2) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
