r"""Causal attention with ReLU in the place of softmax (Wortsman et al. 2023, arXiv 2309.08586).

.. math:: o_t = \frac 1 {n_t} \sum_{s \le t} \max(0, q_t \cdot k_s / \sqrt K) \, v_s

:math:`n_t` is the number of keys that position t sees; the paper, without a causal mask, divides by the length.

Shapes: B batch, T queries, S keys, H heads, K head width. The queries are the last T of the S positions.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from elegans.ops.transforms import inside_transform


def reference_relu_attention(
    q: Float[Tensor, "B T H K"], k: Float[Tensor, "B S H K"], v: Float[Tensor, "B S H K"]
) -> Float[Tensor, "B T H K"]:
    """The definition, all T x S weights at once."""
    earlier = _num_earlier(q, k)
    scores = torch.einsum("...thk,...shk->...hts", q, k) / math.sqrt(q.shape[-1])
    weights = scores.relu().tril(earlier) / _num_visible(earlier, q)
    return torch.einsum("...hts,...shk->...thk", weights, v)


def relu_attention(
    q: Float[Tensor, "B T H K"], k: Float[Tensor, "B S H K"], v: Float[Tensor, "B S H K"], *, block: int = 64
) -> Float[Tensor, "B T H K"]:
    """`reference_relu_attention` in blocks of `block` queries, each with the keys it sees: memory O(S block).

    The backward pass computes the weights again.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    if q.shape[-3] == 1 or inside_transform():
        return reference_relu_attention(q, k, v)
    visible = _num_visible(_num_earlier(q, k), q)
    q, k, v = (x.transpose(-3, -2) for x in (q / math.sqrt(q.shape[-1]), k, v))
    out: Tensor = _Blocked.apply(q, k, v, block)  # pyright: ignore[reportAssignmentType]
    return (out / visible).transpose(-3, -2)


def _num_earlier(q: Tensor, k: Tensor) -> int:
    earlier = k.shape[-3] - q.shape[-3]
    if earlier < 0:
        raise ValueError(
            f"the queries are the last of the keys' positions, got {q.shape[-3]} queries, {k.shape[-3]} keys"
        )
    return earlier


def _num_visible(earlier: int, q: Tensor) -> Float[Tensor, "T 1"]:
    return torch.arange(earlier + 1, earlier + q.shape[-3] + 1, device=q.device, dtype=q.dtype)[:, None]


def _blocks(length: int, earlier: int, block: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of queries and the keys that the last query of each sees."""
    for first in range(0, length, block):
        last = min(first + block, length)
        yield slice(first, last), slice(0, earlier + last)


def _masked(x: Float[Tensor, "B H T S"]) -> Float[Tensor, "B H T S"]:
    """`x` with zeros where the key comes after the query, changed in place; only the last T keys can."""
    x[..., -x.shape[-2] :].tril_()
    return x


class _Blocked(torch.autograd.Function):
    """Weighted sums of values [B, H, T, K], not yet divided by the number of keys; the queries are scaled."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.blocks = list(_blocks(q.shape[-2], k.shape[-2] - q.shape[-2], block))
        parts = [_masked((q[..., t, :] @ k[..., s, :].mT).relu_()) @ v[..., s, :] for t, s in ctx.blocks]
        return torch.cat(parts, dim=-2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v = ctx.saved_tensors
        grad_q, grad_k, grad_v = (torch.zeros_like(x) for x in (q, k, v))
        for t, s in ctx.blocks:
            q_t, k_s, grad_t = q[..., t, :], k[..., s, :], grad_out[..., t, :]
            weights = _masked((q_t @ k_s.mT).relu_())
            grad_v[..., s, :] += weights.mT @ grad_t
            grad_scores = (grad_t @ v[..., s, :].mT).mul_(weights > 0)
            grad_q[..., t, :] = grad_scores @ k_s
            grad_k[..., s, :] += grad_scores.mT @ q_t
        return grad_q, grad_k, grad_v, None
