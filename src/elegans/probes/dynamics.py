"""How training moves: rates, directions, where the norm of a matrix lies, where attention goes.

Shapes: N measurements, *B batch dimensions, Q queries, T tokens, D width, K blocks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from torch import Tensor

Window = tuple[float | int, float | int] | None
"""First and last x that count; None for all."""


class PowerLaw(NamedTuple):
    """y = factor * x ** exponent; `r2` is the share of the variance of log y that it explains."""

    exponent: float
    factor: float
    r2: float


def rate_fit(x: ArrayLike, y: ArrayLike, window: Window = None) -> PowerLaw:
    """The power law through the measurements (x, y) [N] with x inside `window` (both ends included).

    Least squares in the logarithms, every measurement weighted alike: space them evenly in log x. Raises `ValueError`
    for fewer than two different x and for numbers that have no logarithm.
    """
    x, y = inside(x, y, window)
    if (y <= 0).any():
        raise ValueError(f"a power law needs y above 0, got {y.min():g}")
    log_x, log_y = np.log(x), np.log(y)
    exponent, offset = np.polyfit(log_x - log_x.mean(), log_y, 1)
    left = log_y - offset - exponent * (log_x - log_x.mean())
    spread = ((log_y - offset) ** 2).sum()
    r2 = 1.0 - float((left**2).sum() / spread) if spread > 0 else 1.0
    return PowerLaw(float(exponent), float(np.exp(offset - exponent * log_x.mean())), r2)


def loglog_slope(x: ArrayLike, y: ArrayLike, window: Window = None) -> float:
    """d log y / d log x over the measurements inside `window`: the exponent of `rate_fit`."""
    return rate_fit(x, y, window).exponent


def log_growth(x: ArrayLike, y: ArrayLike, window: Window = None) -> float:
    """Correlation of y with log x inside `window`: 1 if y grows like the logarithm."""
    x, y = inside(x, y, window)
    return float(np.corrcoef(np.log(x), y)[0, 1])


def inside(x: ArrayLike, y: ArrayLike, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """The measurements with x > 0 inside a window, as float64 vectors."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"x and y must be vectors of one length, got shapes {x.shape} and {y.shape}")
    low, high = window or (0.0, np.inf)
    chosen = (x >= low) & (x <= high) & (x > 0)
    if len(np.unique(x[chosen])) < 2:
        raise ValueError(
            f"a fit needs two different x > 0 in [{low:g}, {high:g}], got {int(chosen.sum())} measurements"
        )
    return x[chosen], y[chosen]


def cosine(a: Float[Tensor, "*B D"], b: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """Cosine of the angle between two vectors; 0 where one of them is zero."""
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    return torch.where(norms > 0, (a * b).sum(-1) / torch.where(norms > 0, norms, 1.0), 0.0)


def block_norm_shares(matrix: Float[Tensor, "*B D D"], sizes: Sequence[int]) -> Float[Tensor, "*B K K"]:
    """||W_ij||_F^2 / ||W||_F^2 of the blocks of a matrix cut into rows and columns of `sizes`; 0 for a zero matrix.

    Raises `ValueError` if the sizes do not add up to D.
    """
    if list(matrix.shape[-2:]) != [sum(sizes)] * 2:
        raise ValueError(f"blocks of sizes {list(sizes)} need a {sum(sizes)} x {sum(sizes)} matrix, got {matrix.shape}")
    rows = matrix.square().split(list(sizes), dim=-2)
    blocks = torch.stack(
        [torch.stack([b.sum((-2, -1)) for b in row.split(list(sizes), dim=-1)], -1) for row in rows], -2
    )
    total = blocks.sum((-2, -1), keepdim=True)
    return torch.where(total > 0, blocks / torch.where(total > 0, total, 1.0), 0.0)


def attention_mass(weights: Float[Tensor, "*B Q T"], targets: Bool[Tensor, "*#B T"]) -> Float[Tensor, "*B Q"]:
    """How much of its attention each query pays to the tokens in `targets`."""
    return (weights * targets[..., None, :]).sum(-1)


def attention_drift(a: Float[Tensor, "*B T"], b: Float[Tensor, "*#B T"]) -> Float[Tensor, "*B"]:
    """Total variation 0.5 sum_t |a_t - b_t| between two attention patterns: 0 if equal, 1 if on different tokens."""
    return 0.5 * (a - b).abs().sum(-1)
