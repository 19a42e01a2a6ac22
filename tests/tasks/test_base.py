import math

import pytest
import torch
from torch import nn

from elegans.tasks.base import IGNORE, Batch, FiniteTask, evaluating, facts, join, score, token_nll


class Table(nn.Module):
    """Logits of each position read from a table by token."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits, dtype=torch.float32))
        self.drop = nn.Dropout(0.5)

    def forward(self, tokens):
        return self.drop(self.logits[tokens])


def test_facts_score_the_answer_only():
    batch = facts(torch.tensor([[1, 2], [3, 2]]), torch.tensor([[4, 5], [6, 7]]))
    assert batch.tokens.tolist() == [[1, 2, 4], [3, 2, 6]]
    assert batch.targets.tolist() == [[IGNORE, 4, 5], [IGNORE, 6, 7]]


def test_join_and_take():
    one, two = (facts(torch.tensor([[n]]), torch.tensor([[n + 1]])) for n in (0, 5))
    assert join(one, two).take(torch.tensor([1, 1])).targets.tolist() == [[6], [6]]


def test_token_nll_by_hand():
    logits = torch.tensor([[[0.0, math.log(3)], [5.0, 5.0]]])
    nll = token_nll(logits, torch.tensor([[1, IGNORE]]))
    assert torch.allclose(nll, torch.tensor([[math.log(4 / 3), 0.0]]))


def test_score_sums_over_the_answer_and_wants_every_token_right():
    model = Table([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [3.0, 0.0, 0.0]])
    right = facts(torch.tensor([[0]]), torch.tensor([[1, 2]]))
    wrong = facts(torch.tensor([[0]]), torch.tensor([[1, 1]]))
    scores = score(model, join(right, wrong))
    assert scores["accuracy"].tolist() == [1.0, 0.0]
    first = math.log(2 + math.e) - 1
    second = math.log(2 + math.e**2)
    assert scores["nll"].tolist() == pytest.approx([first + second - 2, first + second])


def test_scoring_restores_the_mode_of_every_module():
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    with pytest.raises(RuntimeError), evaluating(model):
        assert not model.training and not torch.is_grad_enabled()
        raise RuntimeError
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_scoring_restores_what_a_wrapper_switches_in_its_own_train():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = (nn.Dropout(),)

        def train(self, mode=True):
            self.hidden[0].train(mode)
            return super().train(mode)

    model = Wrapper()
    with evaluating(model):
        assert not model.hidden[0].training
    assert model.hidden[0].training


@pytest.fixture
def task():
    items = facts(torch.arange(10)[:, None], torch.arange(10)[:, None])
    return FiniteTask(10, {"train": items, "none": items.take(torch.arange(0))})


def test_batches_are_a_pure_function_of_split_seed_and_step(task):
    def drawn(**where):
        return task.batch("train", 32, **where).tokens.flatten().tolist()

    assert drawn(step=3, seed=1) == drawn(step=3, seed=1)
    assert len({tuple(drawn(step=step, seed=seed)) for step in range(3) for seed in range(3)}) == 9
    assert set(drawn(step=0) + drawn(step=1) + drawn(step=2)) == set(range(10))


def test_wrong_and_empty_splits(task):
    with pytest.raises(KeyError, match="train, none"):
        task.dataset("test")
    with pytest.raises(ValueError, match="'none' is empty"):
        task.batch("none", 4)
    assert len(task.dataset("none")) == 0


def test_batch_length_with_a_member_dimension():
    tokens = torch.zeros(3, 5, 2, dtype=torch.long)
    assert len(Batch(tokens, tokens)) == 5
