import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.ops.rng import torch_rng
from elegans.tasks.language import next_tokens, shuffled, stationary, whole
from elegans.tasks.markov import BigramBackcopy, MarkovText

quick = settings(max_examples=25, deadline=None)
TASKS = {
    "markov": MarkovText(n_tokens=12, length=20, n_eval=30),
    "backcopy": BigramBackcopy(n_tokens=12, length=20, n_eval=30),
}


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


class Table(torch.nn.Module):
    """Logits by the last token."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, tokens):
        return self.logits[tokens]


def test_batches_are_pure_and_streams_differ(task):
    first = task.batch("train", 8, step=3, seed=1)
    assert torch.equal(first.tokens, task.batch("train", 8, step=3, seed=1).tokens)
    others = [
        task.batch("test", 8, step=3, seed=1),
        task.batch("train", 8, step=4, seed=1),
        task.batch("train", 8, step=3),
    ]
    assert not any(torch.equal(first.tokens, other.tokens) for other in others)
    assert torch.equal(first.tokens[:, 1:], first.targets[:, :-1])


def test_a_short_sequence_is_the_beginning_of_a_long_one(task):
    short, long = task.dataset("test", 9), task.dataset("test", 40)
    assert short.tokens.shape == (30, 9) and torch.equal(short.tokens, long.tokens[:, :9])
    torch.testing.assert_close(task.floor(short), task.floor(long)[:, :9])


@quick
@given(n_tokens=st.integers(2, 30), scale=st.floats(0, 3), seed=st.integers(0, 9))
def test_the_entropy_rate_is_the_expected_bayes_loss(n_tokens, scale, seed):
    task = MarkovText(n_tokens=n_tokens, scale=scale, length=50, n_eval=200, seed=seed)
    torch.testing.assert_close(task.stationary @ task.transition, task.stationary)
    floor = task.floor(task.dataset("test")).mean(1)
    assert abs(floor.mean() - task.entropy_rate) < 5 * floor.std() / math.sqrt(200) + 1e-9


def test_the_chain_has_the_written_transitions():
    task = MarkovText(n_tokens=5, scale=1.0, n_eval=1)
    tokens = whole(task.batch("train", 4000, length=20))
    counts = torch.zeros(5, 5, dtype=torch.double)
    counts.index_put_((tokens[:, :-1].flatten(), tokens[:, 1:].flatten()), torch.tensor(1.0).double(), accumulate=True)
    torch.testing.assert_close(counts / counts.sum(1, keepdim=True), task.transition, atol=0.015, rtol=0)
    starts = tokens[:, 0].bincount(minlength=5) / 4000
    torch.testing.assert_close(starts.double(), task.stationary, atol=0.04, rtol=0)


def test_the_size_of_the_published_setting():
    assert abs(MarkovText(n_tokens=256, scale=2.0, n_eval=1).entropy_rate - 3.76) < 0.05


@quick
@given(n_tokens=st.integers(4, 20), n_triggers=st.integers(1, 2), seed=st.integers(0, 9))
def test_copies_follow_triggers_and_nothing_else_is_certain(n_tokens, n_triggers, seed):
    task = BigramBackcopy(n_tokens=n_tokens, n_triggers=n_triggers, length=30, n_eval=20, seed=seed)
    batch = task.batch("train", 20, seed=seed)
    tokens = whole(batch)
    floors, kinds = task.bayes_nll(tokens).tolist(), task.kind_of(tokens).tolist()
    triggers = set(range(1, n_triggers + 1))
    for sequence, floor, kind in zip(tokens.tolist(), floors, kinds, strict=True):
        assert sequence[0] == 0 and 0 not in sequence[1:] and sequence[1] not in triggers
        assert floor[1] == pytest.approx(math.log(n_tokens - 1 - n_triggers))
        for t in range(2, len(sequence)):
            last = sequence[t - 1]
            assert kind[t] == (last in triggers)
            if last in triggers:
                assert sequence[t] == sequence[t - 2] and sequence[t] not in triggers and floor[t] == 0
            else:
                assert floor[t] == pytest.approx(-math.log(task.transition[last, sequence[t]]))


def test_impossible_tokens_have_no_probability():
    task = TASKS["backcopy"]
    nll = task.bayes_nll(torch.tensor([[0, 5, 2, 6], [4, 5, 0, 1], [0, 1, 0, 0]]))
    assert nll[0, 3] == math.inf and nll[1, 0] == math.inf and nll[1, 2] == math.inf and nll[2, 1] == math.inf


def test_the_kinds_of_targets_are_aligned_with_scores():
    task = TASKS["backcopy"]
    model = Table(task.transition.clamp(min=1e-9).log())
    found = task.evaluate(model, "test")
    free = found.where((found.kind == 0) & (found.position > 0))
    np.testing.assert_allclose(free.nll.mean(), free.floor.mean(), rtol=1e-5)
    copied = found.where(found.kind == 1)
    assert copied.floor.max() == 0 and copied.nll.mean() > 1


def test_shuffled_labels_keep_their_number_in_every_sequence():
    task = TASKS["backcopy"]
    kinds = task.target_kinds(task.dataset("test", 60))
    control = shuffled(kinds, 1)
    assert torch.equal(control.sum(1), kinds.sum(1)) and not torch.equal(control, kinds)
    assert torch.equal(control, shuffled(kinds, 1)) and not torch.equal(control, shuffled(kinds, 2))


def test_evaluating_many_sequences_in_portions_changes_nothing():
    task = MarkovText(n_tokens=300, length=200, n_eval=400)
    model = Table(torch.randn(300, 300, generator=torch_rng("table")))
    found = task.evaluate(model, "select")
    expected = torch.nn.functional.cross_entropy(
        model(task.dataset("select").tokens).transpose(1, 2), task.dataset("select").targets, reduction="none"
    )
    np.testing.assert_allclose(found.nll, expected.detach(), rtol=1e-5)


def test_stationary_distribution_of_a_chain_that_may_stay_away():
    np.testing.assert_allclose(
        stationary(np.array([[0.5, 0.5, 0], [0.25, 0.75, 0], [0.1, 0.2, 0.7]])), [1 / 3, 2 / 3, 0], atol=1e-12
    )


def test_targets_are_the_next_tokens():
    sequences = torch.tensor([[3, 1, 2]])
    assert whole(next_tokens(sequences)).tolist() == [[3, 1, 2]]


def test_wrong_calls_are_named(task):
    with pytest.raises(KeyError, match="no split 'validation'; this task has train, select, test"):
        task.batch("validation", 2)
    with pytest.raises(KeyError, match="no split 'ood'"):
        task.chance("ood")
    with pytest.raises(ValueError, match="length must be at least 1"):
        task.batch("train", 2, length=0)
    with pytest.raises(ValueError, match="n_triggers must be from 1 to 46"):
        BigramBackcopy(n_triggers=47)
    assert task.chance("test")["nll"] == pytest.approx(math.log(12))
