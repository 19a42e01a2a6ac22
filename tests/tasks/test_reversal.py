import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.base import IGNORE
from elegans.tasks.reversal import InContextReversal, ReversalPairs

quick = settings(max_examples=40, deadline=None)


def read(batch):
    """Every item as (prompt, answer), by walking the tokens one by one."""
    items = []
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        start = next(place for place, target in enumerate(targets) if target != IGNORE)
        answer = targets[start:]
        assert IGNORE not in answer
        assert tokens[start + 1 :] == answer[:-1], "the answer is teacher-forced"
        items.append((tuple(tokens[: start + 1]), tuple(answer)))
    return items


@st.composite
def pairs(draw):
    word_size = draw(st.integers(1, 3))
    n_symbols = draw(st.integers(1, 6))
    n_pairs = draw(st.integers(1, min(n_symbols**word_size, 20)))
    return dict(
        n_symbols=n_symbols,
        n_pairs=n_pairs,
        n_both=draw(st.integers(0, n_pairs)),
        word_size=word_size,
        relations=word_size > 1 or draw(st.booleans()),
        held=draw(st.sampled_from(["coin", "forward"])),
        add_reverse=draw(st.booleans()),
        identity=draw(st.booleans()),
        seed=draw(st.integers(0, 50)),
    )


def brute_force(task):
    """Which splits may hold which items, from the words alone."""
    relation = {name: (token,) for name, token in task.relation_tokens.items()}
    splits = {"forward": set(), "reverse": set(), "both": set(), "identity": set()}
    for i, (a, b) in enumerate(zip(map(tuple, task.a_words.tolist()), map(tuple, task.b_words.tolist()), strict=True)):
        there, back = (a + relation.get("->", ()), b), (b + relation.get("<-", ()), a)
        if i < task.n_both:
            splits["both"] |= {there, back}
        else:
            trained, untrained = (there, back) if task.forward_trained[i] else (back, there)
            splits["forward"].add(trained)
            splits["reverse"].add(untrained)
        splits["identity"] |= {(a + relation.get("=", ()), a), (b + relation.get("=", ()), b)}
    return splits


@quick
@given(pairs())
def test_splits_hold_what_the_words_say(config):
    task = ReversalPairs(**config)
    expected = brute_force(task)
    for split in ("forward", "reverse", "both"):
        items = read(task.dataset(split))
        assert set(items) == expected[split] and len(items) == len(expected[split])
    train = read(task.dataset("train"))
    assert len(set(train)) == len(train)
    assert set(train) - expected["identity"] - expected["reverse"] == expected["forward"] | expected["both"]


@quick
@given(pairs())
def test_words_are_distinct_and_alphabets_disjoint(config):
    task = ReversalPairs(**config)
    first = len(task.relation_tokens)
    for words, start in ((task.a_words, first), (task.b_words, first + task.n_symbols)):
        assert len({tuple(word) for word in words.tolist()}) == len(words)
        assert start <= words.min() and words.max() < start + task.n_symbols
    assert task.vocab_size == first + 2 * task.n_symbols


@quick
@given(pairs())
def test_oracle_knows_every_answer(config):
    task = ReversalPairs(**config)
    for batch in (task.forward_items(), task.reverse_items()):
        prompts, answers = zip(*read(batch), strict=True)
        assert task.oracle(torch.tensor(prompts)).tolist() == [list(answer) for answer in answers]


@pytest.mark.parametrize("add_reverse", [False, True])
def test_the_untrained_direction_is_in_train_only_as_a_control(add_reverse):
    task = ReversalPairs(n_symbols=20, n_pairs=20, n_both=12, identity=True, add_reverse=add_reverse, seed=3)
    train, test = set(read(task.dataset("train"))), set(read(task.dataset("reverse")))
    assert len(test) == 8
    assert (test <= train) is add_reverse
    assert add_reverse or not test & train


def test_identity_items():
    task = ReversalPairs(n_symbols=3, n_pairs=3, n_both=1, identity=True)
    same = task.relation_tokens["="]
    found = {item for item in read(task.dataset("train")) if item[0][-1] == same}
    assert found == {((word, same), (word,)) for word in [*range(3, 9)]}
    prompts = torch.tensor([prompt for prompt, _ in found])
    assert task.oracle(prompts)[:, 0].tolist() == prompts[:, 0].tolist()


def test_directions():
    always = ReversalPairs(n_symbols=30, n_pairs=30, n_both=0, held="forward")
    assert always.forward_trained.all()
    assert always.dataset("reverse").tokens[:, 0].tolist() == always.b_words[:, 0].tolist()
    coin = ReversalPairs(n_symbols=400, n_pairs=400, n_both=100)
    assert coin.forward_trained[:100].all()
    assert 110 < coin.forward_trained[100:].sum() < 190


def test_seed_decides_everything():
    def tokens(seed):
        return ReversalPairs(n_symbols=9, n_pairs=9, n_both=4, seed=seed).dataset("train").tokens.tolist()

    assert tokens(1) == tokens(1) != tokens(2)


@pytest.mark.parametrize("word_size", [10, 30])
def test_long_words_need_no_list_of_all_words(word_size):
    task = ReversalPairs(n_symbols=100, n_pairs=50, n_both=20, word_size=word_size)
    assert task.a_words.shape == (50, word_size)
    assert len({tuple(word) for word in task.a_words.tolist()}) == 50
    assert task.a_words.float().mean() == pytest.approx(51, abs=6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_symbols": 0}, "n_symbols must be at least 1, got 0"),
        ({"word_size": 0}, "word_size must be at least 1, got 0"),
        ({"n_pairs": 6}, r"n_pairs must be from 1 to 5 \(n_symbols \*\* word_size\), got 6"),
        ({"n_both": 5}, r"n_both must be from 0 to 4 \(n_pairs\), got 5"),
        ({"relations": False, "word_size": 2}, "word_size must be 1, got 2"),
    ],
)
def test_sizes_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        ReversalPairs(**{"n_symbols": 5, "n_pairs": 4, "n_both": 2, **change})


def test_held_is_one_of_two():
    with pytest.raises((ValueError, TypeError), match="'backward'"):
        ReversalPairs(n_symbols=5, n_pairs=4, n_both=2, held="backward")


def test_chance():
    task = ReversalPairs(n_symbols=50, n_pairs=60, n_both=30, word_size=2)
    assert task.chance("reverse") == {
        "nll": pytest.approx(2 * math.log(50)),
        "accuracy": pytest.approx(1 / 2500),
        "nll_vocabulary": pytest.approx(2 * math.log(102)),
    }
    with pytest.raises(KeyError, match="no split 'test'"):
        task.chance("test")


@quick
@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_in_context_sequences(n_x, n_y, data):
    n_train_y = data.draw(st.integers(1, n_y))
    task = InContextReversal(n_x=n_x, n_y=n_y, n_train_y=n_train_y, seed=data.draw(st.integers(0, 9)))
    train, held = read(task.dataset("train")), read(task.dataset("reverse"))
    seen = set()
    for (x, arrow, y, same, y_again, back), answer in train + held:
        assert (arrow, same, back) == (0, 1, 2)
        assert answer == (x,) and y == y_again
        assert 3 <= x < 3 + n_x <= y < 3 + n_x + n_y == task.vocab_size
        seen.add((x, y))
    assert len(seen) == len(train) + len(held) == n_x * n_y, "every pair once, in one split"
    for x in range(3, 3 + n_x):
        assert sum(prompt[0] == x for prompt, _ in train) == n_train_y
    prompts = torch.tensor([prompt for prompt, _ in train])
    assert task.oracle(prompts).tolist() == [list(answer) for _, answer in train]


def test_in_context_sizes_are_checked():
    with pytest.raises(ValueError, match=r"n_train_y must be from 1 to 4 \(n_y\), got 5"):
        InContextReversal(n_x=3, n_y=4, n_train_y=5)
    assert InContextReversal(n_x=20, n_y=4, n_train_y=2).chance("reverse")["nll"] == pytest.approx(math.log(20))
