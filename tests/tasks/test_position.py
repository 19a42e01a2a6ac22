import math

import pytest
import torch

from elegans.tasks.base import IGNORE
from elegans.tasks.position import EvenToken, PositionIdentification


class Bag(torch.nn.Module):
    """Fixed logits wherever it is."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, tokens):
        return self.logits.expand(*tokens.shape, -1)


def test_labels_are_the_positions():
    task = PositionIdentification(n_positions=5, n_tokens=3)
    batch = task.batch("train", 4)
    assert batch.targets.tolist() == [[0, 1, 2, 3, 4]] * 4
    assert batch.tokens.min() >= 5 and batch.tokens.max() < task.vocab_size == 8


def test_one_kind_of_token_is_a_constant_input():
    batch = PositionIdentification(n_positions=7).batch("train", 3)
    assert (batch.tokens == 7).all()


@pytest.mark.parametrize("kind", [PositionIdentification, EvenToken])
def test_the_beginning_has_its_own_token_and_is_not_scored(kind):
    task, plain = kind(n_positions=6, n_tokens=4, bos=True), kind(n_positions=6, n_tokens=4)
    batch = task.batch("test", 9)
    assert (batch.tokens[:, 0] == task.bos_token).all() and not (batch.tokens[:, 1:] == task.bos_token).any()
    assert (batch.targets[:, 0] == IGNORE).all() and task.bos_token == task.vocab_size - 1
    assert torch.equal(batch.tokens[:, 1:], plain.batch("test", 9).tokens)
    assert torch.equal(batch.targets[:, 1:], plain.batch("test", 9).targets)


def test_every_second_token_is_said():
    batch = EvenToken(n_positions=7, n_tokens=5).batch("train", 20)
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert targets == [token if place % 2 == 0 else 0 for place, token in enumerate(tokens, start=1)]


@pytest.mark.parametrize("n_positions", [1, 6, 7])
def test_chance_is_reached_by_a_guess_without_place(n_positions):
    even = EvenToken(n_positions=n_positions)
    share = (n_positions // 2) / n_positions
    logits = torch.tensor([1 - share, share]).clamp(min=1e-30).log()
    for task, guess in ((even, logits), (PositionIdentification(n_positions=n_positions), None)):
        if guess is None:
            guess = torch.zeros(task.vocab_size)
            guess[n_positions:] = -math.inf
        found = task.evaluate(Bag(guess), "test")
        assert float(found.nll.mean()) == pytest.approx(task.chance("test")["nll"], abs=1e-6)
        assert float(found.accuracy.mean()) == pytest.approx(task.chance("test")["accuracy"])
        assert found.chance_nll == task.chance("test")["nll"]


def test_batches_are_pure():
    task = PositionIdentification(n_tokens=9, bos=True)
    assert torch.equal(task.batch("train", 5, step=2).tokens, task.batch("train", 5, step=2).tokens)
    assert not torch.equal(task.batch("train", 5, step=2).tokens, task.batch("test", 5, step=2).tokens)
    with pytest.raises(KeyError, match="no split 'id'; this task has train, test"):
        task.batch("id", 1)
    with pytest.raises(ValueError, match="n_positions must be at least 1"):
        EvenToken(n_positions=0)
