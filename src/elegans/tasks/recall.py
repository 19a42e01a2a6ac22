"""In-context recall: find what followed the trigger earlier in this sentence, among filler and noise.

Source: Nguyen and Nguyen-Tang 2025 (arXiv 2505.15009). Shapes: B sentences, T positions, N tokens, K occurrences.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE, Batch, FiniteTask, evaluating
from elegans.tasks.words import check_at_least

if TYPE_CHECKING:
    import xarray as xr


class InContextRecall(FiniteTask):
    """Sentences that end with a trigger q; somewhere before, q was followed by the answer y.

    Token ids: triggers ``0..Q-1``, answers ``Q..Q+Y-1``, other filler up to ``N-2``, the noise token tau ``N-1``.
    Filler is uniform on ``Q..N-2``, so answers occur as filler too, triggers and tau never. The bigram (q, y) stands at
    `n_answer` places; a noisy sentence (``alpha > 0``) also holds (q, tau) at `n_noise` places. Places are uniform among
    the ways in which no two bigrams, nor a bigram and the last token, overlap. Only the last position is scored:

    - noiseless: q is uniform over the triggers and y follows again;
    - noisy: q is trigger 0, and tau follows with probability `alpha`, y otherwise.

    Answers are drawn uniformly from the Y answer tokens, and in the split ``ood`` from the filler tokens
    ``Q+Y..N-2``, which training shows as filler but never as an answer. The Bayes predictor is the same for both.

    ========= ==========================================================================================
    split     items
    ========= ==========================================================================================
    train     fresh sentences at every step or, with `n_train`, that many fixed ones in a fixed order
    id        `n_eval` fixed sentences with answers of the training kind
    ood       `n_eval` fixed sentences with answers never given in training
    ========= ==========================================================================================

    `dataset` of a fresh ``train`` is `n_eval` fixed sentences of it.
    """

    def __init__(
        self,
        *,
        n_tokens: int = 60,
        length: int = 256,
        n_triggers: int = 5,
        n_outputs: int = 4,
        alpha: float = 0.0,
        n_answer: int = 1,
        n_noise: int = 1,
        n_train: int | None = None,
        n_eval: int = 512,
        seed: int = 0,
    ) -> None:
        check_at_least(1, n_triggers=n_triggers, n_outputs=n_outputs, n_answer=n_answer, n_eval=n_eval)
        check_at_least(n_triggers + n_outputs + 2, n_tokens=n_tokens)
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), got {alpha}")
        check_at_least(1, n_noise=n_noise)
        self.n_triggers, self.n_outputs, self.alpha = n_triggers, n_outputs, alpha
        self.length, self.n_answer, self.n_noise = length, n_answer, n_noise if alpha > 0 else 0
        check_at_least(2 * (self.n_answer + self.n_noise) + 1, length=length)
        if n_train is not None:
            check_at_least(1, n_train=n_train)
        self.noise_token, self.fresh = n_tokens - 1, n_train is None
        self.vocab_size = n_tokens

        def sample(split: str, size: int) -> Batch:
            return self._draw(split, size, numpy_rng("in-context-recall", seed, split, "dataset"))

        sizes = {"train": n_train or n_eval, "id": n_eval, "ood": n_eval}
        super().__init__(n_tokens, {split: sample(split, size) for split, size in sizes.items()})

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """Fresh sentences; of a fixed training list the next `size` in order, around and around."""
        if split == "train" and not self.fresh:
            items = self.dataset(split)
            return items.take((step * size + torch.arange(size)) % len(items))
        self.dataset(split)
        return self._draw(split, size, numpy_rng("in-context-recall", "batch", split, seed, step))

    @property
    def noise_rate(self) -> float:
        """The share of tau among the training targets: `alpha` for fresh sentences, counted in a fixed list."""
        if self.fresh:
            return self.alpha
        return (self.dataset("train").targets[:, -1] == self.noise_token).double().mean().item()

    @property
    def bayes_risk(self) -> float:
        """The least expected loss in nats, H2(alpha) = -alpha ln alpha - (1 - alpha) ln(1 - alpha)."""
        return -sum(p * math.log(p) for p in (self.alpha, 1 - self.alpha) if p > 0)

    def answers(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, " B"]:
        """y of each sentence, read off its text: what follows the last token earlier on and is not tau."""
        after, before = tokens[:, 1:], tokens[:, :-1]
        found = (before == tokens[:, -1:]) & (after != self.noise_token)
        return after.where(found, -1).amax(1)

    def bayes_probs(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B N"]:
        """The Bayes predictor of the last target: y with probability 1 - alpha, tau with alpha."""
        probs = torch.zeros(len(tokens), self.vocab_size, dtype=torch.double)
        probs[:, self.noise_token] = self.alpha
        return probs.scatter(1, self.answers(tokens)[:, None], 1 - self.alpha)

    def evaluate(self, model: torch.nn.Module, split: str) -> "xr.Dataset":
        """`nll` (nats) and `accuracy` of the last target of every sentence, with the levels of a guess as attributes."""
        import xarray as xr

        items = self.dataset(split)
        with evaluating(model):
            logits = last_logits(model, items.tokens).double()
            target = items.targets[:, -1]
            nll = torch.nn.functional.cross_entropy(logits, target, reduction="none")
            right = (logits.argmax(-1) == target).double()
            found = {"nll": ("item", nll.numpy()), "accuracy": ("item", right.numpy())}
        return xr.Dataset(found, attrs={f"chance_{name}": level for name, level in self.chance(split).items()})

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess among all N tokens."""
        self.dataset(split)
        return {"nll": math.log(self.vocab_size), "accuracy": 1 / self.vocab_size}

    # ------------------------------------------------------------------------------------------------ sampling

    def _draw(self, split: str, size: int, rng: np.random.Generator) -> Batch:
        unseen = self.n_triggers + self.n_outputs
        low, high = (unseen, self.vocab_size - 1) if split == "ood" else (self.n_triggers, unseen)
        trigger = rng.integers(0, self.n_triggers, size) if self.alpha == 0 else np.zeros(size, dtype=np.int64)
        answer = rng.integers(low, high, size)
        tokens = rng.integers(self.n_triggers, self.vocab_size - 1, (size, self.length))
        places = _apart(rng, size, self.n_answer + self.n_noise, self.length - 1)
        row = np.arange(size)[:, None]
        tokens[:, -1] = trigger
        tokens[row, places] = trigger[:, None]
        tokens[row, places[:, : self.n_answer] + 1] = answer[:, None]
        tokens[row, places[:, self.n_answer :] + 1] = self.noise_token
        target = np.where(rng.random(size) < self.alpha, self.noise_token, answer)
        targets = np.full_like(tokens, IGNORE)
        targets[:, -1] = target
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets))


def _apart(rng: np.random.Generator, size: int, count: int, length: int) -> np.ndarray:
    """[size, count] starts of bigrams that do not overlap in `length` places, uniform over all ordered ways.

    Distinct places among ``length - count`` become starts when each is moved by the number of bigrams before it.
    """
    chosen = np.empty((size, 0), dtype=np.int64)
    for taken in range(count):
        new = rng.integers(0, length - count - taken, size)
        for other in np.sort(chosen, axis=1).T:
            new += new >= other
        chosen = np.column_stack([chosen, new])
    return chosen + (chosen[:, None, :] < chosen[:, :, None]).sum(-1)


def last_logits(model: torch.nn.Module, tokens: Int[Tensor, "*B T"]) -> Float[Tensor, "*B N"]:
    """The logits after the last token, of a model that gives them for every position or for the last alone."""
    logits = model(tokens)
    return logits[..., -1, :] if logits.ndim > tokens.ndim else logits
