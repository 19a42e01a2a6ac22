"""Speculative decoding says what the expert alone would have said."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from elegans.models.registry import build
from elegans.ops.rng import torch_rng
from elegans.reasoning.decoding import greedy, warped
from elegans.reasoning.lm import Rereader
from elegans.reasoning.scorer import Usage
from elegans.reasoning.speculative import SpeculationStats, expected_tokens, predicted_speedup, speculate
from elegans.reasoning.zoo import ZooScorer, zoo_model

VOCAB = 5


def make(kind, seed, vocab=VOCAB):
    settings = {"heads": 2, "std": 0.5, "embedding_std": 1.0} if kind != "mamba" else {}
    return build(kind, vocab=vocab, width=16, depth=2, seed=seed, **settings).double()


PAIRS = [("gpt", "gpt"), ("gpt", "mamba"), ("mamba", "gpt"), ("hybrid", "mamba")]


@pytest.mark.parametrize(("expert", "draft"), PAIRS)
@pytest.mark.parametrize("gamma", [1, 3, 6])
def test_greedy_text_is_the_experts(expert, draft, gamma):
    expert, draft = zoo_model(make(expert, 0, 40)), zoo_model(make(draft, 1, 40))
    for prompt in ([1], [2, 3, 4], list(range(20))):
        alone = greedy(expert, prompt, max_tokens=24)
        for small in (draft, expert):
            got = speculate(expert, small, prompt, max_tokens=24, gamma=gamma)
            assert got.tokens == alone.tokens
            np.testing.assert_allclose(got.log_probs, alone.log_probs, atol=1e-9)
        end = alone.tokens[11]
        cut = alone.tokens[: alone.tokens.index(end) + 1]
        assert speculate(expert, draft, prompt, max_tokens=24, gamma=gamma, ends=(end,)).tokens == cut


def test_a_draft_that_is_the_expert_is_always_accepted():
    expert = zoo_model(make("gpt", 0))
    for temperature in (0.0, 1.0):
        stats = speculate(expert, expert, [1, 2], max_tokens=20, gamma=4, temperature=temperature).stats
        assert stats.acceptance == 1
        assert (stats.expert_calls, stats.generated, stats.tokens_per_expert_call) == (4, 20, 5)


def test_the_expert_reads_the_prompt_and_each_token_once():
    expert, draft = zoo_model(make("gpt", 0)), zoo_model(make("gpt", 1))
    stats = speculate(expert, draft, [1, 2, 3, 4], max_tokens=30, gamma=4).stats
    assert expert.usage.passes == stats.expert_calls
    assert expert.usage.read_tokens == 4 + (stats.expert_calls - 1) + stats.drafted
    assert draft.usage.passes == stats.drafted


def bigrams(table):
    """The model whose next token depends on the last one alone."""
    return Rereader(lambda tokens: table[tokens], len(table), None, torch.device("cpu"), Usage())


@pytest.mark.parametrize("top_p", [1.0, 0.8])
@pytest.mark.parametrize("gamma", [1, 3])
def test_sampled_texts_have_the_experts_distribution(gamma, top_p):
    tables = torch.randn(2, 3, 3, generator=torch_rng("bigrams"), dtype=torch.double)
    expert, draft = map(bigrams, tables)
    counts, size = np.zeros((3, 3, 3)), 1000
    for seed in range(size):
        made = speculate(expert, draft, [1], max_tokens=3, gamma=gamma, temperature=0.9, top_p=top_p, seed=seed)
        counts[tuple(made.tokens)] += 1
    p = warped(tables[0], 0.9, top_p).numpy()
    expected = np.einsum("i,ij,jk->ijk", p[1], p, p)
    assert not counts[expected == 0].any()
    often = expected * size >= 5
    observed = np.append(counts[often], counts[~often].sum())
    wanted = np.append(expected[often], expected[~often].sum() + 1e-12) * size
    assert chisquare(observed, wanted / wanted.sum() * size).pvalue > 1e-3
    biased = warped(tables[1], 0.9, top_p).numpy()[1]
    assert np.abs(biased - p[1]).max() > 0.1


def test_sampling_speculates_with_zoo_models():
    expert, draft = zoo_model(make("gpt", 0)), zoo_model(make("mamba", 1))
    made = [speculate(expert, draft, [1], max_tokens=9, temperature=1.0, seed=s) for s in (0, 0, 1)]
    assert made[0].tokens == made[1].tokens != made[2].tokens
    assert 0 < sum((m.stats for m in made), SpeculationStats()).acceptance < 1


def test_a_scorer_with_a_draft_writes_the_same_text_and_counts():
    words = list("abcde")
    plain = ZooScorer(make("gpt", 0), words)
    fast = ZooScorer(make("gpt", 0), words, draft=make("gpt", 1), gamma=3)
    for prompt in ("a b", "c", "d e a"):
        (one,), (other,) = plain.generate(prompt, max_tokens=12), fast.generate(prompt, max_tokens=12)
        assert (one.text, one.tokens, one.ended) == (other.text, other.tokens, other.ended)
    assert fast.speculation.generated == 36 == fast.usage.generated_tokens
    assert 0 <= fast.speculation.acceptance <= 1


def test_wrong_calls_are_refused():
    expert, draft = zoo_model(make("gpt", 0)), zoo_model(make("gpt", 1, 7))
    with pytest.raises(ValueError, match="vocabularies differ"):
        speculate(expert, draft, [1], max_tokens=2)
    with pytest.raises(ValueError, match="at least one token"):
        speculate(expert, expert, [], max_tokens=2)
    with pytest.raises(ValueError, match="do not fit"):
        speculate(expert, expert, [1], max_tokens=65)
    with pytest.raises(ValueError, match="a draft needs"):
        ZooScorer(make("gpt", 0), draft=make("gpt", 1, 7))


def test_expected_tokens_is_the_mean_of_a_run_of_successes():
    for a, gamma in ((0.0, 3), (0.7, 4), (1.0, 2)):
        direct = sum((n + 1) * a**n * (1 - a) for n in range(gamma)) + (gamma + 1) * a**gamma
        assert math.isclose(expected_tokens(a, gamma), direct)
    assert math.isclose(predicted_speedup(1.0, 4, 0.0), 5.0)
