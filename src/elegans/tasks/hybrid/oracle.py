"""What the best reader of a `HybridCorpus` can know: exact posteriors, ceilings, and I(Y; W | X).

X is the text without types, Y its class, W the types of its entities in order. Topic words are drawn independently given
the subtopic, so P(y | X) is naive Bayes; W is a function of X and y, so knowing W leaves the classes that are consistent
with it. Shapes: N texts (or kinds of text), m entities of a text, C classes, S subtopics, G = C S, T types.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import gammaln, softmax, xlogy

from elegans.tasks.hybrid.corpus import HybridCorpus, HybridTexts

LARGEST = 50_000
"""Up to so many counts of topic words, and sets of entities, ceilings are sums over all of them."""
SAMPLE = 50_000
"""Texts over which ceilings are means beyond that."""


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What the Bayes-optimal reader reaches on average.

    Attributes:
        text: accuracy of the class, from X.
        text_given_words: accuracy of the class, from X and W.
        words: share of entities typed right, from X; micro-F1 of (entity, type) pairs, entities being found.
        words_given_text: the same from X and y, which W is a function of.
        information: I(Y; W | X), nats.
        standard_error: the largest one of the above; 0 if they are exact sums over all kinds of text.
    """

    text: float
    text_given_words: float
    words: float
    information: float
    standard_error: float
    words_given_text: float = 1.0

    @property
    def exact(self) -> bool:
        """Whether these are sums over all kinds of text, not means over a sample."""
        return self.standard_error == 0


def label_posterior(corpus: HybridCorpus, texts: HybridTexts) -> np.ndarray:
    """P(y | X), [N, C]."""
    return _posterior(corpus, _group_counts(corpus, texts.words))


def label_posterior_given_words(corpus: HybridCorpus, texts: HybridTexts) -> np.ndarray:
    """P(y | X, W), [N, C], with the types of the texts. NaN where no class has these types."""
    consistent = (_types_by_class(corpus, texts) == texts.types[:, :, None]).all(1)
    joint = label_posterior(corpus, texts) * consistent
    with np.errstate(invalid="ignore"):
        return joint / joint.sum(1, keepdims=True)


def type_posterior(corpus: HybridCorpus, texts: HybridTexts) -> np.ndarray:
    """P(type of each entity | X), [N, m, T]."""
    return _type_share(corpus, texts, label_posterior(corpus, texts))


def type_posterior_given_label(corpus: HybridCorpus, texts: HybridTexts) -> np.ndarray:
    """P(type of each entity | X, y), [N, m, T]: 1 for the one that the class of the text implies."""
    return _type_share(corpus, texts, np.eye(corpus.n_classes)[texts.labels])


def words_probability(corpus: HybridCorpus, texts: HybridTexts) -> np.ndarray:
    """P(W | X), [N]: of all types of each text together."""
    consistent = (_types_by_class(corpus, texts) == texts.types[:, :, None]).all(1)
    return (label_posterior(corpus, texts) * consistent).sum(1)


def ceilings(corpus: HybridCorpus, *, largest: int = LARGEST) -> Ceilings:
    """The ceilings of a corpus: exact, or of a fixed sample where there are more than `largest` of either."""
    n_groups, n_slots = corpus.n_classes * corpus.n_subtopics, corpus.length - corpus.n_spans
    n_counts, n_sets = math.comb(n_slots + n_groups, n_groups), math.comb(corpus.n_entities, corpus.n_spans)
    if max(n_counts, n_sets) > largest:
        texts = corpus.sample(SAMPLE, "test", 0, step=-1)
        found = _measures(label_posterior(corpus, texts), _types_by_class(corpus, texts))
        errors = [values.std(ddof=1) / math.sqrt(SAMPLE) for values in found.values()]
        return Ceilings(**{k: float(v.mean()) for k, v in found.items()}, standard_error=max(map(float, errors)))
    counts = _compositions(n_slots, n_groups + 1)
    likelihood = _count_likelihood(corpus, counts)
    weight, posterior = likelihood.sum(1) / likelihood.sum(), _posterior(corpus, counts[:, :-1])
    sets = np.array(list(combinations(range(corpus.n_entities), corpus.n_spans)))
    tables, repeats = np.unique(_pattern(corpus.type_of[sets]), axis=0, return_counts=True)
    totals: dict[str, float] = {}
    for table, repeat in zip(tables, repeats, strict=True):
        for name, values in _measures(posterior, np.broadcast_to(table, (len(posterior), *table.shape))).items():
            totals[name] = totals.get(name, 0.0) + float(weight @ values) * int(repeat) / len(sets)
    shares = {name: min(1.0, totals[name]) for name in totals if name != "information"}  # sums may exceed 1 by rounding
    return Ceilings(**(totals | shares), standard_error=0.0)


# ---------------------------------------------------------------------------------------------------- machinery


def _measures(posterior: np.ndarray, types: np.ndarray) -> dict[str, np.ndarray]:
    """The quantities of `Ceilings` [N] by kind of text, from P(y | X) [N, C] and the types of each class [N, m, C]."""
    alike = types[:, :, :, None] == types[:, :, None, :]  # whether two classes give an entity the same type
    together = alike.all(1)
    mass = (together * posterior[:, None]).sum(-1)  # P(the W of class y | X)
    best = (together * posterior[:, None]).max(-1)
    typed = (alike * posterior[:, None, None]).sum(-1).max(-1).mean(1)
    return {
        "text": posterior.max(1),
        "text_given_words": (posterior * best / np.where(mass > 0, mass, 1)).sum(1),
        "words": typed,
        "information": np.where(together.all((1, 2)), 0.0, -xlogy(posterior, mass).sum(1)),
    }


def _posterior(corpus: HybridCorpus, counts: np.ndarray) -> np.ndarray:
    """P(y | X) [N, C] from how many words of each subtopic [N, G] a text has."""
    size = corpus.n_topic_words // corpus.n_subtopics
    noise = (1 - corpus.topic_rate) * (1 - corpus.filler_rate) / (corpus.n_classes * corpus.n_topic_words)
    groups = softmax(counts * math.log1p(corpus.topic_rate / size / noise), axis=1)
    return groups.reshape(-1, corpus.n_classes, corpus.n_subtopics).sum(2)


def _count_likelihood(corpus: HybridCorpus, counts: np.ndarray) -> np.ndarray:
    """P(counts | subtopic), [N, G], of the words of each subtopic and the fillers [N, G + 1]."""
    n_groups = counts.shape[1] - 1
    noise = (1 - corpus.topic_rate) * (1 - corpus.filler_rate) / n_groups
    rates = np.full((n_groups, n_groups + 1), noise) + corpus.topic_rate * np.eye(n_groups, n_groups + 1)
    rates[:, -1] = (1 - corpus.topic_rate) * corpus.filler_rate
    ways = gammaln(counts.sum(1) + 1) - gammaln(counts + 1).sum(1)
    return np.exp(ways[:, None] + xlogy(counts[:, None], rates).sum(2))


def _compositions(total: int, parts: int) -> np.ndarray:
    """All ways to write `total` as an ordered sum of `parts` numbers from 0 on."""
    bars = np.array(list(combinations(range(total + parts - 1), parts - 1)), dtype=np.int64)
    edges = np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), total + parts - 1)
    return np.diff(np.hstack(edges), axis=1) - 1


def _pattern(types: np.ndarray) -> np.ndarray:
    """Types [N, m, C] by the first class that has each, so that tables that part classes alike become equal."""
    return (types[:, :, :, None] == types[:, :, None, :]).argmax(-1)


def _group_counts(corpus: HybridCorpus, words: np.ndarray) -> np.ndarray:
    n_groups = corpus.n_classes * corpus.n_subtopics
    size = corpus.n_topic_words // corpus.n_subtopics
    group = np.where(words < corpus.first_entity, (words - corpus.first_topic) // size, -1)
    return (group[:, :, None] == np.arange(n_groups)).sum(1)


def _types_by_class(corpus: HybridCorpus, texts: HybridTexts) -> np.ndarray:
    entities = np.take_along_axis(texts.words, texts.places, axis=1) - corpus.first_entity
    return corpus.type_of[entities]


def _type_share(corpus: HybridCorpus, texts: HybridTexts, classes: np.ndarray) -> np.ndarray:
    by_class = _types_by_class(corpus, texts)[:, :, :, None] == np.arange(corpus.n_types)
    return (by_class * classes[:, None, :, None]).sum(2)
