"""Scoring by shared prefixes against one plain forward pass per pair, on every kind of model."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.models.registry import build
from elegans.reasoning.lm import Cursor, Prefix, read
from elegans.reasoning.prefixes import PrefixCache, spans
from elegans.reasoning.scorer import ScorerError
from elegans.reasoning.zoo import WordTokenizer, ZooScorer, zoo_model

KINDS = ("gpt", "stablemask", "linear", "mamba", "rwkv4", "hybrid", "one-layer", "bilinear")
VOCAB = 11


def make(kind, seed=0, **settings):
    if kind == "bilinear":
        settings = {"width": 64}
    elif kind != "one-layer":
        settings = {"width": 16, "depth": 2} | settings
        if kind not in ("mamba", "rwkv4"):
            settings |= {"heads": 2, "std": 0.3, "embedding_std": 1.0}
    return build(kind, vocab=VOCAB, seed=seed, **settings).double()


def naive(model, prefix, continuation):
    tokens = [*prefix, *continuation]
    with torch.no_grad():
        rows = model.eval()(torch.tensor([tokens]))[0].log_softmax(-1)
    start = max(1, len(prefix))
    return rows[start - 1 : len(tokens) - 1], tokens[start:]


tokens = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=6)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_one_pass_per_pair(kind):
    model = make(kind)
    scorer = ZooScorer(model)

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=4), tokens)
    def check(pairs, beginning):
        pairs = [(beginning + prefix, continuation) for prefix, continuation in pairs] + pairs
        for got, (prefix, continuation) in zip(scorer.score(pairs, distributions=True), pairs, strict=True):
            rows, scored = naive(model, prefix, continuation)
            assert got.tokens == tuple(scored)
            torch.testing.assert_close(got.distributions, rows, atol=1e-9, rtol=0)
            np.testing.assert_allclose(got.log_probs, rows.gather(-1, torch.tensor(scored)[:, None])[:, 0], atol=1e-9)

    check()


def test_a_long_prefix_is_read_once_and_never_again():
    scorer = ZooScorer(make("gpt", context=256))
    prefix, actions = [1, 2, 3] * 40, [[4, 5], [6], [7, 8, 9]]
    first = scorer.log_probs(prefix, actions)
    assert (scorer.usage.passes, scorer.usage.read_tokens) == (2, 120 + 1 + 0 + 2)
    again = scorer.log_probs(prefix, actions)
    assert (scorer.usage.passes, scorer.usage.read_tokens) == (3, 123 + 3)
    scorer.log_probs([*prefix[:110], 5, 5], [[4], [6]])
    assert (scorer.usage.passes, scorer.usage.read_tokens) == (4, 126 + 2)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_short_node_costs_one_pass():
    scorer = ZooScorer(make("gpt"))
    scorer.log_probs([1, 2, 3], [[4, 5], [6, 7], [8, 9]])
    assert scorer.usage.passes == 1
    scorer.log_probs([1, 2, 3, 4], [[5, 5], [6, 7]])
    assert scorer.usage.passes == 2


def test_batches_are_split():
    scorer, small = ZooScorer(make("gpt")), ZooScorer(make("gpt"))
    small.max_batch = 2
    actions = [[a, 1] for a in range(5)]
    for a, b in zip(scorer.log_probs([1, 2], actions), small.log_probs([1, 2], actions), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_training_mode_is_left_alone_and_dropout_is_off():
    model = make("gpt", dropout=0.5).train()
    scorer = ZooScorer(model)
    a, b = (scorer.log_probs([1, 2], [[3, 4]])[0] for _ in range(2))
    np.testing.assert_allclose(a, b, atol=1e-12)
    assert model.training and all(m.training for m in model.modules())


def test_wrong_calls_are_refused():
    scorer = ZooScorer(make("gpt", context=8))
    with pytest.raises(ValueError, match="no token"):
        scorer.log_probs([1], [[]])
    with pytest.raises(ValueError, match="do not fit"):
        scorer.log_probs([1] * 8, [[1]])
    with pytest.raises(ValueError, match="single token"):
        scorer.score([("", [1])])
    with pytest.raises(ValueError, match="two texts or two"):
        scorer.score([([1], "a")])
    with pytest.raises(ScorerError, match="no tokenizer"):
        scorer.score([("a", "b")])
    with pytest.raises(ValueError, match="at least one token"):
        scorer.generate([], max_tokens=1)


def test_a_model_that_gives_nan_is_refused():
    model = make("gpt")
    with torch.no_grad():
        model.token_table.weight[3] = float("nan")
    scorer = ZooScorer(model)
    with pytest.raises(ScorerError, match="not a finite number"):
        scorer.log_probs([1, 3], [[2]])
    with pytest.raises(ScorerError, match="not numbers"):
        scorer.generate([1, 3], max_tokens=1)


class Merging:
    """Letters, and one token for "ab"."""

    def encode(self, text):
        return [ord(c) if c != "#" else 1 for c in text.replace("ab", "#")]

    def decode(self, tokens):
        return "".join(chr(t) if t != 1 else "ab" for t in tokens)


def test_a_token_over_the_boundary_moves_it_for_all_continuations_alike():
    encode = Merging().encode
    first, second = spans(encode, [("xa", "bc"), ("xa", "cd")])
    assert first == ((ord("x"), 1, ord("c")), 1)
    assert second == (tuple(map(ord, "xacd")), 1)
    assert spans(encode, [("xa", "cd")])[0].start == 2
    with pytest.raises(ScorerError, match="no token of the prefix"):
        spans(encode, [("a", "b"), ("a", "c")])


def test_words_are_tokens():
    tokenizer = WordTokenizer(["S", "a", "b"])
    assert tokenizer.encode(" S b\na") == [0, 2, 1]
    assert tokenizer.decode([0, 2]) == "S b"
    with pytest.raises(ValueError, match="no word 'c'"):
        tokenizer.encode("a c")


def test_text_and_tokens_score_alike():
    scorer = ZooScorer(make("gpt"), words=list("abcdefghijk"))
    by_text = scorer.log_probs("a b", [" c d", " e"])
    by_tokens = scorer.log_probs([0, 1], [[2, 3], [4]])
    for a, b in zip(by_text, by_tokens, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert scorer.score([("", "a b c")])[0].tokens == (1, 2)


@pytest.mark.parametrize("kind", ("gpt", "mamba", "rwkv4", "hybrid"))
def test_a_cursor_that_goes_back_reads_as_if_it_had_never_gone(kind):
    model = make(kind)
    lm = zoo_model(model)

    @settings(max_examples=15, deadline=None)
    @given(st.data())
    def check(data):
        cursor, text = Cursor(lm), []
        for _ in range(6):
            new = data.draw(tokens)
            last = data.draw(st.integers(1, len(new)))
            got = cursor.read(new, last)
            text += new
            torch.testing.assert_close(got, model(torch.tensor([text]))[0, -last:].detach(), atol=1e-9, rtol=0)
            text = text[: data.draw(st.integers(0, len(text)))]
            cursor.rewind(len(text))
            assert len(cursor) == len(text)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_states_branch(kind):
    model = make(kind)
    lm = zoo_model(model)
    _, _, state = read(lm, [1, 2, 3])
    many = lm.select(state, torch.tensor([0, 0, 0]))
    logits, many = lm.extend(torch.tensor([[4], [5], [6]]), many)
    logits, _ = lm.extend(torch.tensor([[7], [8]]), lm.select(many, torch.tensor([2, 0])))
    want = model(torch.tensor([[1, 2, 3, 6, 7], [1, 2, 3, 4, 8]]))[:, -1:].detach()
    torch.testing.assert_close(logits, want, atol=1e-9, rtol=0)


def test_the_least_recently_used_prefix_is_forgotten():
    lm = zoo_model(make("mamba"))
    cache = PrefixCache(lm, 2)
    for prefix in ([1], [2], [1], [3]):
        cache.read(prefix)
    assert lm.usage.passes == 3
    assert cache.longest([1, 5]).length == 1 and cache.longest([2, 5]).length == 0
    assert isinstance(cache.read([1]), Prefix) and lm.usage.passes == 3
