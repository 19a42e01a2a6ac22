"""StableMask by the fused kernel with a sink, against plain causal attention and against its published form.

All forward and backward. Shapes: B batch, T positions, H heads, K head width.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from elegans.benchmarks.harness import Case, Contender, Goal
from elegans.models.sinks import StableMask
from elegans.ops.attention import attention, reference_stablemask
from elegans.ops.rng import torch_rng

LENGTHS, TOKENS, HEADS, HEAD_WIDTH = (128, 256, 512, 1024, 2048), 4096, 4, 32


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's own."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def compare(batch: int, num: int, device: torch.device) -> Case:
    """A case at one length."""
    generator = torch_rng("benchmark", "attention", num)
    shape = (batch, num, HEADS, HEAD_WIDTH)
    *inputs, weight = (torch.randn(shape, generator=generator).to(device) for _ in range(4))
    for x in inputs:
        x.requires_grad_()
    sink = StableMask(HEADS, finite=True).to(device)

    def run(form: Callable[..., Tensor]) -> list[Tensor]:
        y = form(*inputs)
        return [y, *torch.autograd.grad(y, inputs, weight)]

    stablemask = partial(run, lambda q, k, v: attention(q, k, v, sink(0, num)))
    published = partial(run, lambda q, k, v: reference_stablemask(q, k, v, sink.gamma))
    goal = Goal(at_most=1.15) if num >= 256 and device.type == "cpu" else None
    return Case(
        name=f"B{batch} T{num} H{HEADS} K{HEAD_WIDTH}",
        contenders=(
            Contender(name="causal attention", call=partial(run, plain)),
            Contender(name="StableMask", call=stablemask, expected=published, goal=goal),
            Contender(name="StableMask by C and P", call=published, expected=stablemask),
        ),
        tolerance=1e-4,
    )


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """From 128 to 2,048 positions, 4,096 tokens in all."""
    for num in (32,) if quick else LENGTHS:
        yield compare(1 if quick else TOKENS // num, num, device)
