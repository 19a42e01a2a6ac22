"""Linear attention in chunks against the loop over positions, forward and backward.

Shapes: B batch, T positions, H heads, K head width (and number of features).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from elegans.benchmarks.harness import Case, Contender
from elegans.ops.linear_attention import causal_linear_attention, reference_linear_attention
from elegans.ops.rng import torch_rng

SIZES = ((32, 64, 4, 16), (8, 256, 4, 32), (4, 1024, 4, 32))


def compare(sizes: tuple[int, int, int, int], device: torch.device) -> Case:
    """A case at one size."""
    generator = torch_rng("benchmark", "linear-attention")
    q, k, v, weight = (torch.randn(sizes, generator=generator).to(device) for _ in range(4))
    inputs = [q.exp().requires_grad_(), k.exp().requires_grad_(), v.requires_grad_()]

    def run(form: Callable[..., Any]) -> list[Tensor]:
        y, state = form(*inputs)
        return [y, *state, *torch.autograd.grad(y, inputs, weight)]

    batch, num, heads, width = sizes
    return Case(
        name=f"B{batch} T{num} H{heads} K{width}",
        contenders=(
            Contender(name="in chunks", call=partial(run, causal_linear_attention)),
            Contender(name="loop", call=partial(run, reference_linear_attention)),
        ),
        tolerance=1e-4,
    )


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """Sizes of the studies and above."""
    for sizes in ((2, 16, 2, 4),) if quick else SIZES:
        yield compare(sizes, device)
