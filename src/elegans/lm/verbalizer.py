"""Classes read off the next token: verbalizers from words to classes.

Manual verbalizers name a class by a few words; knowledgeable ones (KPT, Hu et al. 2022, arXiv 2108.02035) by many, here
the words that a few labelled texts mark as evidence of the class. Shapes: N prompts, W label words, C classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from elegans.lm.model import TextModel
from elegans.lm.prompting import next_log_probs
from elegans.lm.tokens import encode_items, require_texts
from elegans.tasks.base import Batch, FiniteTask
from elegans.training.loop import fit
from elegans.training.optim import Optim


class Verbalizer(Protocol):
    """Anything that turns what a model would say next into classes."""

    def scores(self, lm: TextModel, prompts: Sequence[str], *, batch_size: int = 32) -> xr.DataArray:
        """Log-scores of the classes, dimensions (item, class), normalized over the classes."""
        ...


@dataclass(frozen=True)
class ManualVerbalizer:
    """A class scores the weighted mean, over its words, of log p(word | prompt) - prior(word).

    Prompts end alike, as those of a template do, so that a word starts with the same token after each of them.

    Attributes:
        words: of each class; the first is its name. A word of several tokens stands for its first one.
        separator: what stands between a prompt and a word, part of the word's first token.
        prior: of every word, nats (see `calibrate`); None is no calibration.
        weights: of the words of each class, before a softmax over the class; None is the plain mean.
    """

    words: Mapping[str, Sequence[str]]
    separator: str = " "
    prior: Mapping[str, float] | None = None
    weights: Mapping[str, Sequence[float]] | None = None

    def __post_init__(self) -> None:
        for name, words in self.words.items():
            if isinstance(words, str) or not len(words):
                raise ValueError(f"class {name!r} needs a list of words, got {words!r}")
        if len(self.words) < 2:
            raise ValueError(f"a verbalizer needs at least two classes, got {len(self.words)}")

    @property
    def classes(self) -> list[str]:
        """The classes in the order of `scores`."""
        return list(self.words)

    def scores(self, lm: TextModel, prompts: Sequence[str], *, batch_size: int = 32) -> xr.DataArray:
        """Log-scores of the classes, dimensions (item, class), normalized over the classes.

        Raises `ValueError` where two classes have the same first tokens, so that nothing tells them apart.
        """
        values = self._module()(self._features(lm, prompts, batch_size)).log_softmax(-1)
        coords = {"item": np.arange(len(prompts)), "class": self.classes}
        return xr.DataArray(values.detach().numpy(), coords, ("item", "class"), name="log_score")

    def predict(self, lm: TextModel, prompts: Sequence[str], *, batch_size: int = 32) -> list[str]:
        """The class with the highest score, of each prompt."""
        best = self.scores(lm, prompts, batch_size=batch_size).argmax("class").to_numpy()
        return [self.classes[i] for i in best]

    def calibrate(self, lm: TextModel, prompts: Sequence[str], *, batch_size: int = 32) -> Self:
        """The same with a prior for every word: the mean of log p(word | prompt) over unlabelled prompts.

        This is the mean logit that OpenPrompt calibrates with, up to a constant that all classes share.
        """
        flat = self._flat()
        tokens = _first_tokens(lm, prompts, flat, self.separator)
        mean = next_log_probs(lm, prompts, tokens, batch_size=batch_size).mean(0)
        return replace(self, prior=dict(zip(flat, mean.tolist(), strict=True)))

    def learn(
        self,
        lm: TextModel,
        prompts: Sequence[str],
        labels: Sequence[str],
        *,
        steps: int = 100,
        lr: float = 5e-2,
        batch_size: int = 32,
    ) -> Self:
        """The same with weights that maximize the likelihood of the labels of a few prompts; the model is left as it is.

        They start at 0, the plain mean, and move by full-batch AdamW without decay.
        """
        unknown = sorted(set(labels) - set(self.classes))
        if unknown or len(labels) != len(prompts):
            raise ValueError(
                f"{len(prompts)} prompts need as many labels among {self.classes}, got {len(labels)}, {unknown}"
            )
        values = torch.tensor([[self.classes.index(label)] for label in labels])
        task = FiniteTask(len(self.classes), {"train": Batch(self._features(lm, prompts, batch_size)[:, None], values)})
        module = replace(self, weights=None)._module()

        def objective(net: nn.Module, batch: Batch) -> Tensor:
            return cross_entropy(net(batch.tokens[:, 0]), batch.targets[:, 0].long())

        fit(module, task, steps=steps, batch_size=None, optim=Optim(lr=lr), evaluate_at=(), objective=objective)
        parts = module.weights.detach().split(self._sizes())
        return replace(self, weights={name: part.tolist() for name, part in zip(self.words, parts, strict=True)})

    def _features(self, lm: TextModel, prompts: Sequence[str], batch_size: int) -> Float[Tensor, "N W"]:
        """Calibrated log-probabilities of the words of all classes, one class after the other."""
        flat = self._flat()
        tokens = _first_tokens(lm, prompts, flat, self.separator)
        own = [tuple(part.tolist()) for part in torch.tensor(tokens).split(self._sizes())]
        if len({frozenset(part) for part in own}) < len(own):
            raise ValueError("two classes have the same first tokens, nothing tells them apart; choose other words")
        found = next_log_probs(lm, prompts, tokens, batch_size=batch_size)
        if self.prior is not None:
            found = found - torch.tensor([self.prior[word] for word in flat], dtype=found.dtype)
        return found

    def _flat(self) -> list[str]:
        return [word for words in self.words.values() for word in words]

    def _sizes(self) -> list[int]:
        return [len(words) for words in self.words.values()]

    def _module(self) -> "_WeightedMean":
        module = _WeightedMean(self._sizes())
        if self.weights is not None:
            with torch.no_grad():
                module.weights.copy_(torch.tensor([weight for name in self.words for weight in self.weights[name]]))
        return module


@dataclass(frozen=True)
class KnowledgeableVerbalizer(ManualVerbalizer):
    """A verbalizer with many words per class, chosen by what a few labelled texts mark and by calibration."""

    @classmethod
    def from_examples(
        cls,
        lm: TextModel,
        names: Mapping[str, str],
        examples: Iterable[tuple[str, Iterable[str]]],
        prompts: Sequence[str],
        *,
        drop: float = 0.5,
        separator: str = " ",
        batch_size: int = 32,
    ) -> "KnowledgeableVerbalizer":
        """The words of a class are its name and what is annotated in the labelled texts of the class.

        Args:
            lm: the model, for tokens and calibration.
            names: of the classes: the word that names each.
            examples: (class, annotated words) of each labelled text.
            prompts: unlabelled, for the prior of each word, which is subtracted from its log-probability.
            drop: share of the annotated words, those with the lowest prior, that are left out (0.5 in OpenPrompt).
                Names stay.
            separator: see `ManualVerbalizer`.
            batch_size: prompts per pass.

        Words of a class with the same first token count once. Raises `ValueError` for a class that has no name.
        """
        if not 0 <= drop < 1:
            raise ValueError(f"drop must be in [0, 1), got {drop}")
        words = {name: [word] for name, word in names.items()}
        for name, annotated in examples:
            if name not in words:
                raise ValueError(f"class {name!r} of an example has no name; classes with one: {', '.join(words)}")
            if isinstance(annotated, str):
                raise ValueError(f"the words of an example are a list, got {annotated!r}")
            words[name] += annotated
        whole = cls({name: _distinct(lm, prompts, some, separator) for name, some in words.items()}, separator)
        whole = whole.calibrate(lm, prompts, batch_size=batch_size)
        prior = whole.prior
        assert prior is not None
        marked = {word for some in whole.words.values() for word in some[1:]}
        rare = set(sorted(marked, key=lambda word: (prior[word], word))[: int(drop * len(marked))])
        kept = {name: [some[0], *(word for word in some[1:] if word not in rare)] for name, some in whole.words.items()}
        return replace(whole, words=kept)


class _WeightedMean(nn.Module):
    """Class c of features x: sum_w softmax(weights of c)_w x_w."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.weights = nn.Parameter(torch.zeros(sum(sizes), dtype=torch.float64))

    def forward(self, features: Float[Tensor, "N W"]) -> Float[Tensor, "N C"]:
        pairs = zip(self.weights.split(self.sizes), features.split(self.sizes, dim=1), strict=True)
        return torch.stack([x @ w.softmax(0) for w, x in pairs], dim=1)


def _distinct(lm: TextModel, prompts: Sequence[str], words: Sequence[str], separator: str) -> list[str]:
    """The words without those that have the first token of an earlier one."""
    found: dict[int, str] = {}
    for word, token in zip(words, _first_tokens(lm, prompts, words, separator), strict=True):
        found.setdefault(token, word)
    return list(found.values())


def _first_tokens(lm: TextModel, prompts: Sequence[str], words: Sequence[str], separator: str) -> list[int]:
    prompt = require_texts(prompts)[0]
    items = encode_items(lm.tokenizer, [(prompt, separator + word) for word in words])
    return [ids[start] for ids, start in items]
