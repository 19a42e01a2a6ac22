import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from elegans.lm import KnowledgeableVerbalizer, ManualVerbalizer, Verbalizer, encode, span_f1

pytest.importorskip("transformers")

PROMPTS = ["a b =", "c d e =", "f =", "g h a a ="]
WORDS = {"low": ["a", "b", "c"], "high": ["d", "e"]}
NAMES = {"low": "a", "high": "d"}


def log_prob(lm, prompt, word):
    (ids,) = encode(lm.tokenizer, [prompt])
    logits = lm.net(torch.tensor([ids]))[0, -1].log_softmax(-1)
    return logits[lm.tokenizer.get_vocab()[word]].item()


def reference(lm, words, weights=None, prior=None):
    """Class scores by their definition, one prompt and one word at a time."""
    rows = []
    for prompt in PROMPTS:
        row = []
        for name, some in words.items():
            share = np.exp(weights[name]) if weights else np.ones(len(some))
            values = [log_prob(lm, prompt, word) - (prior or {}).get(word, 0.0) for word in some]
            row.append(np.dot(share / share.sum(), values))
        rows.append(row - np.log(np.exp(row).sum()))
    return np.array(rows)


def prior(lm, words):
    return {
        word: np.mean([log_prob(lm, prompt, word) for prompt in PROMPTS]) for some in words.values() for word in some
    }


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_class_scores_the_mean_of_its_words(kind, make):
    lm, verbalizer = make(kind), ManualVerbalizer(WORDS)
    found = verbalizer.scores(lm, PROMPTS, batch_size=3)
    assert found.dims == ("item", "class") and found["class"].values.tolist() == ["low", "high"]
    np.testing.assert_allclose(found, reference(lm, WORDS), rtol=1e-9)
    np.testing.assert_allclose(np.exp(found).sum("class"), 1)
    assert verbalizer.predict(lm, PROMPTS) == [["low", "high"][row.argmax()] for row in found.values]


def test_calibration_takes_the_mean_log_probability_off(make):
    lm = make()
    found = ManualVerbalizer(WORDS).calibrate(lm, PROMPTS)
    assert found.prior == pytest.approx(prior(lm, WORDS))
    np.testing.assert_allclose(found.scores(lm, PROMPTS), reference(lm, WORDS, prior=prior(lm, WORDS)), rtol=1e-9)


def test_weights_are_a_softmax_within_the_class(make):
    lm, weights = make(), {"low": [1.0, -1.0, 0.5], "high": [0.0, 2.0]}
    found = ManualVerbalizer(WORDS, weights=weights).scores(lm, PROMPTS)
    np.testing.assert_allclose(found, reference(lm, WORDS, weights), rtol=1e-6)


def test_learned_weights_fit_the_labels_better_than_the_mean_and_are_a_function_of_the_input(make):
    lm, verbalizer = make(), ManualVerbalizer(WORDS)
    before = verbalizer.scores(lm, PROMPTS)
    labels = ["high", "low", "low", "high"]
    learned = verbalizer.learn(lm, PROMPTS, labels)
    pairs = [(item, name) for item, name in enumerate(labels)]

    def likelihood(scores):
        return sum(float(scores.sel({"item": item, "class": name})) for item, name in pairs)

    assert likelihood(learned.scores(lm, PROMPTS)) > likelihood(before) + 0.01
    assert learned == verbalizer.learn(lm, PROMPTS, labels)
    assert verbalizer.learn(lm, PROMPTS, labels, steps=1, lr=1e-9).scores(lm, PROMPTS).values == pytest.approx(
        before.values
    )


def test_annotated_words_join_the_name_and_the_rarest_are_left_out(make):
    lm = make()
    examples = [("low", ["b", "c", "b"]), ("high", ["e", "f"]), ("low", ["g", "a"])]
    whole = KnowledgeableVerbalizer.from_examples(lm, NAMES, examples, PROMPTS, drop=0.0)
    assert whole.words == {"low": ["a", "b", "c", "g"], "high": ["d", "e", "f"]}
    order = sorted("bcefg", key=prior(lm, whole.words).get)
    kept = KnowledgeableVerbalizer.from_examples(lm, NAMES, examples, PROMPTS)
    assert set(whole.words["low"] + whole.words["high"]) - set(kept.words["low"] + kept.words["high"]) == set(order[:2])
    np.testing.assert_allclose(
        kept.scores(lm, PROMPTS), reference(lm, kept.words, prior=prior(lm, kept.words)), rtol=1e-9
    )
    assert isinstance(kept.learn(lm, PROMPTS, ["low", "high", "low", "low"]), KnowledgeableVerbalizer)
    verbalizer: Verbalizer = kept
    assert verbalizer.scores(lm, PROMPTS).sizes == {"item": 4, "class": 2}


def test_words_of_several_tokens_stand_for_their_first(make, bpe):
    lm = make(tokenizer=bpe)
    words = {"good": ["wonderful", "zz"], "none": ["the"]}
    found = ManualVerbalizer(words).scores(lm, ["the result is"])
    first = {
        word: encode(bpe, ["the result is " + word])[0][len(encode(bpe, ["the result is"])[0])]
        for word in ("zz", "the")
    }
    (ids,) = encode(bpe, ["the result is"])
    logits = lm.net(torch.tensor([ids]))[0, -1].log_softmax(-1).detach()
    wonderful = encode(bpe, ["the result is wonderful"])[0][len(ids)]
    values = torch.stack([(logits[wonderful] + logits[first["zz"]]) / 2, logits[first["the"]]])
    np.testing.assert_allclose(found[0], values.log_softmax(-1), rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda lm: ManualVerbalizer({"low": ["a"]}), "at least two classes"),
        (lambda lm: ManualVerbalizer({"low": "a", "high": ["b"]}), "class 'low' needs a list of words"),
        (lambda lm: ManualVerbalizer({"low": ["a"], "high": ["a"]}).scores(lm, PROMPTS), "nothing tells them apart"),
        (lambda lm: ManualVerbalizer(WORDS).scores(lm, []), "at least one text"),
        (
            lambda lm: ManualVerbalizer({"low": ["z"], "high": ["a"]}).scores(lm, PROMPTS),
            "'z' is not in the vocabulary",
        ),
        (lambda lm: ManualVerbalizer(WORDS).learn(lm, PROMPTS, ["low"]), "as many labels"),
        (lambda lm: ManualVerbalizer(WORDS).learn(lm, PROMPTS[:1], ["mid"]), "mid"),
        (lambda lm: KnowledgeableVerbalizer.from_examples(lm, NAMES, [("mid", ["a"])], PROMPTS), "class 'mid'"),
        (lambda lm: KnowledgeableVerbalizer.from_examples(lm, NAMES, [("low", "ab")], PROMPTS), "are a list"),
        (lambda lm: KnowledgeableVerbalizer.from_examples(lm, NAMES, [], PROMPTS, drop=1.0), "drop"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(call, named, make):
    with pytest.raises(ValueError, match=named) as caught:
        call(make())
    assert "\n" not in str(caught.value)


SPANS = st.lists(st.sets(st.tuples(st.integers(0, 3), st.sampled_from("xy"))), min_size=1, max_size=4)


@given(SPANS, st.data())
def test_f1_of_spans_is_scikit_learns_on_the_indicators(gold, data):
    predicted = data.draw(
        st.lists(st.sets(st.tuples(st.integers(0, 3), st.sampled_from("xy"))), min_size=len(gold), max_size=len(gold))
    )
    every = [(text, at, kind) for text in range(len(gold)) for at in range(4) for kind in "xy"]
    truth, guess = ([(at, kind) in spans[text] for text, at, kind in every] for spans in (gold, predicted))
    expected = f1_score(truth, guess, zero_division=1.0) if any(truth) or any(guess) else 1.0
    assert span_f1(gold, predicted) == pytest.approx(expected)


def test_a_repeated_span_has_to_be_found_as_often():
    assert span_f1([["x", "x"]], [["x"]]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="2 with predicted"):
        span_f1([[]], [[], []])
