"""Positions as users name them, and as masks.

Shapes: B sequences, T positions, P choices of positions.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

Where = int | Sequence[int] | Tensor
"""A position (from the end where negative), several, one per sequence (integers [B]), or any per sequence (bool [B, T])."""
Positions = str | Sequence[int] | Mapping[str, Where]
"""``"each"`` by itself, all ``"together"``, these ones by themselves, or groups by name."""


def mask_of(where: Where, shape: tuple[int, int]) -> Bool[Tensor, "B T"]:
    """Which positions of each sequence are meant. Raises `ValueError` for one that does not exist."""
    batch, length = shape
    if isinstance(where, Tensor) and where.dtype == torch.bool:
        if where.shape != shape:
            raise ValueError(f"a mask of positions must have shape {shape}, got {tuple(where.shape)}")
        return where.cpu()
    index = torch.as_tensor(where).cpu()
    if isinstance(where, Tensor) and where.ndim:
        if where.shape != (batch,):
            raise ValueError(f"positions per sequence must be {batch} integers, got shape {tuple(where.shape)}")
        index = index[:, None]
    else:
        index = index.reshape(1, -1)
    if not ((-length <= index) & (index < length)).all():
        raise ValueError(f"positions must be below the length {length}, got {where}")
    return (index[..., None] % length == torch.arange(length)).any(1).expand(shape)


def masks_of(positions: Positions, shape: tuple[int, int]) -> tuple[list[int] | list[str], Bool[Tensor, "P B T"]]:
    """A label and a mask for each choice of positions. Raises `ValueError` for one that does not exist."""
    if isinstance(positions, str):
        if positions not in ("each", "together"):
            raise ValueError(f"positions must be 'each', 'together', or positions, got {positions!r}")
        if positions == "together":
            return ["all"], torch.ones(1, *shape, dtype=torch.bool)
        positions = range(shape[1])
    if isinstance(positions, Mapping):
        return list(positions), torch.stack([mask_of(where, shape) for where in positions.values()])
    return [int(p) for p in positions], torch.stack([mask_of(int(p), shape) for p in positions])
