"""Hybrid items as token sequences to train on: labelled lines of a format, and unlabelled texts for pretraining.

Shapes: B batch, T positions, N lines.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE, Batch, FiniteTask
from elegans.tasks.hybrid.corpus import HybridCorpus
from elegans.tasks.hybrid.formats import Line, Markers, Serializer, encode, masks
from elegans.tasks.hybrid.items import HybridItem
from elegans.tasks.stream import StreamTask, concatenate, constant, sequences
from elegans.tasks.vocabulary import token_table


class HybridTask(FiniteTask):
    """Labelled lines of a format; what is behind the prompt is scored.

    Args:
        serializer: of the format.
        items: by split, for example of ``HybridCorpus.items`` or `elegans.tasks.jsonl.load_hybrid`.
        ids: the token of each word, type, label and marker.
        drop: the probability that a line of ``train`` is drawn without the level that is given besides the text, so
            that the model learns to do without.
        shuffled: the control, in all splits: the spans and types (words) or the label that are given are those of
            another item of the split, at random.
        vocab_size: by default one more than the highest token.
        pad: the token that fills lines up.
        bos: the token that starts each line.
        seed: of the shuffling.

    Raises `ValueError` for an empty split, a word without token, and where nothing is given to shuffle or to drop.

    Attributes:
        lines: by split, in the order of the items.
        items: by split.
    """

    def __init__(
        self,
        serializer: Serializer,
        items: Mapping[str, Sequence[HybridItem]],
        ids: Mapping[str, int],
        *,
        drop: float = 0.0,
        shuffled: str | None = None,
        vocab_size: int | None = None,
        pad: int = 0,
        bos: int | None = None,
        seed: int = 0,
    ) -> None:
        level = {"words": "W", "label": "y", None: serializer.given}
        if shuffled not in level:
            raise ValueError(f"shuffled must be 'words', 'label' or None, got {shuffled!r}")
        if level[shuffled] != serializer.given:
            raise ValueError(f"the format {serializer.format} is not given the {shuffled} that should be shuffled")
        if not 0 <= drop < 1 or (drop and not serializer.given):
            raise ValueError(f"drop must be in [0, 1), and 0 where nothing is given besides the text; got {drop}")
        if empty := [split for split, found in items.items() if not found]:
            raise ValueError(f"split {empty[0]!r} has no items")
        self.serializer, self.drop, self.bos = serializer, drop, bos
        self.items = {split: tuple(found) for split, found in items.items()}
        self.lines: dict[str, list[Line]] = {}
        bare: dict[str, list[Line]] = {}
        for split, found in self.items.items():
            others = _others(len(found), numpy_rng("hybrid-task", "shuffled", split, seed))
            self.lines[split] = [
                serializer.line(
                    item,
                    words_of=found[other] if shuffled == "words" else None,
                    label=found[other].label if shuffled == "label" else None,
                )
                for item, other in zip(found, others, strict=True)
            ]
            bare[split] = [serializer.line(item, dropped=True) for item in found]
        width = max(len(line.words) for lines in self.lines.values() for line in lines) + (bos is not None)
        full, without = (
            {split: encode(lines, ids, width=width, pad=pad, bos=bos) for split, lines in each.items()}
            for each in (self.lines, bare)
        )
        self._without = without
        super().__init__(vocab_size or max(ids.values()) + 1, full)

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """`size` lines drawn uniformly with replacement; batch `step` of stream `seed`."""
        rng = numpy_rng("hybrid-task", split, seed, step)
        index = torch.from_numpy(rng.integers(0, len(self.dataset(split)), size))
        found = self.dataset(split).take(index)
        if split != "train" or not self.drop:
            return found
        bare, dropped = self._without[split].take(index), torch.from_numpy(rng.random((size, 1)) < self.drop)
        return Batch(torch.where(dropped, bare.tokens, found.tokens), torch.where(dropped, bare.targets, found.targets))

    def without_given(self, split: str) -> Batch:
        """All lines of a split without the level that is given besides the text."""
        self.dataset(split)
        return self._without[split]

    def groups(self, split: str) -> dict[str, Bool[Tensor, "N T"]]:
        """Where the parts of the lines of ``dataset(split)`` are, see `Line.groups`."""
        return masks(self.lines[split], self.dataset(split).tokens.shape[1], shift=int(self.bos is not None))

    def chance(self, split: str) -> Mapping[str, float]:
        """`accuracy`: the share of the most frequent target; `nll` of a guess among all tokens."""
        targets = self.dataset(split).targets
        written = Counter(tuple(row[row != IGNORE].tolist()) for row in targets)
        guess = math.log(self.vocab_size) * (targets != IGNORE).sum().item() / len(targets)
        return {"nll": guess, "accuracy": written.most_common(1)[0][1] / len(targets)}


class HybridPretraining(StreamTask):
    """Unlabelled texts of a corpus, ``X [ABOUT] w``: w is a word of the text's own subtopic. All words are scored.

    With probability `type_evidence` an entity is followed by its type, which stands for what a language model knows of
    the world.

    Args:
        corpus: of the texts.
        ids: the token of each word of ``corpus.vocabulary(markers)``.
        type_evidence: see above.
        markers: of which `about` is used.
        vocab_size: by default one more than the highest token.
        pad: the token that fills sequences up.
        bos: the token that starts each sequence.
        n_eval: texts in the fixed sample of each split.
        seed: of the fixed samples.
    """

    address = "hybrid-pretraining"

    def __init__(
        self,
        corpus: HybridCorpus,
        ids: Mapping[str, int],
        *,
        type_evidence: float = 0.3,
        markers: Markers | None = None,
        vocab_size: int | None = None,
        pad: int = 0,
        bos: int | None = None,
        n_eval: int = 256,
        seed: int = 0,
    ) -> None:
        if not 0 <= type_evidence <= 1:
            raise ValueError(f"type_evidence must be in [0, 1], got {type_evidence}")
        super().__init__(vocab_size or max(ids.values()) + 1, n_eval=n_eval, seed=seed)
        self.corpus, self.type_evidence, self.pad, self.bos = corpus, type_evidence, pad, bos
        self._words, self._types = token_table(corpus.words, ids), token_table(corpus.types, ids)
        self._about = int(token_table([(markers or Markers()).about], ids)[0])

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess among all tokens, `nll` in nats per text."""
        length = (self.dataset(split).targets != IGNORE).sum(1).double().mean().item()
        guess = 1 / self.vocab_size
        return {"nll": self._uniform_nll(split), "token_accuracy": guess, "accuracy": guess**length}

    def _draw(self, split: str, size: int, step: int, rng: np.random.Generator) -> Batch:
        corpus = self.corpus
        texts = corpus.draw(rng, size, split)
        n_words = corpus.n_topic_words // corpus.n_subtopics
        topic = (texts.labels * corpus.n_subtopics + texts.subtopics) * n_words + rng.integers(0, n_words, size)
        typed = np.zeros(texts.words.shape, dtype=bool)
        np.put_along_axis(typed, texts.places, rng.random(texts.places.shape) < self.type_evidence, axis=1)
        types = np.zeros_like(texts.words)
        np.put_along_axis(types, texts.places, self._types[texts.types], axis=1)
        words = self._words[texts.words]
        pieces = [(constant(size, self.bos), 1)] if self.bos is not None else []
        for place in range(corpus.length):
            pieces += [(words[:, place, None], 1), (types[:, place, None], typed[:, place])]
        pieces += [(constant(size, self._about), 1), (self._words[corpus.first_topic + topic][:, None], 1)]
        width = corpus.length + corpus.n_spans + 2 + (self.bos is not None)
        lengths = width - corpus.n_spans + typed.sum(1)
        return sequences(concatenate(pieces, width=width, fill=self.pad), np.arange(width) < lengths[:, None])


def _others(count: int, rng: np.random.Generator) -> np.ndarray:
    """For each of `count` items another one, every one once; of a single item itself."""
    order = rng.permutation(count)
    found = np.empty(count, dtype=np.int64)
    found[order] = np.roll(order, 1)
    return found
