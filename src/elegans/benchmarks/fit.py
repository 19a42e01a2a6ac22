"""What `fit` costs over a training loop written by hand: both train the same GPT on the same batches.

The goal of 5 % leaves room for progress and checkpoints, not for work done twice.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elegans.benchmarks.harness import Case, Contender, Goal
from elegans.models.gpt import GPT
from elegans.ops.rng import torch_rng
from elegans.tasks.base import Batch
from elegans.training import Optim, fit
from elegans.training.checkpoint import Point

VOCAB, BATCH, LENGTH = 128, 64, 32
OPTIM = Optim(lr=1e-3, weight_decay=0.1)


class RandomText:
    """Random tokens, every position scored, made beforehand: the data costs both loops the same."""

    vocab_size, splits = VOCAB, ("train",)

    def __init__(self, steps: int, device: torch.device) -> None:
        tokens = torch.randint(VOCAB, (steps, BATCH, LENGTH + 1), generator=torch_rng("benchmark", "fit")).to(device)
        self.batches = [Batch(t[:, :-1].contiguous(), t[:, 1:].contiguous()) for t in tokens]

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """The batch of a step."""
        return self.batches[step % len(self.batches)]

    def dataset(self, split: str) -> Batch:
        """The first batch."""
        return self.batches[0]

    def chance(self, split: str) -> dict[str, float]:
        """Unknown."""
        return {}


class Watched:
    """A run that takes progress and never saves: what the lab costs between two checkpoints."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def progress(self, step: int, total: int, **metrics: float) -> None:
        """Nobody looks."""

    def checkpoint(self, name: str) -> "Watched":
        """Nothing is kept."""
        return self

    def load(self) -> Point | None:
        """No point."""
        return None

    def save(self, point: Point) -> None:
        """Forget it."""


def by_hand(model: GPT, task: RandomText) -> None:
    """The loop that one would write."""
    undecayed = model.undecayed()
    groups = [
        {"params": [p for n, p in model.named_parameters() if n not in undecayed], "weight_decay": 0.1},
        {"params": [p for n, p in model.named_parameters() if n in undecayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    for batch in task.batches:
        loss = F.cross_entropy(model(batch.tokens).flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def weights(model: nn.Module) -> list[Tensor]:
    """All parameters."""
    return list(model.parameters())


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """One size: width 64, 2 layers. A call is many steps, after which both models have the same weights."""
    steps = 2 if quick else 20
    task, run = RandomText(steps, device), Watched(device)
    one, other = (GPT(vocab=VOCAB, width=64, depth=2, heads=4, context=LENGTH).to(device) for _ in range(2))
    yield Case(
        name=f"GPT D64 L2, B{BATCH} T{LENGTH}, {steps} steps",
        contenders=(
            Contender(name="by hand", call=lambda: by_hand(one, task), values=lambda _: weights(one)),
            Contender(
                name="fit",
                call=lambda: fit(other, task, steps=steps, optim=OPTIM, evaluate_at=[], run=run),
                values=lambda _: weights(other),
                goal=Goal(at_most=1.05),
            ),
        ),
    )
