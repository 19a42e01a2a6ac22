"""What an intervention is judged by: functions of the logits [B, T, V] with one number per sequence, or one in all.

Positions are an integer, from the end where negative, or one per sequence.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Metric = Callable[[Tensor], Tensor]
"""Logits [B, T, V] to [B], or to one number."""


def judge(metric: Metric, logits: Float[Tensor, "B T V"]) -> Float[Tensor, "*items"]:
    """The metric. Raises `ValueError` unless it is one number per sequence or one in all."""
    value = metric(logits)
    if not isinstance(value, Tensor) or value.shape not in ((), (len(logits),)):
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"a metric must be a tensor of {len(logits)} numbers, one per sequence, or of one, got {found}"
        )
    return value if value.is_floating_point() else value.float()


def as_array(x: Tensor) -> np.ndarray:
    """A NumPy array, in single precision at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).cpu().numpy()


def at_position(logits: Float[Tensor, "B T V"], position: int | Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
    """The logits of each sequence at its position."""
    if isinstance(position, Tensor):
        position = position.to(logits.device)
    return logits[torch.arange(len(logits), device=logits.device), position]


def logit_of(answer: Int[Tensor, " B"], position: int | Int[Tensor, " B"] = -1) -> Metric:
    """The logit of the answer."""
    return lambda logits: _entry(at_position(logits, position), answer)


def logit_difference(
    answer: Int[Tensor, " B"], wrong: Int[Tensor, " B"], position: int | Int[Tensor, " B"] = -1
) -> Metric:
    """The logit of the answer minus that of a wrong one."""
    right, other = logit_of(answer, position), logit_of(wrong, position)
    return lambda logits: right(logits) - other(logits)


def log_probability(answer: Int[Tensor, " B"], position: int | Int[Tensor, " B"] = -1) -> Metric:
    """The log-probability of the answer, nats."""
    return lambda logits: _entry(at_position(logits, position).log_softmax(-1), answer)


def says(answer: Int[Tensor, " B"], position: int | Int[Tensor, " B"] = -1) -> Metric:
    """1 where the answer has the largest logit, else 0."""
    return lambda logits: (at_position(logits, position).argmax(-1) == answer.to(logits.device)).float()


def _entry(rows: Float[Tensor, "B V"], column: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    return rows.gather(1, column.to(rows.device)[:, None])[:, 0]
