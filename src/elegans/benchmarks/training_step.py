"""A whole training step (loss, gradients, fused AdamW) of our models and of Hugging Face's, from the same weights.

Width 64, 2 layers. Shapes: B batch, T positions.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elegans.benchmarks import peers
from elegans.benchmarks.harness import Case, Contender, Goal
from elegans.models.registry import build
from elegans.ops.rng import torch_rng

VOCAB, WIDTH, DEPTH = 256, 64, 2
OWN: dict[str, dict[str, Any]] = {"gpt": {"context": 128}, "rwkv4": {"l2_wrap": False, "matrices": "orthogonal"}}
"""Theirs has no L2 wrap; matrices that start at zero would hide a wrong gradient."""
GOALS = {"gpt": 1.1, "rwkv4": 4.0, "mamba": 20.0}
"""How many times as long as ours theirs takes, at least, on a CPU."""


def contender(
    name: str, model: nn.Module, logits: Callable[[Tensor], Tensor], tokens: Tensor, goal: Goal | None = None
) -> Contender:
    """The step of a model; its loss and the norm of its gradient must agree."""
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def step() -> Tensor:
        loss = F.cross_entropy(logits(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def values(loss: Tensor) -> list[Tensor]:
        return [loss, nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])]

    return Contender(name=name, call=step, values=values, goal=goal)


def compare(name: str, batch: int, num: int, device: torch.device) -> Case:
    """A case: the first three steps must agree."""
    ours = build(name, vocab=VOCAB, width=WIDTH, depth=DEPTH, **OWN.get(name, {})).to(device).train()
    tokens = torch.randint(VOCAB, (batch, num + 1), generator=torch_rng("benchmark", "step")).to(device)
    goal = Goal(at_least=GOALS[name]) if device.type == "cpu" else None
    peer = Contender(name=peers.HF, call=None, goal=goal)
    if peers.has_transformers():
        theirs = peers.copy_of(ours)
        peer = contender(peers.HF, theirs, lambda x: theirs(x).logits, tokens, goal)
    return Case(
        name=f"{name}, B{batch} T{num}",
        contenders=(contender("elegans", ours, ours, tokens), peer),
        tolerance=1e-3,
        checks=3,
    )


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """GPT-2, RWKV-4, Mamba."""
    with peers.quiet():
        for name in GOALS:
            yield compare(name, *((1, 8) if quick else (16, 128)), device)
