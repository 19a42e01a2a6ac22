"""Logit matrices: how strongly each question calls for each answer.

Shapes: N questions, M answers, W tokens per answer.
"""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor, nn

from elegans.tasks.base import IGNORE, Batch, evaluating


def answer_logits(model: nn.Module, items: Batch, answers: Int[Tensor, "M W"] | Int[Tensor, " M"]) -> xr.DataArray:
    """The matrix G[i, j] = logit of answer j after question i, at the place where the answer starts.

    Of an answer of several tokens the first is taken. Dimensions `query` (N) and `answer` (M); unit: logits, in nats up
    to a constant per row. Source: arXiv 2405.04669, the logit matrices of the multi-layer experiments.

    >>> answer_logits(model, task.reverse_items(), task.a_words)  # doctest: +SKIP
    """
    first = answers if answers.ndim == 1 else answers[:, 0]
    items = items.to(next(model.parameters()).device)
    place = (items.targets != IGNORE).int().argmax(dim=1)
    with evaluating(model):
        logits = model(items.tokens)[torch.arange(len(items)), place]
        matrix = logits[:, first].float().cpu().numpy()
    return xr.DataArray(matrix, dims=("query", "answer"), name="logit")


def diagonal_score(matrix: xr.DataArray, labels: Sequence[str] | np.ndarray | None = None) -> xr.DataArray:
    """How much a square matrix favors its diagonal: mean of the diagonal minus mean of the rest, in the matrix's unit.

    Zero for a model that does not tell the right answer from the others; the asymmetry score of a reversal model is
    this number for `A -> B` beside the one for `B <- A`. With `labels`, one per row, the score of every block: the rows
    *and columns* of one label; the result has the dimension `block`, in order of first appearance. Raises `ValueError`
    for a matrix that is not square and for a block of fewer than two rows.
    """
    values = matrix.to_numpy()
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"a diagonal needs a square matrix, got shape {values.shape}")
    if labels is None:
        return xr.DataArray(_score(values, "the matrix"), name="diagonal_score")
    rows = np.asarray(labels)
    if len(rows) != len(values):
        raise ValueError(f"labels must name each of the {len(values)} rows, got {len(rows)}")
    blocks = list(dict.fromkeys(rows.tolist()))
    scores = [_score(values[np.ix_(rows == block, rows == block)], f"block {block!r}") for block in blocks]
    return xr.DataArray(scores, dims="block", coords={"block": blocks}, name="diagonal_score")


def _score(square: np.ndarray, what: str) -> float:
    size = len(square)
    if size < 2:
        raise ValueError(f"{what} has {size} rows; an off-diagonal mean needs at least 2")
    diagonal = np.trace(square)
    return float(diagonal / size - (square.sum() - diagonal) / (size * (size - 1)))
