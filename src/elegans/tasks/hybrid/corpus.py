"""A corpus of texts with a label and typed words, and a dial for how much one tells about the other.

The task is that of the mutual reinforcement effect (Gan et al. 2024, arXiv 2403.02902); the corpus is ours. Shapes:
N texts, L words of a text, m entities of a text, C classes, S subtopics of a class.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from elegans.ops.rng import numpy_rng
from elegans.tasks.hash_split import SPLITS, check_split, in_split
from elegans.tasks.hybrid.formats import Markers
from elegans.tasks.hybrid.items import HybridItem, Span
from elegans.tasks.words import check_at_least, check_range

ROUNDS = 1000
"""Times that texts of other splits are drawn again."""


@dataclass(frozen=True)
class HybridTexts:
    """Texts of a corpus as arrays.

    Attributes:
        words: [N, L] numbers of words in ``corpus.words``.
        labels: [N] classes.
        subtopics: [N] within the class, -1 where they are not known.
        places: [N, m] where the entities stand, ascending.
        types: [N, m] of the entities.
    """

    words: np.ndarray
    labels: np.ndarray
    subtopics: np.ndarray
    places: np.ndarray
    types: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> "HybridTexts":
        """The texts at `index`, a mask or numbers."""
        return HybridTexts(*(getattr(self, field.name)[index] for field in fields(self)))


class HybridCorpus:
    """Bags of words about a topic that mention entities, whose type may depend on the topic.

    The class of a text is uniform, and so is its subtopic. Its m entities are distinct and uniform, at uniform places.
    Each of the L - m other words is, with probability `topic_rate`, a word of the subtopic; else, with probability
    `filler_rate`, a filler; else a topic word of any class. For a share `rho` of the entities (rounded) the type is a
    random injection of the class: a name that is a person in one domain and a product in another. The others have one
    type. So types follow from text and label, and where rho is 0 neither tells anything of the other, given the text.

    A class is named by the first word of its first subtopic. Words are ``a0 a1 ...`` for the topics of the first class,
    ``b0 ...`` for those of the second, ``filler0 ...``, ``entity0 ...``; types are ``type0 ...``.

    Args:
        rho: share of entities whose type depends on the class.
        n_classes: C.
        n_topic_words: of a class, a multiple of `n_subtopics`.
        n_subtopics: S, of a class; with two, the name of a class is a word of half of its texts only.
        n_fillers: words that tell nothing.
        n_entities: words that are entities.
        n_types: of entities, at least C where `rho` > 0.
        length: L, words of a text.
        n_spans: m, entities of a text.
        topic_rate: see above.
        filler_rate: see above.
        seed: of the types.

    Attributes:
        words: fillers, topic words by class and subtopic, entities, in this order.
        labels: names of the classes.
        types: names of the types.
        type_of: [n_entities, C] the type of each entity in each class.
    """

    splits: tuple[str, ...] = SPLITS

    def __init__(
        self,
        *,
        rho: float = 1.0,
        n_classes: int = 4,
        n_topic_words: int = 8,
        n_subtopics: int = 1,
        n_fillers: int = 20,
        n_entities: int = 8,
        n_types: int = 4,
        length: int = 10,
        n_spans: int = 2,
        topic_rate: float = 0.22,
        filler_rate: float = 0.5,
        seed: int = 0,
    ) -> None:
        check_range("n_classes", n_classes, 2, 26, "the letters")
        check_at_least(1, n_subtopics=n_subtopics, n_fillers=n_fillers, n_entities=n_entities, n_types=n_types)
        check_range("n_spans", n_spans, 1, min(n_entities, length - 1), "n_entities, and length - 1")
        if n_topic_words < 1 or n_topic_words % n_subtopics:
            raise ValueError(f"n_topic_words must be a multiple of n_subtopics {n_subtopics}, got {n_topic_words}")
        if not 0 <= rho <= 1:
            raise ValueError(f"rho must be in [0, 1], got {rho}")
        for name, rate in {"topic_rate": topic_rate, "filler_rate": filler_rate}.items():
            if not 0 <= rate < 1:
                raise ValueError(f"{name} must be in [0, 1), got {rate}")
        n_ambiguous = round(rho * n_entities)
        if n_ambiguous and n_types < n_classes:
            raise ValueError(f"n_types must be at least n_classes {n_classes} where rho > 0, got {n_types}")
        self.rho, self.n_classes, self.n_topic_words, self.n_subtopics = rho, n_classes, n_topic_words, n_subtopics
        self.n_fillers, self.n_entities, self.n_types = n_fillers, n_entities, n_types
        self.length, self.n_spans, self.seed = length, n_spans, seed
        self.topic_rate, self.filler_rate = topic_rate, filler_rate

        self.first_topic, self.first_entity = n_fillers, n_fillers + n_classes * n_topic_words
        letters = string.ascii_lowercase[:n_classes]
        topics = [f"{letter}{k}" for letter in letters for k in range(n_topic_words)]
        fillers, entities = (
            [f"{name}{k}" for k in range(n)] for name, n in [("filler", n_fillers), ("entity", n_entities)]
        )
        self.words = (*fillers, *topics, *entities)
        self.labels = tuple(f"{letter}0" for letter in letters)
        self.types = tuple(f"type{k}" for k in range(n_types))

        rng = numpy_rng("hybrid", "types", seed)
        constant = rng.permutation(np.arange(n_entities) % n_types)
        self.type_of = np.repeat(constant[:, None], n_classes, axis=1)
        for entity in rng.permutation(n_entities)[:n_ambiguous]:
            self.type_of[entity] = rng.permutation(n_types)[:n_classes]

    def vocabulary(self, markers: Markers | None = None) -> tuple[str, ...]:
        """All words of texts, types and markers (the standard ones by default); labels are topic words."""
        return (*self.words, *self.types, *(markers or Markers()).all())

    def topic_words(self, label: str) -> tuple[str, ...]:
        """The words of a class, which its name is one of."""
        start = self.first_topic + self.labels.index(label) * self.n_topic_words
        return self.words[start : start + self.n_topic_words]

    # ------------------------------------------------------------------------------------------------ sampling

    def sample(self, count: int, split: str = "train", seed: int = 0, *, step: int = 0) -> HybridTexts:
        """`count` texts of a split: batch `step` of stream `seed`. A text is of one split by a hash of its words."""
        check_split(split)
        return self.draw(numpy_rng("hybrid", "texts", split, seed, step), count, split)

    def items(
        self,
        count: int,
        split: str = "train",
        seed: int = 0,
        *,
        step: int = 0,
        annotate: str = "entities",
    ) -> list[HybridItem]:
        """`sample` as labelled texts, see `render`."""
        return self.render(self.sample(count, split, seed, step=step), annotate)

    def render(self, texts: HybridTexts, annotate: str = "entities") -> list[HybridItem]:
        """Texts as words; spans are the entities with their types, or all words of the class with the type ``topic``."""
        if annotate not in ("entities", "topics"):
            raise ValueError(f"annotate must be 'entities' or 'topics', got {annotate!r}")
        of_class = (texts.words - self.first_topic) // self.n_topic_words == texts.labels[:, None]
        found = []
        for row, numbers in enumerate(texts.words.tolist()):
            words = [self.words[number] for number in numbers]
            if annotate == "entities":
                typed = zip(texts.places[row].tolist(), (self.types[t] for t in texts.types[row]), strict=True)
            else:
                typed = ((place, "topic") for place in np.flatnonzero(of_class[row]).tolist())
            starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
            spans = [Span(words[p], kind, starts[p], starts[p] + len(words[p])) for p, kind in typed]
            found.append(HybridItem(" ".join(words), self.labels[texts.labels[row]], tuple(spans)))
        return found

    def read(self, items: Sequence[HybridItem]) -> HybridTexts:
        """The arrays of items with entities as spans. Raises `ValueError` for words that are not of this corpus."""
        number = {word: i for i, word in enumerate(self.words)}
        try:
            words = np.array([[number[word] for word in item.text.split()] for item in items])
            types = np.array([[self.types.index(span.type) for span in item.spans] for item in items])
            labels = np.array([self.labels.index(item.label) for item in items])
        except (KeyError, ValueError) as error:
            raise ValueError(f"not a text of this corpus: {error}") from error
        places = np.array([[start for start, _ in item.span_words()] for item in items])
        return HybridTexts(words, labels, np.full(len(items), -1), places, types)

    def draw(self, rng: np.random.Generator, count: int, split: str) -> HybridTexts:
        """`sample` of a random stream that the caller has."""
        found, missing = [], count
        for _ in range(ROUNDS):
            drawn = self._any(rng, 2 * missing + 16)
            drawn = drawn.take(np.flatnonzero(in_split(drawn.words, split))[:missing])
            found.append(drawn)
            missing -= len(drawn)
            if not missing:
                parts = ([getattr(texts, field.name) for texts in found] for field in fields(HybridTexts))
                return HybridTexts(*map(np.concatenate, parts))
        raise ValueError(f"found {count - missing} of {count} texts for split {split!r}; there are too few texts")

    def _any(self, rng: np.random.Generator, count: int) -> HybridTexts:
        shape, m = (count, self.length), self.n_spans
        labels, subtopics = rng.integers(0, self.n_classes, count), rng.integers(0, self.n_subtopics, count)
        size = self.n_topic_words // self.n_subtopics
        own = ((labels * self.n_subtopics + subtopics) * size)[:, None] + rng.integers(0, size, shape)
        any_topic = rng.integers(0, self.n_classes * self.n_topic_words, shape)
        filler = rng.integers(0, self.n_fillers, shape)
        noise = np.where(rng.random(shape) < self.filler_rate, filler, self.first_topic + any_topic)
        words = np.where(rng.random(shape) < self.topic_rate, self.first_topic + own, noise)
        places = np.sort(rng.random(shape).argsort(1)[:, :m], axis=1)
        entities = rng.random((count, self.n_entities)).argsort(1)[:, :m]
        np.put_along_axis(words, places, self.first_entity + entities, axis=1)
        return HybridTexts(words, labels, subtopics, places, self.type_of[entities, labels[:, None]])
