import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.associative_recall import AssociativeRecall, PromptOrder
from elegans.tasks.base import IGNORE

quick = settings(max_examples=30, deadline=None)


class Lookup(torch.nn.Module):
    """Says what followed the last occurrence of this token before; logits [B, T, V]."""

    def __init__(self, vocab_size):
        super().__init__()
        self.vocab_size = vocab_size

    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, self.vocab_size)
        for row, sentence in enumerate(tokens.tolist()):
            seen = {}
            for place, token in enumerate(sentence):
                if token in seen:
                    logits[row, place, sentence[seen[token] + 1]] = 9.0
                seen[token] = place
        return logits


@quick
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_every_key_is_asked_once_and_its_value_is_the_target(n_keys, n_values, data):
    pairs = data.draw(st.lists(st.integers(1, n_keys), min_size=1, max_size=3))
    task, step = AssociativeRecall(n_keys=n_keys, n_values=n_values, pairs=pairs), data.draw(st.integers(0, 7))
    batch, n = task.batch("train", 10, step=step), pairs[step % len(pairs)]
    assert batch.tokens.shape == (10, 4 * n - 1)
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        value = dict(zip(tokens[0 : 2 * n : 2], tokens[1 : 2 * n : 2], strict=True))
        assert len(value) == n and all(key < n_keys for key in value)
        assert all(n_keys <= v < n_keys + n_values for v in value.values())
        assert sorted(tokens[2 * n :: 2]) == sorted(value)
        for place, target in enumerate(targets):
            asked = place >= 2 * n and place % 2 == 0
            assert target == (value[tokens[place]] if asked else IGNORE)


@quick
@given(st.integers(1, 8), st.sampled_from(["first", "last"]), st.integers(0, 99))
def test_the_question_stands_first_or_last(n, order, seed):
    batch = PromptOrder(pairs=(n,), orders=(order,)).batch("test", 10, seed=seed)
    assert batch.tokens.shape == (10, 2 * n + 1)
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        question, pairs = (tokens[0], tokens[1:]) if order == "first" else (tokens[-1], tokens[:-1])
        value = dict(zip(pairs[::2], pairs[1::2], strict=True))
        assert len(value) == n
        assert targets == [IGNORE] * (2 * n) + [value[question]]


def test_steps_go_through_orders_and_pairs():
    task = PromptOrder(pairs=(2, 4))
    assert [task.batch("train", 1, step=step).tokens.shape[1] for step in range(5)] == [5, 5, 9, 9, 5]
    first, last = (task.batch("train", 50, step=step).tokens for step in (0, 1))
    assert (first[:, 1] < 8).all() and (last[:, 1] >= 8).all()
    assert PromptOrder().at(6, "last").batch("train", 3, step=1).tokens.shape == (3, 13)


def test_the_fixed_sample_holds_every_condition_and_look_up_solves_it():
    task = AssociativeRecall(n_keys=16, pairs=(2, 5, 16), n_eval=20)
    items = task.dataset("test")
    assert items.tokens.shape == (20, 63)
    sizes = (items.targets != IGNORE).sum(1)
    assert sizes.unique(return_counts=True)[1].tolist() == [7, 7, 6]
    assert ((items.tokens == task.pad).sum(1) == 63 - (4 * sizes - 1)).all()
    found = task.evaluate(Lookup(task.vocab_size), "test")
    assert found.accuracy.min() == found.token_accuracy.min() == 1
    assert task.at(5).evaluate(Lookup(task.vocab_size), "test").attrs["chance_token_accuracy"] == 1 / 64
    assert task.at(5).dataset("test").tokens.shape == (20, 19)


def test_levels_of_a_guess_in_the_context():
    task = AssociativeRecall(n_keys=4, n_values=3, pairs=(4,), n_eval=4000)
    items = task.dataset("test")
    hits = (items.tokens[:, 1] == items.targets[:, 8]).double().mean().item()
    assert hits == pytest.approx(task.chance("test")["token_accuracy_context"], abs=0.03)


def test_batches_are_pure():
    task, again = (PromptOrder(n_eval=9) for _ in range(2))
    task.batch("train", 7)
    assert torch.equal(task.batch("train", 5, step=2, seed=4).tokens, again.batch("train", 5, step=2, seed=4).tokens)
    assert torch.equal(task.dataset("test").tokens, again.dataset("test").tokens)
    assert not torch.equal(task.batch("test", 9, step=2).tokens, task.batch("train", 9, step=2).tokens)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AssociativeRecall(n_keys=4, pairs=(5,)), r"pairs must be from 1 to 4 \(n_keys\), got 5"),
        (lambda: AssociativeRecall(pairs=()), "at least one condition"),
        (lambda: PromptOrder(orders=()), "at least one condition"),
        (lambda: AssociativeRecall(n_values=0), "n_values must be at least 1"),
    ],
)
def test_sizes_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
