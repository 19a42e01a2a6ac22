import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elegans.tasks.formal import (
    Automaton,
    ChainOfThought,
    FormalLanguage,
    all_words,
    cyclic,
    end_sum,
    even_pairs,
    labelled,
    parity_check,
    roll_out,
)

WORDS = st.lists(st.integers(0, 1), min_size=1, max_size=12)


def padded(word, to=12):
    return torch.tensor([word + [-1] * (to - len(word))])


@given(WORDS)
def test_even_pairs_counts_ab_and_ba(word):
    text = "".join("ab"[symbol] for symbol in word)
    pairs = sum(text[i : i + 2] in ("ab", "ba") for i in range(len(text) - 1))
    assert even_pairs().classify(padded(word)).item() == pairs % 2 == int(word[0] != word[-1])


@given(WORDS)
def test_parity_check_counts_b(word):
    assert parity_check().classify(padded(word)).item() == word.count(1) % 2


@given(st.integers(2, 5), st.data())
def test_sums_modulo_a_number(order, data):
    word = data.draw(st.lists(st.integers(0, order - 1), min_size=1, max_size=8))
    assert cyclic(order).classify(padded(word)).item() == sum(word) % order
    assert end_sum(order).classify(padded(word)).item() == (word[0] + word[-1]) % order
    assert cyclic(order).trace(padded(word))[0].tolist()[: len(word) + 1] == [
        sum(word[:i]) % order for i in range(len(word) + 1)
    ]


@given(st.integers(1, 5), st.integers(1, 3), st.data())
def test_any_automaton_by_hand(states, symbols, data):
    state = st.integers(0, states - 1)
    rows = data.draw(st.lists(st.tuples(*[state] * symbols), min_size=states, max_size=states))
    classes = data.draw(st.lists(st.integers(0, 2), min_size=states, max_size=states))
    word = data.draw(st.lists(st.integers(0, symbols - 1), max_size=12))
    at = 0
    for symbol in word:
        at = rows[at][symbol]
    assert Automaton(tuple(rows), tuple(classes)).classify(padded(word)).item() == classes[at]


@pytest.mark.parametrize(
    ("rows", "classes", "message"),
    [
        ((), (), "one row of transitions"),
        (((0,),), (0, 1), "one class per state"),
        (((0, 0), (1,)), (0, 1), "of one length"),
        (((0, 2), (1, 0)), (0, 1), "must lead to states 0 to 1"),
    ],
)
def test_bad_automata_are_refused(rows, classes, message):
    with pytest.raises(ValueError, match=message):
        Automaton(rows, classes)


def test_all_strings_once_with_balanced_lengths():
    items = FormalLanguage(even_pairs(), max_length=6).dataset("train")
    words = [tuple(s for s in row if s >= 0) for row in items.words.tolist()]
    assert len(items) == 126 and len(set(words)) == 126
    assert words == [w for n in range(1, 7) for w in itertools.product((0, 1), repeat=n)]
    assert items.labels.tolist() == [int(w[0] != w[-1]) for w in words]
    totals = Counter()
    for word, weight in zip(words, items.weights.tolist(), strict=True):
        totals[len(word)] += weight
    assert totals == pytest.approx(dict.fromkeys(range(1, 7), 1.0))


def test_sampled_strings_are_a_function_of_the_seed_and_new_in_each_split():
    a, b, c = (FormalLanguage(parity_check(), max_length=30, per_length=5, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.dataset("train").words, b.dataset("train").words)
    assert not torch.equal(a.dataset("train").words, c.dataset("train").words)
    assert not torch.equal(a.dataset("train").words, a.dataset("fresh").words)
    assert len(a.dataset("train")) == 150
    assert torch.equal(parity_check().classify(a.dataset("fresh").words), a.dataset("fresh").labels)
    assert (a.dataset("train").words >= 0).sum(1).tolist() == [n for n in range(1, 31) for _ in range(5)]


def test_batches_have_the_loss_of_the_data_set_on_average():
    task = FormalLanguage(even_pairs(), max_length=4)
    batch = task.batch("train", 20_000, step=3)
    assert batch.weights.sum().item() == pytest.approx(4)
    lengths = (batch.words >= 0).sum(1)
    for length in range(1, 5):
        assert batch.weights[lengths == length].sum().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(batch.words, task.batch("train", 20_000, step=3).words)
    assert not torch.equal(batch.words, task.batch("train", 20_000, step=4).words)


def test_chance_is_the_best_constant_answer():
    assert FormalLanguage(parity_check(), max_length=5).chance("train")["accuracy"] == pytest.approx(0.5)
    even = FormalLanguage(even_pairs(), max_length=4)  # of length 1 all are even, of others half
    assert even.chance("train")["accuracy"] == pytest.approx((1 + 3 / 2) / 4)


@pytest.mark.parametrize(("length", "order"), [(2, 2), (4, 2), (5, 2), (3, 3), (2, 5)])
def test_chains_end_in_the_sum(length, order):
    task = ChainOfThought(length=length, order=order)
    assert task.chains.shape == (order**length, 2 * length - 1)
    assert torch.equal(task.chains[:, -1], task.inputs.sum(1) % order)
    for word in task.chains.tolist():
        for k in range(1, length):
            assert word[length + k - 1] == (word[k - 1] + word[length + k - 2]) % order


@pytest.mark.parametrize("short", [0, 1, 3])
def test_chain_supervision_by_hand(short):
    task = ChainOfThought(length=4, short=short)
    items = task.dataset("train")
    expected = []
    for size in range(1, short + 1):
        expected += [(w, int(w[0] != w[-1])) for w in itertools.product((0, 1), repeat=size)]
    for size in (4, 5, 6):
        expected += [(tuple(c[:size]), int(c[size - 4] != c[size - 1])) for c in task.chains.tolist()]
    found = [tuple(s for s in row if s >= 0) for row in items.words.tolist()]
    assert list(zip(found, items.labels.tolist(), strict=True)) == expected
    assert items.weights.sum().item() == pytest.approx(short + 3)
    assert len(set(found)) == len(found)  # no string has two labels


@pytest.mark.parametrize("length", [2, 3, 6])
def test_an_even_pairs_oracle_reasons_its_way_to_the_parity(length):
    words = all_words(2, length)
    oracle = even_pairs().classify
    truncated = roll_out(oracle, words, steps=length - 1, truncate=True)
    assert torch.equal(truncated[:, -1], parity_check().classify(words))
    longer = roll_out(oracle, words, steps=length - 1, truncate=False)
    right = (longer[:, -1] == parity_check().classify(words)).double().mean().item()
    assert right == (1.0 if length == 2 else 0.5)


def test_an_end_sum_oracle_reasons_its_way_to_any_cyclic_sum():
    words = all_words(3, 4)
    chain = roll_out(end_sum(3).classify, words, steps=3, truncate=True)
    assert torch.equal(chain[:, -1], cyclic(3).classify(words))


def test_a_teacher_that_follows_the_chain_needs_no_truncation():
    task = ChainOfThought(length=4)
    table = {
        tuple(s for s in row if s >= 0): label
        for row, label in zip(task.dataset("train").words.tolist(), task.dataset("train").labels.tolist(), strict=True)
    }
    chain = roll_out(
        lambda words: torch.tensor([table[tuple(w)] for w in words.tolist()]), task.inputs, steps=3, truncate=False
    )
    assert torch.equal(chain, task.chains)


def test_padding_and_weights_of_labelled_strings():
    items = labelled([all_words(2, 1), all_words(2, 2)], [torch.zeros(2).long(), torch.ones(4).long()])
    assert items.words[0].tolist() == [0, -1]
    assert items.weights.tolist() == [0.5] * 2 + [0.25] * 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FormalLanguage(even_pairs(), max_length=0), "1 <= min_length <= max_length, got 1 and 0"),
        (lambda: FormalLanguage(even_pairs(), max_length=3, per_length=0), "per_length must be at least 1, got 0"),
        (lambda: ChainOfThought(length=1), "length must be at least 2, got 1"),
        (lambda: ChainOfThought(length=4, short=4), "short must lie between 0 and length - 1 = 3, got 4"),
        (lambda: cyclic(1), "order must be at least 2, got 1"),
    ],
)
def test_bad_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_splits_are_named():
    with pytest.raises(KeyError, match="no split 'fresh'; this task has train"):
        FormalLanguage(even_pairs(), max_length=3).dataset("fresh")
