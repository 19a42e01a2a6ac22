r"""The WKV operator of RWKV-4: per channel, an average of the values so far whose weights decay with distance.

Peng et al. 2023 (arXiv 2305.13048). With the rate :math:`d = e^w > 0`,

.. math::
    y_t = \frac{A_t + e^{u + k_t} v_t}{B_t + e^{u + k_t}}, \qquad
    A_{t+1} = e^{-d} A_t + e^{k_t} v_t, \quad B_{t+1} = e^{-d} B_t + e^{k_t}.

Sums are held as :math:`A = e^p a, B = e^p b` with the largest exponent p, so nothing overflows for any rate and keys.

Shapes: B batch, T positions, C channels, S slots of a scan, P planes of values.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from elegans.ops.transforms import inside_transform

LOG2E = math.log2(math.e)
PORTION = 1 << 16  # numbers per tensor that are worked on at a time; a few such tensors fit into a cache
EMPTY = -1e38
"""The exponent of a sum of nothing; finite, because inf - inf is not a number."""


class WKVState(NamedTuple):
    """The sums over the past, numerator e^p a and denominator e^p b; [B, C] each.

    Gradients go through a and b and take p for a constant. That is exact for whatever depends on the two sums alone, as
    every further `wkv` does.
    """

    a: Tensor
    b: Tensor
    p: Tensor

    @classmethod
    def start(cls, batch_size: int, like: Float[Tensor, " C"]) -> "WKVState":
        """The state before the first position, for channels as in `like`, in single precision or better."""
        zero = like.new_zeros(batch_size, len(like), dtype=_compute_dtype(like))
        return cls(zero, zero, torch.full_like(zero, EMPTY))


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def reference_wkv(
    decay: Float[Tensor, " C"],
    bonus: Float[Tensor, " C"],
    k: Float[Tensor, "B T C"],
    v: Float[Tensor, "B T C"],
    state: WKVState | None = None,
) -> tuple[Float[Tensor, "B T C"], WKVState]:
    """`wkv` one position at a time, in plain operations: for decoding, `torch.func` transforms and tests."""
    a, b, p = WKVState.start(len(k), decay) if state is None else state
    rate, out = decay.exp(), []
    for k_t, v_t in zip(k.unbind(1), v.unbind(1), strict=True):
        own = bonus + k_t
        top = torch.maximum(p, own).detach()
        past, now = (p - top).exp(), (own - top).exp()
        out.append((past * a + now * v_t) / (past * b + now))
        top = torch.maximum(p - rate, k_t).detach()
        past, now = (p - rate - top).exp(), (k_t - top).exp()
        a, b, p = past * a + now * v_t, past * b + now, top
    return torch.stack(out, dim=1), WKVState(a, b, p)


def wkv(
    decay: Float[Tensor, " C"],
    bonus: Float[Tensor, " C"],
    k: Float[Tensor, "B T C"],
    v: Float[Tensor, "B T C"],
    state: WKVState | None = None,
    *,
    chunk: int | None = None,
) -> tuple[Float[Tensor, "B T C"], WKVState]:
    """Weighted averages of the values so far, and the state after them, in time and memory linear in T.

    All arguments get exact first derivatives, the state included (see `WKVState`). Half precision is computed in single.

    Args:
        decay: w, the logarithm of the rate of decay per position.
        bonus: u, added to the key of the present position.
        k, v: keys and values.
        state: of the positions before, None at the beginning. It is not changed.
        chunk: positions that are scanned one after another, all chunks at once; None is about sqrt(T). It changes
            the time, not the result.

    On CUDA the kernel of flash-linear-attention is used where it is installed (`fla.ops.rwkv4`).
    Raises `ValueError` for a chunk or a sequence without positions.
    """
    num_tokens = k.shape[1]
    if num_tokens < 1 or (chunk is not None and chunk < 1):
        raise ValueError(f"wkv needs at least 1 position and chunks of at least 1, got {num_tokens} and {chunk}")
    state = WKVState.start(len(k), decay) if state is None else state
    dtype, precise = v.dtype, _compute_dtype(k)
    inputs = decay.to(precise), bonus.to(precise), k.to(precise), v.to(precise)
    if num_tokens == 1 or inside_transform():
        y, state = reference_wkv(*inputs, state)
    elif kernel := _fla_kernel(k.device.type, precise):
        packed = torch.stack(state, dim=1)[:, :, None]
        y, packed = kernel(*(x.contiguous() for x in (*inputs, packed)))
        a, b, p = packed[:, :, 0].unbind(1)
        state = WKVState(a, b, p)
    else:
        y, a, b, p = _WKV.apply(*inputs, *state, chunk or math.isqrt(num_tokens) + 1)
        state = WKVState(a, b, p)
    return y.to(dtype), state


@cache
def _fla_kernel(device: str, dtype: torch.dtype) -> Callable[..., Any] | None:
    """The fused kernel (w, u, k, v, state [B 3 1 C]) -> (y, state) of flash-linear-attention, where it applies."""
    if device != "cuda" or dtype != torch.float32:
        return None
    try:
        from fla.ops.rwkv4 import fused_recurrent_rwkv4  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return fused_recurrent_rwkv4


class _WKV(torch.autograd.Function):
    """The two-level scan; its backward is the same scan from the end.

    Slot t of the forward scan holds the state before position t: the incoming state is its first element, key and value
    of position t its element t + 1. Slot t of the backward scan holds the derivative of the loss by that state. Exponents
    are to base 2, because `exp` is slow where it underflows, and slots are time-major. What is done to each position by
    itself is done in portions that stay in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, w: Tensor, u: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, p: Tensor, chunk: int
    ) -> tuple[Tensor, ...]:
        num, y = k.shape[1], torch.empty_like(v)
        top, sums = _slots(p, num + 1, chunk)
        top[0], sums[0, 0], sums[1, 0] = LOG2E * p, a, b
        torch.mul(k.transpose(0, 1), LOG2E, out=top[1 : num + 1])
        sums[0, 1 : num + 1], sums[1, 1 : num + 1] = v.transpose(0, 1), 1
        rate, bonus = LOG2E * w.exp(), LOG2E * u
        _scan(top, sums, rate, chunk)
        log_total = torch.empty_like(top[:num])
        for k_, v_, y_, m, a_, b_, log_ in _portions(_major(k, v, y), top[:num], *sums[:, :num], log_total):
            k_, v_ = k_.contiguous(), v_.contiguous()
            own = torch.add(bonus, k_, alpha=LOG2E)
            highest = torch.maximum(m, own)
            past, now = (m - highest).exp2_(), own.sub_(highest).exp2_()
            total = torch.addcmul(now, past, b_)
            torch.div(past.mul_(a_).addcmul_(now, v_), total, out=y_)
            torch.add(total.log2_(), highest, out=log_)
        ctx.save_for_backward(rate, bonus, k, v, y, log_total, top, sums)
        ctx.chunk = chunk
        final = top[num] / LOG2E
        ctx.mark_non_differentiable(final)
        return y, sums[0, num].clone(), sums[1, num].clone(), final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, g_a: Tensor, g_b: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        rate, bonus, k, v, y, log_total, top, sums = ctx.saved_tensors
        num = k.shape[1]
        end, ends = _slots(top[0], num + 1, ctx.chunk)
        torch.neg(log_total, out=end[:num])
        torch.neg(top[num], out=end[num])
        ends[0, :num], ends[0, num], ends[1, num] = g.transpose(0, 1), g_a, -g_b
        torch.mul(ends[0, :num], y.transpose(0, 1), out=ends[1, :num])
        _scan(end, ends, rate, ctx.chunk, reverse=True)

        g_k, g_v, g_u, g_w = torch.empty_like(k), torch.empty_like(v), torch.zeros_like(rate), torch.zeros_like(rate)
        inputs, states = _major(k, v, y, g, g_k, g_v), (top[:num], *sums[:, :num])
        later = slice(1, num + 1)
        for k_, v_, y_, g_, g_k_, g_v_, log_, m, a_, b_, n, r, q in _portions(
            inputs, log_total, *states, end[later], *ends[:, later]
        ):
            v_, y_, g_ = v_.contiguous(), y_.contiguous(), g_.contiguous()
            key = k_.contiguous() * LOG2E
            own = (key - log_).add_(bonus).exp2_().mul_(g_)
            weight = key.add_(n).exp2_()
            torch.addcmul(own, weight, r, out=g_v_)
            own.mul_(v_ - y_)
            torch.addcmul(own, weight, (v_ * r).sub_(q), out=g_k_)
            kept = (m + n).sub_(rate).exp2_().mul_((a_ * r).addcmul_(b_, q, value=-1))
            g_u += own.sum((0, 1))
            g_w -= kept.sum((0, 1))
        scale = (top[0] + end[0]).exp2_()
        g_a, g_b = scale * ends[0, 0], -scale * ends[1, 0]
        return g_w * rate / LOG2E, g_u, g_k, g_v, g_a, g_b, sums[0, 0] * g_a + sums[1, 0] * g_b, None


def _major(*batch_major: Tensor) -> list[Tensor]:
    return [x.transpose(0, 1) for x in batch_major]


def _portions(first: list[Tensor], *rest: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """All tensors [T, B, C] in step, some positions at a time."""
    positions = max(1, PORTION // first[0][0].numel())
    return zip(*(x.split(positions) for x in (*first, *rest)), strict=True)


def _slots(like: Float[Tensor, "B C"], num: int, chunk: int) -> tuple[Float[Tensor, "S B C"], Float[Tensor, "P S B C"]]:
    """Room for a scan over `num` elements with two values each; whole chunks, the rest of which is empty."""
    padded = -(-num // chunk) * chunk
    keys, values = like.new_empty(padded, *like.shape), like.new_empty(2, padded, *like.shape)
    keys[num:], values[:, num:] = EMPTY, 0
    return keys, values


def _scan(
    keys: Float[Tensor, "S B C"],
    values: Float[Tensor, "P S B C"],
    rate: Float[Tensor, " C"],
    chunk: int,
    *,
    reverse: bool = False,
) -> None:
    r"""Decayed sums :math:`\sum_{i \le t} e^{k_i - (t - i) d} v_i = e^{m_t} s_t`, in place: keys become m, values s.

    With `reverse` time runs backward. S is a multiple of `chunk`. Scans within all chunks at once, then over the ends of
    the chunks, then carries each end through the next chunk: S / chunk + 2 chunk steps instead of S.
    """
    keys, values = keys.unflatten(0, (-1, chunk)), values.unflatten(1, (-1, chunk))
    step = -1 if reverse else 1
    columns = list(zip(keys.unbind(1), values.unbind(2), strict=True))[::step]
    for before, here in pairwise(columns):
        _absorb(*here, *before, rate)
    ends, end_values = columns[-1]
    rows = list(zip(ends.unbind(0), end_values.unbind(1), strict=True))[::step]
    for before, here in pairwise(rows):
        _absorb(*here, *before, chunk * rate)
    earlier, later = (slice(None, -1), slice(1, None))[::step]
    decays = torch.arange(1, chunk, device=rate.device)[:, None] * rate
    for (m, s), decay in zip(columns, decays.unbind(0), strict=False):
        _absorb(m[later], s[:, later], ends[earlier], end_values[:, earlier], decay)


def _absorb(m: Tensor, s: Tensor, from_m: Tensor, from_s: Tensor, decay: Tensor) -> None:
    """e^m s <- e^m s + e^(from_m - decay) from_s, in place, with the new m the larger of the two exponents."""
    carried = from_m - decay
    top = torch.maximum(m, carried)
    s.mul_(m.sub_(top).exp2_()).addcmul_(from_s, carried.sub_(top).exp2_())
    m.copy_(top)
