r"""The selective scan of Mamba's S6 layer (Gu & Dao 2023, arXiv 2312.00752): a diagonal recurrence that inputs steer.

With :math:`\odot` elementwise over channels and state indices, and per sequence

.. math:: h_t = e^{\Delta_t A} \odot h_{t-1} + (\Delta_t u_t) B_t^\top, \qquad y_t = h_t C_t + D \odot u_t.

Shapes: B batch, T positions, E channels, N state size per channel.
"""

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from elegans.ops.transforms import inside_transform


def reference_selective_scan(
    u: Float[Tensor, "B T E"],
    dt: Float[Tensor, "B T E"],
    A: Float[Tensor, "E N"],
    B: Float[Tensor, "B T N"],
    C: Float[Tensor, "B T N"],
    D: Float[Tensor, " E"] | None = None,
    h0: Float[Tensor, "B E N"] | None = None,
) -> tuple[Float[Tensor, "B T E"], Float[Tensor, "B E N"]]:
    """`selective_scan` position by position: any transform, any number of derivatives."""
    h = u.new_zeros(len(u), *A.shape) if h0 is None else h0
    # Unbound once: the backward pass of an index into a stacked tensor is as large as the stack.
    parts = (dt[..., None], (dt * u)[..., None], B[:, :, None], C[..., None])
    outputs = []
    for step, x, b, c in zip(*(part.unbind(1) for part in parts), strict=True):
        h = (step * A).exp() * h + x * b
        outputs.append(h @ c)
    y = torch.stack(outputs, dim=1)[..., 0] if outputs else torch.zeros_like(u)
    return (y if D is None else torch.addcmul(y, u, D)), h


def selective_scan(
    u: Float[Tensor, "B T E"],
    dt: Float[Tensor, "B T E"],
    A: Float[Tensor, "E N"],
    B: Float[Tensor, "B T N"],
    C: Float[Tensor, "B T N"],
    D: Float[Tensor, " E"] | None = None,
    h0: Float[Tensor, "B E N"] | None = None,
    *,
    chunk: int | None = None,
) -> tuple[Float[Tensor, "B T E"], Float[Tensor, "B E N"]]:
    """Outputs y and the state after the last position.

    Training keeps one state per chunk of positions and computes the others again, so memory is that of T / `chunk` +
    3 `chunk` states. Gradients are exact, through the outputs, the final state and `h0` alike, but cannot be
    differentiated again. On a GPU the kernel of the `mamba-ssm` package takes over where it is installed and `h0` is None.

    Args:
        u: inputs.
        dt: step sizes, above 0.
        A: rates, below 0 for a decay; its data type is that of the computation.
        B: what each position writes.
        C: what each position reads.
        D: weight of the direct path from input to output.
        h0: state before the first position, zero by default.
        chunk: positions per chunk; by default one buffer of that many states fills about 2 MB.

    Raises `ValueError` for a chunk below 1.
    """
    if chunk is None:
        chunk = min(max(2**19 // max(len(u) * A.numel(), 1), 8), 64)
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    chunk = min(chunk, max(u.shape[1], 1))
    dtype = u.dtype
    u, dt, B, C = (x.to(A.dtype) for x in (u, dt, B, C))
    if u.shape[1] == 1 or inside_transform():
        y, h = reference_selective_scan(u, dt, A, B, C, D, h0)
    elif u.is_cuda and h0 is None and fits_official(A) and (kernel := official_kernel()) is not None:
        y, h = run_official(kernel, u, dt, A, B, C, D)
    else:
        inputs = (u, dt, A, B, C) if h0 is None else (u, dt, A, B, C, h0)
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            y, h = _Chunked.apply(u, dt, A, B, C, h0, chunk)  # pyright: ignore[reportGeneralTypeIssues]
        else:
            y, h, _ = _forward(u, dt, A, B, C, h0, chunk, keep=False)
        y = y if D is None else torch.addcmul(y, u, D)
    return y.to(dtype), h


# ------------------------------------------------------------------------------------------------ Chunks
# Buffers are time-major with channels innermost, [L B N E]: a position is contiguous, and each pass over a buffer runs
# over rows of E numbers.


class _Chunk:
    """The decays and the states of up to `length` positions."""

    def __init__(self, length: int, A: Tensor, batch_size: int) -> None:
        self.rates = A.mT.contiguous()
        self.rates_log2 = self.rates * math.log2(math.e)  # exp2 is 3 times as fast as exp
        shape = (batch_size, *self.rates.shape)
        self.decay = A.new_empty(length, *shape)
        self.state = A.new_empty(length + 1, *shape)  # the first is that before the chunk
        self.decays, self.states = self.decay.unbind(), self.state.unbind()

    def run(self, dt: Tensor, x: Tensor, B: Tensor, before: Tensor) -> None:
        """Fill both buffers; dt and x = dt u are [L B E], B is [L B N], `before` is [B N E]."""
        n = len(dt)
        self.states[0].copy_(before)  # first of all: `before` may be the last state of the previous run
        torch.mul(dt[:, :, None], self.rates_log2, out=self.decay[:n]).exp2_()
        torch.mul(x[:, :, None], B[..., None], out=self.state[1 : n + 1])
        for t in range(n):
            self.states[t + 1].addcmul_(self.decays[t], self.states[t])


def _rows(*tensors: Tensor) -> list[Tensor]:
    """Each [L, B, X] as a batch of L B row vectors."""
    return [x.view(-1, 1, x.shape[-1]) for x in tensors]


def _forward(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor | None, length: int, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Outputs, final state, and with `keep` the states before each chunk."""
    batch_size, num, width = u.shape
    chunk = _Chunk(length, A, batch_size)
    dt, x, B, C = dt.transpose(0, 1), (dt * u).transpose(0, 1), B.transpose(0, 1), C.transpose(0, 1).contiguous()
    h = torch.zeros_like(chunk.states[0]) if h0 is None else h0.mT
    kept = A.new_empty(-(-num // length), *h.shape) if keep else None
    y = A.new_empty(num, batch_size, width)
    for i, start in enumerate(range(0, num, length)):
        here = slice(start, min(start + length, num))
        n = here.stop - start
        if kept is not None:
            kept[i] = h
        chunk.run(dt[here], x[here], B[here], h)
        y_rows, c_rows = _rows(y[here], C[here])
        torch.bmm(c_rows, chunk.state[1 : n + 1].flatten(0, 1), out=y_rows)
        h = chunk.states[n]
    return y.transpose(0, 1).contiguous(), h.mT.clone(), kept


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor | None, length: int
    ) -> tuple[Tensor, Tensor]:
        y, h, kept = _forward(u, dt, A, B, C, h0, length, keep=True)
        ctx.save_for_backward(u, dt, A, B, C, kept)
        ctx.length = length
        return y, h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """With g the gradient of a state: g_t = C_t dy_t + decay_{t+1} g_{t+1}, from the last position to the first."""
        u, dt, A, B, C, kept = ctx.saved_tensors
        batch_size, num, _ = u.shape
        length = ctx.length
        chunk = _Chunk(length, A, batch_size)
        grad_state = torch.empty_like(chunk.decay)
        grad_states = grad_state.unbind()
        dy = grads[0].transpose(0, 1).contiguous()
        x = (dt * u).transpose(0, 1).contiguous()
        steps, B, C = dt.transpose(0, 1), B.transpose(0, 1).contiguous(), C.transpose(0, 1)
        grad_x, grad_dt, grad_B, grad_C = (
            torch.empty_like(like, memory_format=torch.contiguous_format) for like in (x, x, B, B)
        )
        grad_rates = A.new_zeros(1, A.numel())
        carry = grads[1].mT  # what the state before the positions that are done gets from them
        ones = A.new_ones(1, length * batch_size)
        for i in reversed(range(len(kept))):
            start = i * length
            here = slice(start, min(start + length, num))
            n = here.stop - start
            before, after = chunk.state[:n], chunk.state[1 : n + 1]
            decay, g = chunk.decay[:n], grad_state[:n]

            torch.mul(dy[here][:, :, None], C[here][..., None], out=g)
            grad_states[n - 1].add_(carry)  # before `run`: the carry lies in its buffer
            chunk.run(steps[here], x[here], B[here], kept[i])
            for t in reversed(range(n)):
                carry = chunk.decays[t].mul_(grad_states[t])
                if t:
                    grad_states[t - 1].add_(carry)

            dy_rows, x_rows, b_rows = _rows(dy[here], x[here], B[here])
            to_C, to_B, to_x = _rows(grad_C[here], grad_B[here], grad_x[here])
            torch.bmm(dy_rows, after.flatten(0, 1).mT, out=to_C)
            torch.bmm(x_rows, g.flatten(0, 1).mT, out=to_B)
            torch.bmm(b_rows, g.flatten(0, 1), out=to_x)

            grad_exponent = before.mul_(decay)  # `decay` holds decay g by now
            torch.sum(torch.mul(grad_exponent, chunk.rates, out=g), dim=2, out=grad_dt[here])
            torch.mul(grad_exponent, steps[here][:, :, None], out=g)
            grad_rates.addmm_(ones[:, : n * batch_size], g.view(n * batch_size, -1))
        grad_x, grad_dt, grad_B, grad_C = (g.transpose(0, 1) for g in (grad_x, grad_dt, grad_B, grad_C))
        grad_h0 = carry.mT.clone() if ctx.needs_input_grad[5] else None
        return (
            dt * grad_x,
            torch.addcmul(grad_dt, grad_x, u),
            grad_rates.view_as(chunk.rates).mT,
            grad_B,
            grad_C,
            grad_h0,
            None,
        )


# ------------------------------------------------------------------------------------------------ mamba-ssm


@functools.cache
def official_kernel() -> Callable[..., Any] | None:
    """`selective_scan_fn` of the `mamba-ssm` package; None where it, or its compiled part, is missing."""
    try:
        interface = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except ImportError:
        return None
    return interface.selective_scan_fn if getattr(interface, "selective_scan_cuda", None) else None


def fits_official(A: Float[Tensor, "E N"]) -> bool:
    """Whether the official kernel takes these rates: single precision, at most 256 states per channel."""
    return A.dtype == torch.float32 and A.shape[1] <= 256


def run_official(
    kernel: Callable[..., Any],
    u: Float[Tensor, "B T E"],
    dt: Float[Tensor, "B T E"],
    A: Float[Tensor, "E N"],
    B: Float[Tensor, "B T N"],
    C: Float[Tensor, "B T N"],
    D: Float[Tensor, " E"] | None = None,
) -> tuple[Float[Tensor, "B T E"], Float[Tensor, "B E N"]]:
    """`selective_scan` by `selective_scan_fn`, whose positions come last."""
    y, h = kernel(u.mT, dt.mT, A, B.mT, C.mT, D, return_last_state=True)
    return y.mT, _FinalState.apply(h.detach(), u, dt, A, B, C)  # pyright: ignore[reportReturnType]


class _FinalState(torch.autograd.Function):
    """The final state of the official kernel, which has no gradient for it; this one scans again where one is asked for."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return h.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, A, B, C = (x.detach().requires_grad_() for x in ctx.saved_tensors)
        with torch.enable_grad():
            _, h = _Chunked.apply(u, dt, A, B, C, None, min(32, u.shape[1]))  # pyright: ignore[reportGeneralTypeIssues]
        return None, *torch.autograd.grad(h, (u, dt, A, B), grads[0]), None  # C plays no part in the state
