"""The chunked selective scan, and the Mamba layer on it, against loops over positions; forward and backward.

At T = 512 each position of Hugging Face's backward pass writes fresh blocks of 32 MB. What the operating system takes for
these is CPU time too, and can be most of it, so that this ratio differs several-fold between machines.

Shapes: B batch, T positions, D width, E channels, N state size.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from elegans.benchmarks import peers
from elegans.benchmarks.harness import Case, Contender, Goal
from elegans.models.mamba import MambaMixer
from elegans.ops.rng import torch_rng
from elegans.ops.selective_scan import reference_selective_scan, selective_scan

SCANS = ((4, 512, 256, 16), (4, 2048, 256, 16), (4, 512, 1024, 16), (16, 128, 128, 16), (1, 512, 256, 16))
LAYERS = ((4, 512, 128), (16, 128, 64))
GOALS: dict[tuple[int, ...], tuple[float, float]] = {(4, 512, 256, 16): (2.5, 50)}
"""At which size the loop and Hugging Face take how many times as long, at least, on a CPU."""


def scan(sizes: tuple[int, int, int, int], device: torch.device) -> Case:
    """The recurrence by itself."""
    batch, num, channels, state = sizes
    generator = torch_rng("benchmark", "selective-scan")

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    inputs = [
        draw(batch, num, channels),
        softplus(draw(batch, num, channels) - 2),
        -torch.arange(1.0, state + 1, device=device).repeat(channels, 1),
        draw(batch, num, state),
        draw(batch, num, state),
        draw(channels),
    ]
    weight = draw(batch, num, channels)
    for x in inputs:
        x.requires_grad_()

    def run(form: Callable[..., Any]) -> list[Tensor]:
        y, h = form(*inputs)
        return [y, h, *torch.autograd.grad(y, inputs, weight)]

    loop, slow = (Goal(at_least=g) for g in GOALS[sizes]) if sizes in GOALS and device.type == "cpu" else (None, None)
    contenders = [
        Contender(name="elegans", call=partial(run, selective_scan)),
        Contender(name="loop", call=partial(run, reference_selective_scan), goal=loop),
    ]
    if num <= 512 and channels <= 256:  # theirs takes time with the square of the length
        theirs = _their_scan()
        contenders.append(Contender(name=peers.HF, call=partial(run, theirs) if theirs else None, goal=slow))
    return Case(name=f"scan, B{batch} T{num} E{channels} N{state}", contenders=tuple(contenders))


def _their_scan() -> Callable[..., Any] | None:
    """Hugging Face's scan without kernels, in our layout; None where it is not installed or not a function yet."""
    if not peers.has_transformers():
        return None
    from transformers.models.mamba import modeling_mamba

    form = getattr(modeling_mamba, "mamba_selective_scan", None)

    def in_our_layout(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
        assert form is not None
        # Positions come last, in memory too, as in their layer.
        y, h = form(u.mT.contiguous(), dt.mT.contiguous(), A, B.mT, C.mT, D, return_last_state=True)
        return y.mT, h

    return form and in_our_layout


def layer(sizes: tuple[int, int, int], device: torch.device) -> Case:
    """The whole mixer, with projections and convolution."""
    batch, num, width = sizes
    generator = torch_rng("benchmark", "mamba-layer")
    ours = MambaMixer(width)
    ours.reset_parameters(generator, residual_std=0.02)
    ours.to(device)
    x, weight = (torch.randn(batch, num, width, generator=generator).to(device) for _ in range(2))

    def run(mixer: nn.Module) -> list[Tensor]:
        y = mixer(x)
        return [y, *torch.autograd.grad(y, [p for _, p in sorted(mixer.named_parameters())], weight)]

    theirs = None
    if peers.has_transformers():
        from transformers import MambaConfig
        from transformers.models.mamba import modeling_mamba

        config = MambaConfig(hidden_size=width, num_hidden_layers=1, state_size=16)
        with torch.random.fork_rng(devices=[]):
            theirs = modeling_mamba.MambaMixer(config, layer_idx=0).to(device)
        theirs.load_state_dict(ours.state_dict())
    return Case(
        name=f"layer, B{batch} T{num} D{width}",
        contenders=(
            Contender(name="elegans", call=partial(run, ours)),
            Contender(name=peers.HF, call=partial(run, theirs) if theirs else None),
        ),
    )


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """The scan, then the layer."""
    with peers.quiet():
        for sizes in ((2, 12, 8, 4),) if quick else SCANS:
            yield scan(sizes, device)
        for sizes in ((2, 12, 16),) if quick else LAYERS:
            yield layer(sizes, device)
