"""The two-level scan of RWKV-4's WKV operator against loops over positions; forward and backward.

Shapes: B batch, T positions, C channels.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from elegans.benchmarks import peers
from elegans.benchmarks.harness import Case, Contender, Goal
from elegans.ops.rng import torch_rng
from elegans.ops.wkv import reference_wkv, wkv

SIZES = ((4, 512, 256), (4, 1024, 512), (16, 128, 64))
GOALS: dict[tuple[int, ...], float] = {(4, 512, 256): 15, (4, 1024, 512): 35}
"""At which size Hugging Face takes how many times as long, at least, on a CPU."""
LENGTHS = (256, 1024, 4096)


def steps(sizes: tuple[int, int, int], device: torch.device) -> Callable[[Callable[..., Any]], list[Tensor]]:
    """Outputs and gradients of any form of the operator on the same inputs."""
    batch, num, channels = sizes
    generator = torch_rng("benchmark", "wkv")
    k, v, weight = (torch.randn(batch, num, channels, generator=generator).to(device) for _ in range(3))
    bonus = torch.randn(channels, generator=generator).to(device)
    inputs = [torch.linspace(-5, 3, channels, device=device), bonus, k, v]
    for x in inputs:
        x.requires_grad_()

    def run(form: Callable[..., Any]) -> list[Tensor]:
        y, _ = form(*inputs)
        return [y, *torch.autograd.grad(y, inputs, weight)]

    return run


def compare(sizes: tuple[int, int, int], device: torch.device) -> Case:
    """The operator against its peers."""
    run, theirs = steps(sizes, device), None
    if peers.has_transformers():
        from transformers.models.rwkv import modeling_rwkv

        theirs = partial(run, modeling_rwkv.rwkv_linear_attention_cpu)
    goal = Goal(at_least=GOALS[sizes]) if sizes in GOALS and device.type == "cpu" else None
    batch, num, channels = sizes
    return Case(
        name=f"B{batch} T{num} C{channels}",
        contenders=(
            Contender(name="elegans", call=partial(run, wkv)),
            Contender(name="loop", call=partial(run, reference_wkv)),
            Contender(name=peers.HF, call=theirs, goal=goal),
        ),
        tolerance=1e-4,
    )


def lengths(device: torch.device) -> Case:
    """The operator at several lengths: the time grows with the length, and no faster."""

    def contender(num: int) -> Contender:
        run = partial(steps((1, num, 256), device), wkv)
        return Contender(name=f"T{num}", call=run, values=lambda found: [])

    return Case(name="elegans, B1 C256", contenders=tuple(contender(num) for num in LENGTHS))


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """Against peers, then by length."""
    with peers.quiet():
        for sizes in ((2, 12, 8),) if quick else SIZES:
            yield compare(sizes, device)
    if not quick:
        yield lengths(device)
