"""What a task is: seeded batches with known truth, named splits, and the level that a guess reaches.

Shapes: B batch, T positions, N items of a finite split.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from elegans.ops.rng import numpy_rng

if TYPE_CHECKING:
    import xarray as xr

IGNORE = -100
"""The target of a position that is not scored."""


@dataclass(frozen=True)
class Batch:
    """Sequences and what a model should say at each position.

    `tokens` [B, T] are the inputs; `targets` [B, T] holds at position t the token that should follow, or `IGNORE`.
    Answers are part of `tokens` (teacher forcing), so an answer's k-th token is predicted from the true ones before.
    A task whose tokens are vectors has floating `tokens` [B, T, D] and says what its `targets` are.
    """

    tokens: Int[Tensor, "*members B T"] | Float[Tensor, "*members B T D"]
    targets: Int[Tensor, "*members B T"] | Float[Tensor, "..."]

    def __len__(self) -> int:
        return self.tokens.shape[-3 if self.tokens.is_floating_point() else -2]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(self.tokens.to(device), self.targets.to(device))

    def take(self, index: Int[Tensor, " K"]) -> "Batch":
        """The items at `index`."""
        return Batch(self.tokens[index], self.targets[index])


class Task(Protocol):
    """A data distribution with known truth."""

    vocab_size: int
    splits: tuple[str, ...]

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """Batch number `step` of stream `seed`: a pure function of its arguments."""
        ...

    def dataset(self, split: str) -> Batch:
        """All items of a finite split, or a fixed large sample of an infinite one."""
        ...

    def chance(self, split: str) -> Mapping[str, float]:
        """What a guess reaches on `split`, by metric name."""
        ...


def facts(prompts: Int[Tensor, "N P"], answers: Int[Tensor, "N A"]) -> Batch:
    """Items of the form prompt, answer: the answer's tokens are scored, given the prompt and the ones before."""
    tokens = torch.cat([prompts, answers[:, :-1]], dim=1)
    targets = torch.full_like(tokens, IGNORE)
    targets[:, prompts.shape[1] - 1 :] = answers
    return Batch(tokens, targets)


def join(*batches: Batch) -> Batch:
    """The items of several batches of one length, in order."""
    return Batch(torch.cat([b.tokens for b in batches]), torch.cat([b.targets for b in batches]))


class FiniteTask:
    """A task whose splits are finite lists of items; batches draw from a split uniformly with replacement."""

    vocab_size: int

    def __init__(self, vocab_size: int, items: Mapping[str, Batch]) -> None:
        self.vocab_size = vocab_size
        self._items = dict(items)
        self.splits: tuple[str, ...] = tuple(items)

    def dataset(self, split: str) -> Batch:
        """All items of a split. Raises `KeyError` with the known splits for another name."""
        if split not in self._items:
            raise KeyError(f"no split {split!r}; this task has {', '.join(self.splits)}")
        return self._items[split]

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """`size` items drawn uniformly with replacement; batch `step` of stream `seed`."""
        items = self.dataset(split)
        if not len(items):
            raise ValueError(f"split {split!r} is empty, no batch can be drawn from it")
        index = numpy_rng("batch", split, seed, step).integers(0, len(items), size)
        return items.take(torch.from_numpy(index))

    def evaluate(self, model: torch.nn.Module, split: str) -> "xr.Dataset":
        """`nll` and `accuracy` of every item of a split, with the levels of a guess as attributes."""
        import xarray as xr

        device = next((p.device for p in model.parameters()), "cpu")
        scores = score(model, self.dataset(split).to(device))
        return xr.Dataset(
            {name: ("item", value.cpu().numpy()) for name, value in scores.items()},
            attrs={f"chance_{name}": level for name, level in self.chance(split).items()},
        )

    def chance(self, split: str) -> Mapping[str, float]:
        """What a guess reaches on `split`, by metric name."""
        raise NotImplementedError


def token_nll(logits: Float[Tensor, "*B T V"], targets: Int[Tensor, "*B T"]) -> Float[Tensor, "*B T"]:
    """Negative log-likelihood in nats of each scored target, 0 where the target is `IGNORE`."""
    flat = cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE, reduction="none")
    return flat.view(targets.shape)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """No gradients and no dropout inside; every module's mode is restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(modes[0][1])
        for module, training in modes:
            module.training = training


def score(model: torch.nn.Module, batch: Batch) -> dict[str, Float[Tensor, "*B"]]:
    """Per item: `nll` (nats, summed over the answer's tokens) and `accuracy` (1 if every answer token is the argmax).

    An answer whose every token is the argmax given the true tokens before it is exactly what greedy decoding produces,
    so `accuracy` is exact match without generating. Dropout is off while scoring.
    """
    with evaluating(model):
        logits = model(batch.tokens)
        scored = batch.targets != IGNORE
        right = (logits.argmax(-1) == batch.targets) | ~scored
        return {"nll": token_nll(logits, batch.targets).sum(-1), "accuracy": right.all(-1).float()}
