r"""Causal linear attention (Katharopoulos et al. 2020, arXiv 2006.16236): softmax attention's kernel becomes a product.

.. math::
    S_t = S_{t-1} + \phi(k_t) v_t^\top, \qquad z_t = z_{t-1} + \phi(k_t), \qquad
    o_t = \frac{S_t^\top \phi(q_t)}{z_t \cdot \phi(q_t) + \epsilon}

The functions here take queries and keys that are already mapped to features. Cost grows linearly with T, and the state
(S, z) does not grow.

Shapes: B batch, T positions, H heads, F features, K head width, N chunks, C positions per chunk.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

EPS = 1e-6
"""Added to the normalizer. An output shrinks towards 0 where the query's sum of weights falls to this size."""


class LinearState(NamedTuple):
    """What the positions so far leave behind: `kv` [B, H, F, K], the sum of phi(k) v^T, and `k_sum` [B, H, F]."""

    kv: Tensor
    k_sum: Tensor


def reference_linear_attention(
    q: Float[Tensor, "B T H F"],
    k: Float[Tensor, "B T H F"],
    v: Float[Tensor, "B T H K"],
    state: LinearState | None = None,
    *,
    normalize: bool = True,
) -> tuple[Float[Tensor, "B T H K"], LinearState]:
    """The definition, position by position."""
    kv, k_sum = state or empty_state(k, v)
    outs = []
    for q_t, k_t, v_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True):
        kv, k_sum = kv + k_t[..., None] * v_t[..., None, :], k_sum + k_t
        out = (q_t[..., None] * kv).sum(-2)
        outs.append(out / ((q_t * k_sum).sum(-1, keepdim=True) + EPS) if normalize else out)
    return torch.stack(outs, dim=1), LinearState(kv, k_sum)


def causal_linear_attention(
    q: Float[Tensor, "B T H F"],
    k: Float[Tensor, "B T H F"],
    v: Float[Tensor, "B T H K"],
    state: LinearState | None = None,
    *,
    normalize: bool = True,
    chunk: int = 64,
) -> tuple[Float[Tensor, "B T H K"], LinearState]:
    """Outputs of T further positions and the state after them; no `state` is the empty one.

    Within a chunk of `chunk` positions all pairs are computed, between chunks only states are passed: plain matrix
    products, which autograd and vmap know how to treat. (A backward pass by hand that computes the pairs again saves a
    fifth to a half of the memory and costs 15 % more time on a CPU.) `normalize` wants features that are not negative.
    Sums are kept in float32 or better.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    dtype = torch.promote_types(v.dtype, torch.float32)
    values = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1).to(dtype)  # the column of ones sums up the keys
    kv, k_sum = state or empty_state(k, v)
    start = torch.cat([kv, k_sum[..., None]], dim=-1).to(dtype)
    q, k, values = (x.to(dtype).transpose(-3, -2).contiguous() for x in (q, k, values))
    out, end = _scan(q, k, values, start, chunk)
    weighted, weight = out.transpose(-3, -2).split([v.shape[-1], 1], dim=-1)
    return (weighted / (weight + EPS) if normalize else weighted).to(v.dtype), LinearState(end[..., :-1], end[..., -1])


def empty_state(k: Float[Tensor, "B T H F"], v: Float[Tensor, "B T H K"]) -> LinearState:
    """The state before the first position, for keys and values like these."""
    batch, _, heads, features = k.shape
    dtype = torch.promote_types(v.dtype, torch.float32)
    kv = v.new_zeros(batch, heads, features, v.shape[-1], dtype=dtype)
    return LinearState(kv, kv.new_zeros(batch, heads, features))


def _scan(q: Tensor, k: Tensor, v: Tensor, start: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Outputs S_t^T q_t [B, H, T, K] and the last S [B, H, F, K], without normalizer."""
    length = q.shape[-2]
    if length == 1:
        end = start + k.mT @ v
        return q @ end, end
    q, k, v = (_chunked(x, min(chunk, length)) for x in (q, k, v))
    states = torch.cat([start[..., None, :, :], k.mT @ v], dim=-3).cumsum(-3)  # [B, H, N + 1, F, K]
    out = (q @ k.mT).tril() @ v + q @ states[..., :-1, :, :]
    return out.flatten(-3, -2)[..., :length, :], states[..., -1, :, :]


def _chunked(x: Float[Tensor, "B H T F"], chunk: int) -> Float[Tensor, "B H N C F"]:
    """The positions in chunks; the last is filled up with zeros, which leave a state as it is."""
    return pad(x, (0, 0, 0, -x.shape[-2] % chunk)).unflatten(-2, (-1, chunk))
