"""Can a model tell where it is? Tasks whose answer is the position, in the manner of Luo et al. 2022 (arXiv 2205.13401).

Relative positions and attention weights that sum to 1 make all positions of a constant input look alike.

Shapes: B sequences, N positions, T = N, or N + 1 with a beginning-of-sequence token.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE, Batch
from elegans.tasks.language import scores_by_position
from elegans.tasks.words import check_at_least

if TYPE_CHECKING:
    import xarray as xr


class PositionTask:
    """Inputs without structure, `n_positions` tokens uniform over `n_tokens` kinds; what to say depends on the place.

    One kind of token is the constant input. `bos` puts a token of its own before them, where nothing is scored. The
    splits ``train`` and ``test`` are streams of independent draws; `dataset` is a fixed sample of `n_eval` sequences.
    """

    def __init__(
        self, name: str, *, n_positions: int, n_tokens: int, n_labels: int, bos: bool, n_eval: int, seed: int
    ) -> None:
        check_at_least(1, n_positions=n_positions, n_tokens=n_tokens, n_eval=n_eval)
        self.name, self.seed = name, seed
        self.n_positions, self.n_tokens, self.n_labels, self.n_eval = n_positions, n_tokens, n_labels, n_eval
        self.bos_token = n_labels + n_tokens if bos else None
        self.vocab_size = n_labels + n_tokens + bos
        self.splits: tuple[str, ...] = ("train", "test")

    def labels(self, inputs: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
        """What to say at each position."""
        raise NotImplementedError

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """`size` fresh sequences; batch `step` of stream `seed`. Raises `KeyError` for an unknown split."""
        if split not in self.splits:
            raise KeyError(f"no split {split!r}; this task has {', '.join(self.splits)}")
        rng = numpy_rng(self.name, self.seed, split, seed, step)
        inputs = torch.from_numpy(rng.integers(0, self.n_tokens, (size, self.n_positions))) + self.n_labels
        targets = self.labels(inputs)
        if self.bos_token is None:
            return Batch(inputs, targets)
        first = torch.full((size, 1), self.bos_token)
        return Batch(torch.cat([first, inputs], dim=1), torch.cat([torch.full_like(first, IGNORE), targets], dim=1))

    def dataset(self, split: str) -> Batch:
        """A fixed sample of `n_eval` sequences, none of which `batch` draws."""
        return self.batch(split, self.n_eval, step=-1, seed=-1)

    def evaluate(self, model: torch.nn.Module, split: str) -> "xr.Dataset":
        """`nll` (nats) and `accuracy` at every position, with the levels of a guess as attributes."""
        levels = {f"chance_{name}": level for name, level in self.chance(split).items()}
        return scores_by_position(model, self.dataset(split)).assign_attrs(levels)

    def chance(self, split: str) -> Mapping[str, float]:
        """What a reader reaches who sees the token but not the place."""
        raise NotImplementedError


class PositionIdentification(PositionTask):
    """Say at each position its number. Labels are the tokens ``0..N-1``, inputs the ``n_tokens`` after them."""

    def __init__(
        self, *, n_positions: int = 64, n_tokens: int = 1, bos: bool = False, n_eval: int = 64, seed: int = 0
    ) -> None:
        super().__init__(
            "position-identification",
            n_positions=n_positions,
            n_tokens=n_tokens,
            n_labels=n_positions,
            bos=bos,
            n_eval=n_eval,
            seed=seed,
        )

    def labels(self, inputs: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
        """0, 1, 2, ..."""
        return torch.arange(inputs.shape[1]).repeat(len(inputs), 1)

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess among the positions."""
        return {"nll": math.log(self.n_positions), "accuracy": 1 / self.n_positions}


class EvenToken(PositionTask):
    """Say the token itself at every second position (the 2nd, 4th, ...) and ``skip`` at the others.

    This is our reading of Even Token Prediction for a model that reads from left to right, in which a position cannot
    say what comes later; the paper's task is not defined here. The label ``skip`` is token 0, inputs are the
    ``n_tokens`` after it.
    """

    def __init__(
        self, *, n_positions: int = 64, n_tokens: int = 1, bos: bool = False, n_eval: int = 64, seed: int = 0
    ) -> None:
        super().__init__(
            "even-token", n_positions=n_positions, n_tokens=n_tokens, n_labels=1, bos=bos, n_eval=n_eval, seed=seed
        )

    def labels(self, inputs: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
        """``skip``, the token, ``skip``, the token, ..."""
        return inputs * (torch.arange(inputs.shape[1]) % 2)

    def chance(self, split: str) -> Mapping[str, float]:
        """A coin between ``skip`` and the token, weighted by how often each is right."""
        even = (self.n_positions // 2) / self.n_positions
        nll = -sum(p * math.log(p) for p in (even, 1 - even) if p > 0)
        return {"nll": nll, "accuracy": 1 - even}
