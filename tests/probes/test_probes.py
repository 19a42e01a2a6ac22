import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from elegans.models import GPT, BilinearLM, OneLayerLM
from elegans.probes import (
    answer_logits,
    diagonal_score,
    effective_weights,
    embedding_cosines,
    greedy,
    mean_cosine,
    two_call,
)
from elegans.tasks import ReversalPairs, TransitiveChain
from elegans.tasks.base import facts


class Links(nn.Module):
    """Answers `->` by a table of token to token, with logit `sure` on the answer and 0 elsewhere; knows no `~>`."""

    def __init__(self, task, link, sure):
        super().__init__()
        self.task, self.link, self.sure = task, link, sure
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, self.task.vocab_size)
        for i, row in enumerate(tokens.tolist()):
            for t in range(1, len(row)):
                if row[t] == self.task.relation_tokens["->"] and row[t - 1] in self.link:
                    logits[i, t, self.link[row[t - 1]]] = self.sure
        return logits * self.scale


@pytest.fixture
def chain():
    return TransitiveChain(n_symbols=6, n_triples=4, n_full=3)


def table(task):
    link = dict(zip(task.a_words[:, 0].tolist(), task.b_words[:, 0].tolist(), strict=True))
    return link | dict(zip(task.b_words[:, 0].tolist(), task.c_words[:, 0].tolist(), strict=True))


def test_two_call_by_hand(chain):
    result = two_call(Links(chain, table(chain), sure=3.0), chain)
    p = math.exp(3) / (math.exp(3) + chain.vocab_size - 1)
    assert result.sizes == {"triple": 4} and result.full.values.tolist() == [True, True, True, False]
    np.testing.assert_allclose(result.p_first, p, rtol=1e-6)
    np.testing.assert_allclose(result.p_second, p, rtol=1e-6)
    np.testing.assert_allclose(result.p_cot, p * p, rtol=1e-6)
    np.testing.assert_allclose(result.p_direct, 1 / chain.vocab_size, rtol=1e-6)
    assert result.accuracy_cot.values.tolist() == [1.0] * 4
    assert result.accuracy_direct.values.tolist() == [0.0] * 4


def test_the_second_call_gets_the_models_own_answer(chain):
    wrong = table(chain)
    a, b = chain.a_words[:, 0].tolist(), chain.b_words[:, 0].tolist()
    wrong[a[0]] = b[1]
    result = two_call(Links(chain, wrong, sure=3.0), chain)
    assert result.accuracy_cot.values.tolist() == [0.0, 1.0, 1.0, 1.0]
    assert result.p_second[0] > 0.5, "the second link alone is known"


def test_two_call_with_words_of_two_tokens():
    task = TransitiveChain(n_symbols=3, n_triples=3, n_full=1, related_tokens=True)
    result = two_call(GPT(vocab=task.vocab_size, width=8, context=8), task)
    assert set(result.data_vars) == {"p_direct", "p_first", "p_second", "p_cot", "accuracy_direct", "accuracy_cot"}
    assert (result.p_cot == result.p_first * result.p_second).all()


def test_greedy_takes_the_best_token_each_time():
    model = BilinearLM(vocab=5, width=4, init_std=5.0, seed=1)
    best = model.effective_weights().argmax(-1).tolist()
    expected, token = [], 2
    for _ in range(4):
        token = best[token]
        expected.append(token)
    assert greedy(model, torch.tensor([[0, 2]]), 4).tolist() == [expected]


def test_answer_logits_are_the_logits_where_the_answer_starts():
    task = ReversalPairs(n_symbols=4, n_pairs=6, n_both=3, word_size=2)
    model = GPT(vocab=task.vocab_size, width=8)
    matrix = answer_logits(model, task.reverse_items(), task.a_words)
    assert matrix.dims == ("query", "answer") and matrix.shape == (6, 6)
    for i in range(6):
        logits = model(torch.cat([task.b_words[i], torch.tensor([task.relation_tokens["<-"]])])[None])[0, -1]
        for j in range(6):
            assert matrix[i, j].item() == pytest.approx(logits[task.a_words[j, 0]].item(), abs=1e-6)


def test_answer_logits_of_mixed_prompt_lengths_and_flat_answers():
    model = BilinearLM(vocab=5, width=4, init_std=1.0)
    items = facts(torch.tensor([[1], [2]]), torch.tensor([[3, 4], [4, 3]]))
    matrix = answer_logits(model, items, torch.tensor([0, 3, 4]))
    expected = model.effective_weights()[[1, 2]][:, [0, 3, 4]].detach()
    np.testing.assert_allclose(matrix, expected, rtol=1e-5)


def test_diagonal_score_by_hand():
    matrix = xr.DataArray(
        np.array([[5.0, 1, 9, 9], [3, 7, 9, 9], [0, 0, 2, 4], [0, 0, 6, 4]]), dims=("query", "answer")
    )
    blocks = diagonal_score(matrix, ["both", "both", "held", "held"])
    assert blocks.to_series().to_dict() == {"both": 6 - 2, "held": 3 - 5}
    assert diagonal_score(matrix).item() == pytest.approx(18 / 4 - 50 / 12)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((2, 3), None, r"square matrix, got shape \(2, 3\)"),
        ((2, 2), ["a"], "each of the 2 rows, got 1"),
        ((2, 2), ["a", "b"], "block 'a' has 1 rows"),
        ((1, 1), None, "needs at least 2"),
    ],
)
def test_diagonal_score_refuses(shape, labels, message):
    with pytest.raises(ValueError, match=message):
        diagonal_score(xr.DataArray(np.zeros(shape)), labels)


def test_cosines_by_hand():
    vectors = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 9.0], [-2.0, 0.0]])
    cosines = embedding_cosines(vectors, torch.tensor([0, 1, 3]))
    root = math.sqrt(0.5)
    np.testing.assert_allclose(cosines, [[1, root, -1], [root, 1, -root], [-1, -root, 1]], atol=1e-12)
    assert cosines.sel(x=0, y=3).item() == pytest.approx(-1)
    assert mean_cosine(cosines) == pytest.approx((1 + 2 * root) / 3)
    with pytest.raises(ValueError, match="at least 2 tokens, got 1"):
        mean_cosine(cosines[:1, :1])


def test_random_embeddings_have_the_cosine_of_random_vectors():
    model = BilinearLM(vocab=200, width=400)
    assert mean_cosine(embedding_cosines(model, torch.arange(200))) == pytest.approx(
        math.sqrt(2 / (math.pi * 400)), rel=0.03
    )
    gpt = GPT(vocab=20, width=8)
    direct = embedding_cosines(gpt.token_table.weight, torch.arange(20))
    assert embedding_cosines(gpt, torch.arange(20)).equals(direct)


def test_effective_weight_blocks():
    model = OneLayerLM(vocab=4)
    with torch.no_grad():
        model.Y.copy_(torch.arange(16.0).view(4, 4))
    block = effective_weights(model, torch.tensor([2, 0]), torch.tensor([1, 3]))
    assert block.dims == ("x", "y") and block.values.tolist() == [[9.0, 11.0], [1.0, 3.0]]
    with pytest.raises(NotImplementedError, match="GPT has no effective weight matrix"):
        effective_weights(GPT(vocab=4, width=8), torch.tensor([0]), torch.tensor([0]))
