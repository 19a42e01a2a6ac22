import numpy as np
import pytest

from elegans.tasks.hybrid import HybridCorpus, HybridItem, Span


def test_texts_are_what_the_definition_says():
    corpus = HybridCorpus(rho=0.5, n_subtopics=2)
    texts = corpus.sample(500, "train", seed=2)
    for item, label, places in zip(corpus.render(texts), texts.labels, texts.places, strict=True):
        words = item.text.split()
        assert len(words) == 10 and item.label == corpus.labels[label]
        assert [word for word in words if word.startswith("entity")] == [words[place] for place in places]
        assert len({span.text for span in item.spans}) == 2
        for span in item.spans:
            assert item.text[span.start : span.end] == span.text
            entity = int(span.text.removeprefix("entity"))
            assert span.type == corpus.types[corpus.type_of[entity, label]]


def test_words_come_at_their_rates():
    corpus = HybridCorpus(n_subtopics=2, topic_rate=0.4)
    texts = corpus.sample(20_000)
    others = texts.words[texts.words < corpus.first_entity].reshape(20_000, 8)
    assert abs((others < corpus.first_topic).mean() - 0.6 * 0.5) < 0.01
    subtopic = (others - corpus.first_topic) // 4
    own = subtopic == (2 * texts.labels + texts.subtopics)[:, None]
    assert abs(own.mean() - (0.4 + 0.6 * 0.5 / 8)) < 0.01
    assert np.abs(np.bincount(texts.labels) / 20_000 - 0.25).max() < 0.015
    entities = texts.words[texts.words >= corpus.first_entity] - corpus.first_entity
    assert np.abs(np.bincount(entities) / 40_000 - 1 / 8).max() < 0.01


@pytest.mark.parametrize(("rho", "ambiguous"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_the_dial_sets_how_many_types_depend_on_the_class(rho, ambiguous):
    table = HybridCorpus(rho=rho).type_of
    sizes = [len(set(row)) for row in table]
    assert sizes.count(4) == ambiguous and sizes.count(1) == 8 - ambiguous


def test_worlds_at_two_settings_of_the_dial_share_what_they_can():
    low, high = HybridCorpus(rho=0.25).type_of, HybridCorpus(rho=0.5).type_of
    assert (low == high).all(1).sum() >= 6


def test_names_of_classes_are_words_of_their_first_subtopic():
    corpus = HybridCorpus(n_subtopics=2)
    texts = corpus.sample(5000)
    named = (texts.words == corpus.first_topic + 8 * texts.labels[:, None]).any(1)
    first = texts.subtopics == 0
    assert named[first].mean() > 2 * named[~first].mean()
    assert all(corpus.labels[i] == corpus.topic_words(corpus.labels[i])[0] for i in range(4))


def test_splits_share_no_text_and_samples_are_pure():
    corpus = HybridCorpus(length=4, n_fillers=2, n_topic_words=2)
    train, test = ({item.text for item in corpus.items(600, split)} for split in ("train", "test"))
    assert not train & test
    assert corpus.items(20, "test", seed=1) == corpus.items(20, "test", seed=1)
    assert corpus.items(20, "test", seed=1) != corpus.items(20, "test", seed=1, step=1)


def test_texts_are_read_back():
    corpus = HybridCorpus()
    texts = corpus.sample(50)
    again = corpus.read(corpus.render(texts))
    for name in ("words", "labels", "places", "types"):
        assert np.array_equal(getattr(texts, name), getattr(again, name))
    with pytest.raises(ValueError, match="not a text of this corpus"):
        corpus.read([HybridItem("who knows", "a0", (Span("who", "type0", 0, 3),))])


def test_topic_words_can_be_annotated():
    corpus = HybridCorpus(topic_rate=0.4)
    for item in corpus.items(100, annotate="topics"):
        words = item.text.split()
        assert [span.text for span in item.spans] == [word for word in words if word in corpus.topic_words(item.label)]
        assert all(span.type == "topic" and item.text[span.start : span.end] == span.text for span in item.spans)
        assert [words[start] for start, _ in item.span_words()] == [span.text for span in item.spans]


def test_span_words_are_those_touched():
    item = HybridItem("In (New York), now", "x", (Span("New York", "city", 4, 12),))
    assert item.span_words() == [(1, 3)] and item.pairs() == [("New York", "city")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rho": 1.5}, "rho must be in"),
        ({"n_types": 3}, "n_types must be at least n_classes 4"),
        ({"n_subtopics": 3}, "n_topic_words must be a multiple of n_subtopics 3"),
        ({"topic_rate": 1.0}, "topic_rate must be in"),
        ({"n_spans": 10}, "n_spans must be from 1 to 8"),
        ({"n_classes": 1}, "n_classes must be from 2"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        HybridCorpus(**settings)
