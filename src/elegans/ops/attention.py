r"""Causal softmax attention with an optional sink: probability mass that goes to no key.

With scores :math:`s_{ij}` of query i and key j, and a sink logit :math:`c_i`,

.. math:: o_i = \frac{\sum_j e^{s_{ij}} v_j}{\sum_j e^{s_{ij}} + e^{c_i}}
              = \mathrm{keep}_i \sum_j \mathrm{softmax}_j(s_{ij}) v_j, \qquad
          \mathrm{keep}_i = \sigma(\log \textstyle\sum_j e^{s_{ij}} - c_i).

StableMask, learned sinks and softmax-plus-one differ in :math:`c` alone (`elegans.models.sinks`).

Queries are the last T of S positions, and a query sees its own position and those before it.

Shapes: B batch, T queries, S keys, H heads, K head width.
"""

import math
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from elegans.ops.transforms import inside_transform

aten: Any = torch.ops.aten


def visible(num_queries: int, num_keys: int, device: torch.device | None = None) -> Bool[Tensor, "T S"]:
    """Which keys each query sees; the queries are the last positions."""
    return torch.ones(num_queries, num_keys, dtype=torch.bool, device=device).tril(num_keys - num_queries)


def attention_scores(
    q: Float[Tensor, "B T H K"], k: Float[Tensor, "B S H K"], bias: Float[Tensor, "H T S"] | None = None
) -> Float[Tensor, "B H T S"]:
    """Products of queries and keys over sqrt K, with the bias; -inf for keys that a query does not see."""
    scores = torch.einsum("bthk,bshk->bhts", q, k) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    return scores.masked_fill(~visible(q.shape[1], k.shape[1], q.device), -math.inf)


def normalized(scores: Float[Tensor, "B H T S"], sink: Float[Tensor, "H T"] | None = None) -> Float[Tensor, "B H T S"]:
    """The softmax of the scores; with a sink the weights sum to less than 1."""
    if sink is None:
        return scores.softmax(-1)
    column = sink[..., None].to(scores.dtype).expand(len(scores), -1, -1, 1)
    return torch.cat([scores, column], dim=-1).softmax(-1)[..., :-1]


def attention_weights(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B S H K"],
    sink: Float[Tensor, "H T"] | None = None,
    bias: Float[Tensor, "H T S"] | None = None,
) -> Float[Tensor, "B H T S"]:
    """The weights of all keys, materialized."""
    return normalized(attention_scores(q, k, bias), sink)


def weighted(weights: Float[Tensor, "B H T S"], v: Float[Tensor, "B S H K"]) -> Float[Tensor, "B T H K"]:
    """The values by their weights."""
    return torch.einsum("bhts,bshk->bthk", weights, v)


def reference_attention(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B S H K"],
    v: Float[Tensor, "B S H K"],
    sink: Float[Tensor, "H T"] | None = None,
    bias: Float[Tensor, "H T S"] | None = None,
    *,
    dropout: float = 0.0,
) -> Float[Tensor, "B T H K"]:
    """`attention` through its weights: any device, any transform, any number of derivatives."""
    return weighted(F.dropout(attention_weights(q, k, sink, bias), dropout), v)


def attention(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B S H K"],
    v: Float[Tensor, "B S H K"],
    sink: Float[Tensor, "H T"] | None = None,
    bias: Float[Tensor, "H T S"] | None = None,
    *,
    dropout: float = 0.0,
) -> Float[Tensor, "B T H K"]:
    """What each query reads.

    Args:
        q, k, v: queries at the last T of the S positions, keys and values.
        sink: the logit of reading nothing, per head and query; -inf is none.
        bias: added to the scores (after the division by sqrt K); it gets no gradient.
        dropout: rate on the weights.

    With a sink on a CPU the cost is that of PyTorch's fused attention. Elsewhere the sink becomes one more key.
    """
    # Inside a transform the fused kernel of a CPU runs as a loop over the members.
    slow_fused = q.device.type == "cpu" and inside_transform()
    if sink is not None and (dropout or slow_fused):
        return reference_attention(q, k, v, sink, bias, dropout=dropout)
    causal = bias is None and q.shape[-3] == k.shape[-3]
    mask = None if causal else _mask(q, k, bias)
    q, k, v = (x.transpose(-3, -2) for x in (q, k, v))
    if sink is None:
        with sdpa_kernel(SDPBackend.MATH) if slow_fused else nullcontext():
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)
    elif q.device.type == "cpu":
        out = _FusedSinkAttention.apply(q, k, v, sink, mask, causal)
    else:
        out = sink_as_key(q, k, v, sink, mask)
    return out.transpose(-3, -2)  # pyright: ignore[reportOptionalMemberAccess]


def _mask(q: Tensor, k: Tensor, bias: Tensor | None) -> Float[Tensor, "1 H T S"] | None:
    """What to add to the scores, or nothing where a single query without bias sees all keys."""
    num_queries, num_keys = q.shape[-3], k.shape[-3]
    if bias is None and num_queries == 1:
        return None
    mask = q.new_zeros(1, num_queries, num_keys) if bias is None else bias.to(q.dtype)
    return mask.masked_fill(~visible(num_queries, num_keys, q.device), -math.inf)[None]


class _FusedSinkAttention(torch.autograd.Function):
    """PyTorch's fused CPU attention, scaled by keep.

    Its backward pass needs the output and the log of the normalizer only. Given those *with* the sink, it returns the
    exact gradients of queries, keys and values: the weights it recomputes are then softmax * keep.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sink: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, attn_mask=mask)
        sink = sink.to(lse.dtype)
        keep = torch.sigmoid(lse - sink)
        out = out * keep[..., None].to(out.dtype)
        ctx.save_for_backward(q, k, v, out, lse + F.softplus(sink - lse), keep, mask)
        ctx.causal, ctx.sink_shape = causal, sink.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        q, k, v, out, lse, keep, mask = ctx.saved_tensors
        backward = aten._scaled_dot_product_flash_attention_for_cpu_backward
        grad_q, grad_k, grad_v = backward(grad, q, k, v, out, lse, 0.0, ctx.causal, attn_mask=mask)
        grad_sink = None
        if ctx.needs_input_grad[3]:
            grad_sink = (-(grad * out).sum(-1) * (1 - keep)).sum_to_size(ctx.sink_shape).to(q.dtype)
        return grad_q, grad_k, grad_v, grad_sink, None, None


def sink_as_key(
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B H S K"],
    v: Float[Tensor, "B H S K"],
    sink: Float[Tensor, "H T"],
    mask: Float[Tensor, "1 _ T S"] | None = None,
) -> Float[Tensor, "B H T K"]:
    """Attention to one more key with value zero, whose score is the sink logit. Public operations only: any backend.

    Heads come before positions here. Without `mask` query t sees all keys up to the t-th of the last T.
    """
    num_queries, num_keys, width = q.shape[-2], k.shape[-2], q.shape[-1]
    if mask is None:
        mask = torch.zeros(1, 1, num_queries, num_keys, dtype=q.dtype, device=q.device)
        mask = mask.masked_fill(~visible(num_queries, num_keys, q.device), -math.inf)
    column = sink.to(q.dtype)[None, ..., None]
    heads = column.shape[1]
    mask = torch.cat([column.expand(1, heads, num_queries, 1), mask.expand(1, heads, -1, -1)], dim=-1)
    zero = k.new_zeros(*k.shape[:-2], 1, width)
    return F.scaled_dot_product_attention(q, torch.cat([zero, k], dim=-2), torch.cat([zero, v], dim=-2), attn_mask=mask)


# ------------------------------------------------------------------------------------------------ StableMask


def pseudo_log_mass(
    gamma: Float[Tensor, " H"], positions: Float[Tensor, " T"], total: int | None = None, *, relative: bool = False
) -> Float[Tensor, "H T"]:
    r"""The sink logit of StableMask: log of the mass that query i gives to pseudo scores (arXiv 2402.04779).

    Column j > i has the pseudo score :math:`-(j - 1) \gamma`, so that
    :math:`c_i = \sum_{j = i + 1}^{N} e^{-(j - 1) \gamma}`; `relative` has :math:`-(j - i + 1) \gamma` in its place.

    Args:
        gamma: decay per head, at least 0; above 0 where the columns are endless.
        positions: i, counted from 1, at most N.
        total: N; None is the limit of endless columns, in which the mass of a query does not depend on what follows.
    """
    rate, i = gamma[:, None], positions[None]
    first = -2 * rate if relative else -i * rate  # the largest pseudo score of the row
    if total is None:
        return first - _log1mexp(rate) + torch.zeros_like(i)
    left = total - i
    count = torch.where(rate > 0, _log1mexp(left * rate) - _log1mexp(rate), left.log())
    return torch.where(left > 0, first + count, -math.inf)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x >= 0."""
    return torch.where(x < math.log(2), (-torch.expm1(-x)).log(), torch.log1p(-(-x).exp()))


def reference_stablemask(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H K"],
    gamma: Float[Tensor, " H"],
) -> Float[Tensor, "B T H K"]:
    r"""StableMask as published: :math:`(\mathrm{softmax}(A \odot C + P) \odot C) V` over all N = T columns.

    C is the causal mask and :math:`P_{ij} = -(j - 1) \gamma` above the diagonal, 0 elsewhere.
    """
    scores = torch.einsum("bthk,bshk->bhts", q, k) / math.sqrt(q.shape[-1])
    causal = visible(scores.shape[-1], scores.shape[-1], q.device)
    pseudo = -gamma[:, None, None] * torch.arange(scores.shape[-1], device=q.device)
    return weighted(torch.where(causal, scores, pseudo).softmax(-1) * causal, v)
