import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.base import IGNORE
from elegans.tasks.chain import TransitiveChain

quick = settings(max_examples=40, deadline=None)


def read(batch):
    """Every item as (word, relation, answer), by walking the tokens one by one."""
    items = []
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        start = next(place for place, target in enumerate(targets) if target != IGNORE)
        assert tokens[start + 1 :] == targets[start:-1]
        items.append((tuple(tokens[:start]), tokens[start], tuple(targets[start:])))
    return items


@st.composite
def chains(draw):
    related = draw(st.booleans())
    word_size = 1 if related else draw(st.integers(1, 3))
    n_symbols = draw(st.integers(1, 6))
    n_triples = draw(st.integers(1, min(n_symbols**word_size, 20)))
    return dict(
        n_symbols=n_symbols,
        n_triples=n_triples,
        n_full=draw(st.integers(0, n_triples)),
        word_size=word_size,
        related_tokens=related,
        seed=draw(st.integers(0, 50)),
    )


@quick
@given(chains())
def test_conclusions_follow_from_links_in_train(config):
    task = TransitiveChain(**config)
    train = read(task.dataset("train"))
    link = {word: answer for word, relation, answer in train if relation == 0}
    concluded = {word: answer for word, relation, answer in train if relation == 1}
    assert len(train) == len(link) + len(concluded), "no word is asked twice"
    held = read(task.dataset("direct"))
    for word, relation, answer in [*held, *read(task.dataset("direct_trained"))]:
        assert relation == 1
        assert answer == link[link[word]]
    assert concluded == {word: answer for word, _, answer in read(task.dataset("direct_trained"))}
    assert not {word for word, _, _ in held} & set(concluded), "a held conclusion is never trained"
    assert len(concluded) == task.n_full and len(held) == len(task.a_words) - task.n_full


@quick
@given(chains())
def test_held_links_are_aligned_and_trained(config):
    task = TransitiveChain(**config)
    first, second, direct, links = (read(task.dataset(split)) for split in ("first", "second", "direct", "links"))
    for (a, _, b), (b_again, _, c), (a_again, _, c_again) in zip(first, second, direct, strict=True):
        assert (a, b, c) == (a_again, b_again, c_again)
    assert set(links) == {*first, *second}
    assert {*first, *second} <= set(read(task.dataset("train")))


@quick
@given(chains())
def test_oracle_follows_two_links(config):
    task = TransitiveChain(**config)
    for batch in (task.first_items(), task.second_items(), task.direct_items()):
        items = read(batch)
        prompts = torch.tensor([(*word, relation) for word, relation, _ in items])
        assert task.oracle(prompts).tolist() == [list(answer) for _, _, answer in items]


@quick
@given(chains())
def test_sides_use_their_own_tokens(config):
    task = TransitiveChain(**config)
    sides = [
        {token for word in words.tolist() for token in word} for words in (task.a_words, task.b_words, task.c_words)
    ]
    shared = sides[0] & sides[1] & sides[2]
    if task.related_tokens:
        assert [words[0, 0].item() for words in (task.a_words, task.b_words, task.c_words)] == [2, 3, 4]
        assert torch.equal(task.a_words[:, 1], task.c_words[:, 1]) and min(shared) >= 5
    else:
        assert not shared
    assert max(map(max, sides)) < task.vocab_size


def test_chance_counts_words():
    chain = TransitiveChain(n_symbols=10, n_triples=20, n_full=5, word_size=2)
    assert chain.chance("direct")["nll"] == pytest.approx(math.log(100))
    assert chain.chance("direct")["nll_vocabulary"] == pytest.approx(2 * math.log(32))
    related = TransitiveChain(n_symbols=10, n_triples=8, n_full=5, related_tokens=True)
    assert related.chance("direct")["accuracy"] == pytest.approx(0.1)
    assert related.chance("direct")["nll_vocabulary"] == pytest.approx(2 * math.log(15))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_triples": 6}, r"n_triples must be from 1 to 5 \(n_symbols \*\* word_size\), got 6"),
        ({"n_full": 5}, r"n_full must be from 0 to 4 \(n_triples\), got 5"),
        ({"related_tokens": True, "word_size": 2}, "word_size must be 1, got 2"),
        ({"n_symbols": 0}, "n_symbols must be at least 1, got 0"),
    ],
)
def test_sizes_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        TransitiveChain(**{"n_symbols": 5, "n_triples": 4, "n_full": 2, **change})


def test_seed_decides_everything():
    def tokens(seed):
        return TransitiveChain(n_symbols=9, n_triples=9, n_full=4, seed=seed).dataset("train").tokens.tolist()

    assert tokens(1) == tokens(1) != tokens(2)
