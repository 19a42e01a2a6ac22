"""What language-modeling tasks share: every token is predicted, scores keep their position, floors are exact.

Shapes: B sequences, T predicted tokens, S = T + 1 tokens, R rows of a transition matrix, V vocabulary.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE, Batch, evaluating, token_nll
from elegans.tasks.words import check_at_least

if TYPE_CHECKING:
    import xarray as xr


def next_tokens(sequences: Int[Tensor, "B S"]) -> Batch:
    """Each token is the target of the one before."""
    return Batch(sequences[:, :-1], sequences[:, 1:])


def whole(batch: Batch) -> Int[Tensor, "B S"]:
    """The sequences of a batch made by `next_tokens`."""
    return torch.cat([batch.tokens[:, :1], batch.targets], dim=1)


def scores_by_position(model: torch.nn.Module, batch: Batch, *, tokens_at_once: int = 2**15) -> "xr.Dataset":
    """`nll` (nats) and `accuracy` of every target, dimensions (item, position); NaN where nothing is scored."""
    import xarray as xr

    device = next((p.device for p in model.parameters()), "cpu")
    rows = max(1, tokens_at_once // batch.tokens.shape[1])
    nll, right = [], []
    with evaluating(model):
        for tokens, targets in zip(batch.tokens.split(rows), batch.targets.split(rows), strict=True):
            tokens, targets = tokens.to(device), targets.to(device)
            logits = model(tokens)
            unscored = targets == IGNORE
            nll.append(token_nll(logits, targets).masked_fill(unscored, math.nan).cpu())
            right.append((logits.argmax(-1) == targets).float().masked_fill(unscored, math.nan).cpu())
    found = {"nll": torch.cat(nll), "accuracy": torch.cat(right)}
    return xr.Dataset({name: (("item", "position"), value.numpy()) for name, value in found.items()})


def shuffled(labels: Int[Tensor, "B T"], seed: int = 0) -> Int[Tensor, "B T"]:
    """The labels of each sequence in random order: a control for what is measured by label."""
    return torch.from_numpy(numpy_rng("shuffled-labels", seed).permuted(labels.numpy(), axis=1))


class Transitions:
    """Rows of probabilities [R, V], drawn from by the inverse of their distribution functions."""

    def __init__(self, probs: np.ndarray) -> None:
        self.probs = torch.from_numpy(probs)
        self._cdf = (probs.cumsum(1) + np.arange(len(probs))[:, None]).ravel()  # row r rises from r to r + 1

    def draw(self, rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One column for each of `rows`, given numbers uniform on [0, 1)."""
        num = self.probs.shape[1]
        found = np.searchsorted(self._cdf, rows + uniform, side="right") - rows * num
        return found.clip(0, num - 1)


def softmax_rows(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def stationary(transition: np.ndarray) -> np.ndarray:
    """The distribution that a chain with one recurrent class keeps: pi P = pi."""
    size = len(transition)
    equations = np.vstack([transition.T - np.eye(size), np.ones(size)])
    return np.linalg.lstsq(equations, np.r_[np.zeros(size), 1.0], rcond=None)[0].clip(0)


class LanguageTask:
    """Sequences from a known distribution; every token after the first is scored against its exact Bayes loss.

    The splits ``train``, ``select`` and ``test`` are streams of independent draws; `dataset` is a fixed sample of
    `n_eval` sequences. Sequences have `length` targets unless another length is asked for; a shorter sequence is the
    beginning of the longer one of the same address.

    Attributes:
        kinds: the names of the kinds of token that `kind_of` tells apart.
    """

    kinds: tuple[str, ...]

    def __init__(self, name: str, vocab_size: int, *, length: int, n_eval: int, seed: int) -> None:
        check_at_least(1, length=length, n_eval=n_eval)
        self.name, self.vocab_size, self.length, self.n_eval, self.seed = name, vocab_size, length, n_eval, seed
        self.splits: tuple[str, ...] = ("train", "select", "test")

    def sequences(self, rng: np.random.Generator, size: int, length: int) -> np.ndarray:
        """[size, length] tokens. Uses the numbers of `rng` in the order of the positions."""
        raise NotImplementedError

    def bayes_nll(self, tokens: Int[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """Nats of each token given those before it, for who knows the distribution; inf for the impossible."""
        raise NotImplementedError

    def kind_of(self, tokens: Int[Tensor, "B S"]) -> Int[Tensor, "B S"]:
        """Which of `kinds` each token is."""
        raise NotImplementedError

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0, length: int | None = None) -> Batch:
        """`size` fresh sequences; batch `step` of stream `seed`. Raises `KeyError` for an unknown split."""
        if split not in self.splits:
            raise KeyError(f"no split {split!r}; this task has {', '.join(self.splits)}")
        length = self.length if length is None else length
        check_at_least(1, length=length)
        rng = numpy_rng(self.name, self.seed, split, seed, step)
        return next_tokens(torch.from_numpy(self.sequences(rng, size, length + 1)))

    def dataset(self, split: str, length: int | None = None) -> Batch:
        """A fixed sample of `n_eval` sequences, none of which `batch` draws."""
        return self.batch(split, self.n_eval, step=-1, seed=-1, length=length)

    def floor(self, batch: Batch) -> Float[Tensor, "B T"]:
        """The Bayes loss of every target, nats."""
        return self.bayes_nll(whole(batch))[:, 1:]

    def target_kinds(self, batch: Batch) -> Int[Tensor, "B T"]:
        """Which of `kinds` every target is."""
        return self.kind_of(whole(batch))[:, 1:]

    def evaluate(self, model: torch.nn.Module, split: str, length: int | None = None) -> "xr.Dataset":
        """`nll` and `accuracy` of every target of `dataset`, its `floor` (nats) and `kind` (index into `kinds`)."""
        items = self.dataset(split, length)
        dims = ("item", "position")
        return scores_by_position(model, items).assign(
            floor=(dims, self.floor(items).numpy()), kind=(dims, self.target_kinds(items).numpy())
        )

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess among all tokens; `nll` in nats per token."""
        if split not in self.splits:
            raise KeyError(f"no split {split!r}; this task has {', '.join(self.splits)}")
        return {"nll": math.log(self.vocab_size), "accuracy": 1 / self.vocab_size}
