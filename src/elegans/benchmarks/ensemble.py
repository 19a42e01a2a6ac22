"""One training step of N models as a vmapped `Ensemble`, and one after another.

It supports `CPU_LIMIT` in `elegans.training.ensemble`: up to so many parameters a CPU is faster with the stack.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from elegans.benchmarks.harness import Case, Contender, Goal
from elegans.models.registry import build
from elegans.ops.rng import torch_rng
from elegans.tasks.base import Batch, facts
from elegans.training.ensemble import CPU_LIMIT, Ensemble
from elegans.training.loop import mean_nll
from elegans.training.optim import Optim

MODELS, WIDTHS, MEMBERS = ("bilinear", "one-layer", "gpt"), (8, 16, 32, 64), (4, 8)
VOCAB, ITEMS = 64, 64


def make(name: str, width: int, seed: int) -> nn.Module:
    """A model of the size that a study would give it: for the one-layer model the width is that of the vocabulary."""
    if name == "gpt":
        return build("gpt", vocab=VOCAB, width=width, depth=2, heads=2, context=8, seed=seed)
    if name == "bilinear":
        return build("bilinear", vocab=VOCAB, width=width, init_std=0.1, seed=seed)
    return build("one-layer", vocab=width, seed=seed)


def items(vocab: int, seed: int) -> Batch:
    """Prompts of 3 tokens, each with an answer of one."""
    tokens = torch.randint(vocab, (ITEMS, 4), generator=torch_rng("benchmark", "ensemble", seed))
    return facts(tokens[:, :3], tokens[:, 3:])


def stepper(model: nn.Module, batch: Batch) -> Callable[[], Tensor]:
    """A function that takes one training step and returns the loss before it, of each member."""
    optimizer = Optim(lr=1e-3).build(model)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = mean_nll(model, batch)
        loss.sum().backward()
        optimizer.step()
        return loss.detach()

    return step


def compare(name: str, width: int, members: int, device: torch.device) -> Case:
    """A case; the losses of three steps must agree."""
    models = [make(name, width, seed).to(device) for seed in range(members)]
    batches = [items(width if name == "one-layer" else VOCAB, seed).to(device) for seed in range(members)]
    together = Batch(torch.stack([b.tokens for b in batches]), torch.stack([b.targets for b in batches]))
    stacked = stepper(Ensemble(models).to(device), together)
    single = [stepper(model, batch) for model, batch in zip(models, batches, strict=True)]
    parameters = sum(p.numel() for p in models[0].parameters() if p.requires_grad)
    pays = device.type == "cuda" or parameters <= CPU_LIMIT
    return Case(
        name=f"{name} D{width}, {members} members",
        contenders=(
            Contender(name="stack", call=lambda: [stacked()], facts={"parameters": parameters}),
            Contender(
                name="loop",
                call=lambda: [torch.stack([step() for step in single])],
                goal=Goal(at_least=1.0) if pays else None,
            ),
        ),
        checks=3,
    )


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """Three models, four widths, two numbers of members."""
    sizes = itertools.product(MODELS, WIDTHS[:1] if quick else WIDTHS, MEMBERS[:1] if quick else MEMBERS)
    for name, width, members in sizes:
        yield compare(name, width, members, device)
