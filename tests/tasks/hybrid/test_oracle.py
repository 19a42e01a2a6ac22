from collections import defaultdict
from itertools import combinations, permutations, product
from math import log

import numpy as np
import pytest

from elegans.tasks.hybrid import (
    HybridCorpus,
    ceilings,
    label_posterior,
    label_posterior_given_words,
    type_posterior,
    type_posterior_given_label,
    words_probability,
)

SMALL = dict(n_classes=2, n_topic_words=2, n_fillers=1, n_entities=2, n_types=2, length=3)
WORLDS = [
    HybridCorpus(rho=1.0, n_spans=1, **SMALL),
    HybridCorpus(rho=0.5, n_spans=2, **SMALL),
    HybridCorpus(rho=0.0, n_spans=1, n_subtopics=2, **SMALL),
    HybridCorpus(rho=0.5, n_spans=1, n_subtopics=2, topic_rate=0.5, filler_rate=0.2, **SMALL),
    HybridCorpus(rho=0.67, n_classes=3, n_topic_words=1, n_fillers=1, n_entities=3, n_types=3, length=4, n_spans=2),
]


def joint(corpus):
    """P(X, y, W) of every text, class and types: the sum over all that can happen."""
    found = defaultdict(float)
    size = corpus.n_topic_words // corpus.n_subtopics
    n_topic = corpus.n_classes * corpus.n_topic_words
    spans = list(permutations(range(corpus.n_entities), corpus.n_spans))
    places = list(combinations(range(corpus.length), corpus.n_spans))
    latent = list(product(range(corpus.n_classes), range(corpus.n_subtopics)))
    for (y, s), entities, where in product(latent, spans, places):
        first = corpus.first_topic + (y * corpus.n_subtopics + s) * size
        chance = {}
        for word in range(corpus.first_entity):
            own = corpus.topic_rate / size if first <= word < first + size else 0.0
            rest = corpus.filler_rate / corpus.n_fillers
            rest = rest if word < corpus.first_topic else (1 - corpus.filler_rate) / n_topic
            chance[word] = own + (1 - corpus.topic_rate) * rest
        types = tuple(int(corpus.type_of[entity, y]) for entity in entities)
        for rest in product(chance, repeat=corpus.length - corpus.n_spans):
            text, left = list(rest), iter(rest)
            named = dict(zip(where, entities, strict=True))
            text = tuple(corpus.first_entity + named[i] if i in named else next(left) for i in range(corpus.length))
            p = np.prod([chance[word] for word in rest]) / len(latent) / len(spans) / len(places)
            found[text, y, types] += p
    return found


@pytest.mark.parametrize("corpus", WORLDS)
def test_posteriors_are_those_of_the_sum_over_all_that_can_happen(corpus):
    table = joint(corpus)
    assert sum(table.values()) == pytest.approx(1)
    texts = corpus.sample(60, "train")
    p_label, p_label_w = label_posterior(corpus, texts), label_posterior_given_words(corpus, texts)
    p_type, p_type_y = type_posterior(corpus, texts), type_posterior_given_label(corpus, texts)
    p_words = words_probability(corpus, texts)
    for row, words in enumerate(texts.words.tolist()):
        here = {(y, w): p for (x, y, w), p in table.items() if x == tuple(words)}
        total, own = sum(here.values()), tuple(texts.types[row].tolist())
        with_own = sum(p for (_, w), p in here.items() if w == own)
        assert p_words[row] == pytest.approx(with_own / total)
        for y in range(corpus.n_classes):
            of_class = {w: p for (label, w), p in here.items() if label == y}
            assert p_label[row, y] == pytest.approx(sum(of_class.values()) / total)
            assert p_label_w[row, y] == pytest.approx(of_class.get(own, 0.0) / with_own)
        for i, kind in product(range(corpus.n_spans), range(corpus.n_types)):
            share = sum(p for (_, w), p in here.items() if w[i] == kind) / total
            assert p_type[row, i, kind] == pytest.approx(share)
            label = texts.labels[row]
            of_label = {w: p for (y, w), p in here.items() if y == label}
            share = sum(p for w, p in of_label.items() if w[i] == kind) / sum(of_label.values())
            assert p_type_y[row, i, kind] == pytest.approx(share)


@pytest.mark.parametrize("corpus", WORLDS)
def test_ceilings_are_those_of_the_sum_over_all_that_can_happen(corpus):
    table = joint(corpus)
    by_text, by_words = defaultdict(dict), defaultdict(dict)
    for (x, y, w), p in table.items():
        by_text[x][y, w] = p
        by_words[x, w][y] = p
    found = ceilings(corpus)
    assert found.exact and found.words_given_text == 1
    classes = range(corpus.n_classes)
    text = sum(max(sum(p for (y, _), p in here.items() if y == c) for c in classes) for here in by_text.values())
    assert found.text == pytest.approx(text)
    assert found.text_given_words == pytest.approx(sum(max(here.values()) for here in by_words.values()))
    typed = sum(
        max(sum(p for (_, w), p in here.items() if w[i] == kind) for kind in range(corpus.n_types))
        for here in by_text.values()
        for i in range(corpus.n_spans)
    )
    assert found.words == pytest.approx(typed / corpus.n_spans)
    information = 0.0
    for (x, y, w), p in table.items():
        p_x, p_xw = sum(by_text[x].values()), sum(by_words[x, w].values())
        p_xy = sum(q for (label, _), q in by_text[x].items() if label == y)
        information += p * log(p * p_x / p_xw / p_xy)
    assert found.information == pytest.approx(information, abs=1e-12)


@pytest.mark.parametrize("settings", [dict(rho=1.0), dict(rho=0.5), dict(rho=1.0, n_subtopics=2, topic_rate=0.4)])
def test_ceilings_agree_with_a_sample(settings):
    corpus = HybridCorpus(**settings)
    exact, texts = ceilings(corpus), corpus.sample(30_000, "test", seed=7)
    error = 4 * 0.5 / 30_000**0.5
    assert abs((label_posterior(corpus, texts).argmax(1) == texts.labels).mean() - exact.text) < error
    given = label_posterior_given_words(corpus, texts)
    assert abs((given.argmax(1) == texts.labels).mean() - exact.text_given_words) < error
    assert abs((type_posterior(corpus, texts).argmax(2) == texts.types).mean() - exact.words) < error
    assert abs(-np.log(words_probability(corpus, texts)).mean() - exact.information) < 0.03


def test_without_coupling_neither_level_tells_of_the_other():
    found = ceilings(HybridCorpus(rho=0.0))
    assert found.information == 0 and found.text_given_words == pytest.approx(found.text) and found.words > 1 - 1e-12


def test_information_grows_with_the_dial():
    values = [ceilings(HybridCorpus(rho=rho)).information for rho in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert values == sorted(values) and values[-1] > 0.7


def test_large_worlds_are_sampled_and_say_so():
    corpus = HybridCorpus(rho=0.5)
    exact, sampled = ceilings(corpus), ceilings(corpus, largest=10)
    assert not sampled.exact and 0 < sampled.standard_error < 0.005
    for name in ("text", "text_given_words", "words", "information"):
        assert abs(getattr(exact, name) - getattr(sampled, name)) < 4 * sampled.standard_error
    assert ceilings(HybridCorpus(rho=0.0), largest=10).information == 0
