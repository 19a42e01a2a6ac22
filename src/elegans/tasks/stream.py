"""Tasks with endless splits: fresh items at every step, and a fixed sample of each split to score on.

Shapes: B batch, T positions, N items, K places of a ragged piece.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE, Batch, evaluating, token_nll
from elegans.tasks.words import check_at_least

if TYPE_CHECKING:
    import xarray as xr


class StreamTask:
    """Draws items on the fly; a subclass says how in `_draw` and names its random streams in `address`.

    Args:
        vocab_size: number of tokens.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples.
    """

    address: str
    splits: tuple[str, ...] = ("train", "select", "test")

    def __init__(self, vocab_size: int, *, n_eval: int, seed: int) -> None:
        check_at_least(1, n_eval=n_eval)
        self.vocab_size, self.n_eval, self.seed = vocab_size, n_eval, seed
        self._fixed: dict[str, Batch] = {}

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """`size` fresh items: batch `step` of stream `seed`, a pure function of its arguments."""
        self._check(split)
        return self._draw(split, size, step, numpy_rng(self.address, "batch", split, seed, step))

    def dataset(self, split: str) -> Batch:
        """The `n_eval` fixed items of a split. Raises `KeyError` with the known splits for another name."""
        self._check(split)
        if split not in self._fixed:
            self._fixed[split] = self._sample(split, numpy_rng(self.address, "dataset", split, self.seed))
        return self._fixed[split]

    def evaluate(self, model: nn.Module, split: str) -> "xr.Dataset":
        """Teacher-forced scores of every item of `dataset(split)`, with the levels of a guess as attributes.

        `nll` in nats over the scored tokens of an item, `token_accuracy` the share of them (of those that the task
        counts) that is the argmax, `accuracy` 1 if all are, which is exact match under greedy decoding.
        """
        import xarray as xr

        items = self.dataset(split).to(next((p.device for p in model.parameters()), torch.device("cpu")))
        counted = self._counted(items.targets)
        with evaluating(model):
            logits = model(items.tokens)
            right = logits.argmax(-1) == items.targets
            found = {
                "nll": token_nll(logits, items.targets).sum(-1),
                "token_accuracy": (right & counted).sum(-1) / counted.sum(-1),
                "accuracy": (right | (items.targets == IGNORE)).all(-1).float(),
            }
        levels = {f"chance_{name}": level for name, level in self.chance(split).items()}
        return xr.Dataset({name: ("item", value.cpu().numpy()) for name, value in found.items()}, attrs=levels)

    def chance(self, split: str) -> Mapping[str, float]:
        """What a guess reaches on `split`, by metric name."""
        raise NotImplementedError

    def _draw(self, split: str, size: int, step: int, rng: np.random.Generator) -> Batch:
        raise NotImplementedError

    def _sample(self, split: str, rng: np.random.Generator) -> Batch:
        return self._draw(split, self.n_eval, 0, rng)

    def _counted(self, targets: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
        return targets != IGNORE

    def _check(self, split: str) -> None:
        if split not in self.splits:
            raise KeyError(f"no split {split!r}; this task has {', '.join(self.splits)}")

    def _uniform_nll(self, split: str) -> float:
        """Mean nats per item of a uniform guess among all tokens at every scored place."""
        return (self.dataset(split).targets != IGNORE).sum(-1).double().mean().item() * math.log(self.vocab_size)


def sequences(full: np.ndarray, scored: np.ndarray) -> Batch:
    """Next-token prediction of sequences [B, T + 1]; targets are the tokens where `scored` [B, T + 1] is true."""
    targets = np.where(scored, full, IGNORE)[:, 1:]
    return Batch(torch.from_numpy(full[:, :-1].copy()), torch.from_numpy(targets))


def concatenate(pieces: Sequence[tuple[np.ndarray, np.ndarray | int]], *, width: int, fill: int) -> np.ndarray:
    """Ragged pieces side by side: of each (values [N, K], lengths [N] or one for all), row by row the first `lengths`.

    Rows are filled up to `width` with `fill`; what goes beyond `width` is cut.
    """
    size = len(pieces[0][0])
    out = np.full((size, width), fill, dtype=np.int64)
    start = np.zeros(size, dtype=np.int64)
    for values, lengths in pieces:
        lengths = np.broadcast_to(lengths, size)
        place = start[:, None] + np.arange(values.shape[1])
        row, column = np.nonzero((np.arange(values.shape[1]) < lengths[:, None]) & (place < width))
        out[row, place[row, column]] = values[row, column]
        start = start + lengths
    return out


def constant(size: int, token: int) -> np.ndarray:
    """A column [size, 1] of one token, a piece for `concatenate`."""
    return np.full((size, 1), token, dtype=np.int64)
