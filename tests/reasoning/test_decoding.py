"""Decoding against enumeration and against generation token by token."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from elegans.models.registry import build
from elegans.reasoning import decoding
from elegans.reasoning.scorer import Capabilities, Generation, PairScorer, Usage
from elegans.reasoning.zoo import ZooScorer, zoo_model

VOCAB = 5


@pytest.fixture(params=("gpt", "mamba"))
def model(request):
    settings = {"heads": 2, "std": 0.5, "embedding_std": 1.0} if request.param == "gpt" else {}
    return build(request.param, vocab=VOCAB, width=16, depth=2, seed=3, **settings).double()


def log_prob(model, prompt, text):
    with torch.no_grad():
        rows = model(torch.tensor([[*prompt, *text]]))[0].log_softmax(-1)
    return float(sum(rows[len(prompt) + i - 1, token] for i, token in enumerate(text)))


def test_greedy_takes_the_most_likely_token_and_stops_at_its_end(model):
    prompt, expected = [1, 2], []
    for _ in range(8):
        with torch.no_grad():
            expected.append(int(model(torch.tensor([prompt + expected]))[0, -1].argmax()))
    written = decoding.greedy(zoo_model(model), prompt, max_tokens=8)
    assert written.tokens == expected
    assert math.isclose(sum(written.log_probs), log_prob(model, prompt, expected), abs_tol=1e-9)
    end = expected[4]
    cut = expected[: expected.index(end) + 1]
    assert decoding.greedy(zoo_model(model), prompt, max_tokens=8, ends=(end,)).tokens == cut
    assert decoding.greedy(zoo_model(model), prompt, max_tokens=0).tokens == []


def test_samples_follow_the_model(model):
    texts = decoding.sample(zoo_model(model), [1, 2], max_tokens=2, num=4000, temperature=0.8)
    counts = np.zeros(VOCAB**2)
    for text in texts:
        counts[text.tokens[0] * VOCAB + text.tokens[1]] += 1
    with torch.no_grad():
        first = (model(torch.tensor([[1, 2]]))[0, -1] / 0.8).softmax(-1)
        second = torch.stack([(model(torch.tensor([[1, 2, t]]))[0, -1] / 0.8).softmax(-1) for t in range(VOCAB)])
    expected = (first[:, None] * second).flatten().numpy()
    seen = expected > 1e-3
    expected = np.append(expected[seen], expected[~seen].sum() + 1e-12)
    observed = np.append(counts[seen], counts[~seen].sum())
    assert chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 1e-3


def test_text_i_of_a_seed_does_not_depend_on_how_many_are_drawn(model):
    lm = zoo_model(model)
    few = decoding.sample(lm, [1], max_tokens=5, num=2, ends=(0,), seed=7)
    many = decoding.sample(lm, [1], max_tokens=5, num=6, ends=(0,), seed=7)
    assert [t.tokens for t in few] == [t.tokens for t in many[:2]]
    assert [t.tokens for t in many] != [
        t.tokens for t in decoding.sample(lm, [1], max_tokens=5, num=6, ends=(0,), seed=8)
    ]
    assert all(0 not in t.tokens[:-1] for t in many)
    for text in many:
        assert math.isclose(sum(text.log_probs), log_prob(model, [1], text.tokens), abs_tol=1e-9)


def test_the_nucleus_is_the_smallest_set_of_enough_share():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    torch.testing.assert_close(decoding.warped(logits, 1.0, 0.5), torch.tensor([1.0, 0, 0, 0]).double())
    expected = torch.tensor([5 / 8, 3 / 8, 0, 0]).double()
    torch.testing.assert_close(decoding.warped(logits, 1.0, 0.6), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(decoding.warped(logits, 1.0, 1.0), logits.double().exp())
    for wrong in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.1)):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            decoding.warped(logits, *wrong)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_texts(model, length_penalty):
    texts = []
    for length in (1, 2, 3):
        for text in itertools.product(range(VOCAB), repeat=length):
            if 0 not in text[:-1] and (text[-1] == 0 or length == 3):
                texts.append((log_prob(model, [2, 1], text) / length**length_penalty, list(text)))
    best = sorted(texts, reverse=True)[:10]
    found = decoding.beam(zoo_model(model), [2, 1], width=150, max_tokens=3, ends=(0,), length_penalty=length_penalty)[
        :10
    ]
    assert [text.tokens for text in found] == [text for _, text in best]
    np.testing.assert_allclose(
        [sum(t.log_probs) / len(t.tokens) ** length_penalty for t in found], [q for q, _ in best]
    )


def test_a_beam_of_one_is_greedy(model):
    lm = zoo_model(model)
    assert (
        decoding.beam(lm, [1, 2], width=1, max_tokens=6)[0].tokens == decoding.greedy(lm, [1, 2], max_tokens=6).tokens
    )


class Parrot(PairScorer):
    """A scorer that says what it was told to say."""

    capabilities, usage = Capabilities(log_probs=False, distributions=False), Usage()

    def __init__(self, *texts):
        self.texts = texts

    def tokenize(self, text):
        return []

    def generate(self, prompt, *, num, **_):
        quality = [-float(i) for i in range(num)]
        return [Generation(t, (1, 1), (q, q), "stop") for t, q in zip(self.texts, quality, strict=True)]


def test_the_vote_of_most_texts_wins_and_texts_without_an_answer_do_not_count():
    scorer = Parrot("so 3", "so 5", "?", "?", "so 5", "so 3")
    vote = decoding.self_consistency(
        scorer, "", lambda text: text[3:] if text.startswith("so") else None, num=6, max_tokens=1
    )
    assert vote.answer == "3" and vote.votes == {"3": 2, "5": 2} and len(vote.generations) == 6
    assert decoding.self_consistency(scorer, "", lambda _: None, num=6, max_tokens=1).answer is None


def test_best_of_n_prefers_what_passes_the_check():
    scorer = Parrot("bad", "good", "also good")
    with_check = decoding.best_of_n(scorer, "", num=3, max_tokens=1, check=lambda text: "good" in text)
    assert (with_check.generation.text, with_check.passed) == ("good", True)
    hopeless = decoding.best_of_n(scorer, "", num=3, max_tokens=1, check=lambda _: False)
    assert (hopeless.generation.text, hopeless.passed) == ("bad", False)
    assert decoding.best_of_n(scorer, "", num=3, max_tokens=1).passed is None


def test_stop_texts_are_cut_and_tokens_counted(model):
    scorer = ZooScorer(model, words=list("abcde"))
    (whole,) = scorer.generate("b c", max_tokens=8)
    assert whole.ended == "length" and len(whole.tokens) == scorer.usage.generated_tokens == 8
    word = whole.text.split()[3]
    (cut,) = scorer.generate("b c", max_tokens=8, stop=[word])
    assert cut.ended == "stop" and cut.text == whole.text[: whole.text.index(word)]
    scorer.ends = (whole.tokens[3],)
    (ended,) = scorer.generate("b c", max_tokens=8)
    assert ended.ended == "stop" and ended.text.split() == whole.text.split()[: len(ended.tokens) - 1]
