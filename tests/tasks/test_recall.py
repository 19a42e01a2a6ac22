import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE
from elegans.tasks.recall import InContextRecall, _apart, last_logits

quick = settings(max_examples=30, deadline=None)


@st.composite
def worlds(draw):
    n_triggers, n_outputs = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    alpha = draw(st.sampled_from([0.0, 0.3, 0.8]))
    n_answer, n_noise = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    bigrams = n_answer + (n_noise if alpha else 0)
    return dict(
        n_tokens=n_triggers + n_outputs + draw(st.integers(2, 6)),
        length=2 * bigrams + draw(st.integers(1, 8)),
        n_triggers=n_triggers,
        n_outputs=n_outputs,
        alpha=alpha,
        n_answer=n_answer,
        n_noise=n_noise,
        n_eval=20,
        seed=draw(st.integers(0, 9)),
    )


def read(sentence):
    """Trigger and all its followers, by walking the tokens."""
    q = sentence[-1]
    return q, Counter(after for before, after in pairwise(sentence) if before == q)


@quick
@given(worlds(), st.sampled_from(["train", "id", "ood"]))
def test_sentences_are_what_the_definition_says(config, split):
    task = InContextRecall(**config)
    tau, filler = task.vocab_size - 1, set(range(task.n_triggers, task.vocab_size - 1))
    seen = set(range(task.n_triggers, task.n_triggers + task.n_outputs))
    batch = task.batch(split, 30, step=3, seed=1)
    for sentence, targets, y in zip(
        batch.tokens.tolist(), batch.targets.tolist(), task.answers(batch.tokens).tolist(), strict=True
    ):
        q, followers = read(sentence)
        assert q in ({0} if task.alpha else set(range(task.n_triggers)))
        expected = {y: task.n_answer} | ({tau: task.n_noise} if task.alpha else {})
        assert followers == expected
        assert y in (filler - seen if split == "ood" else seen)
        triggers = sum(token < task.n_triggers for token in sentence)
        assert triggers == 1 + sum(expected.values()), "no trigger occurs as filler"
        assert sentence.count(tau) == expected.get(tau, 0), "tau does not occur as filler"
        assert targets[:-1] == [IGNORE] * (len(sentence) - 1)
        assert targets[-1] in expected


@quick
@given(worlds())
def test_batches_are_pure(config):
    task, again = InContextRecall(**config), InContextRecall(**config)
    task.batch("train", 7)
    for split in task.splits:
        assert torch.equal(task.batch(split, 5, step=2, seed=4).tokens, again.batch(split, 5, step=2, seed=4).tokens)


def test_streams_differ():
    task = InContextRecall(length=9, n_eval=4)
    assert not torch.equal(task.batch("train", 20, step=0).tokens, task.batch("train", 20, step=1).tokens)
    assert not torch.equal(task.batch("train", 20, seed=0).tokens, task.batch("train", 20, seed=1).tokens)


def test_bayes_probs_are_the_frequencies_of_the_targets():
    task = InContextRecall(n_tokens=12, length=9, n_outputs=3, alpha=0.3, n_eval=10)
    batch = task.batch("train", 40_000)
    probs = task.bayes_probs(batch.tokens)
    torch.testing.assert_close(probs.sum(1), torch.ones(len(batch), dtype=torch.double))
    target = batch.targets[:, -1]
    for name, at in (("answer", task.answers(batch.tokens)), ("noise", torch.full_like(target, task.noise_token))):
        expected = probs.gather(1, at[:, None]).mean().item()
        assert (target == at).double().mean().item() == pytest.approx(expected, abs=0.01), name
    loss = -probs.gather(1, target[:, None]).log().mean().item()
    assert loss == pytest.approx(task.bayes_risk, abs=0.01)
    assert task.bayes_risk == pytest.approx(-0.3 * math.log(0.3) - 0.7 * math.log(0.7))


def test_noiseless_bayes_risk_is_zero():
    task = InContextRecall(n_eval=10)
    assert task.bayes_risk == 0
    items = task.dataset("ood")
    assert torch.equal(task.bayes_probs(items.tokens).argmax(1), items.targets[:, -1])


def test_places_are_uniform_over_the_ways_without_overlap():
    count, length, size = 2, 6, 60_000
    places = _apart(numpy_rng("test"), size, count, length)
    ways = {(a, b) for a in range(length - 1) for b in range(length - 1) if abs(a - b) >= 2}
    found = Counter(map(tuple, places.tolist()))
    assert set(found) == ways
    expected = size / len(ways)
    assert max(abs(n - expected) for n in found.values()) < 5 * math.sqrt(expected)


def test_a_fixed_list_goes_around_and_counts_its_noise():
    task = InContextRecall(length=9, alpha=0.5, n_train=10, n_eval=4)
    items = task.dataset("train")
    assert len(items) == 10
    seen = torch.cat([task.batch("train", 4, step=step).tokens for step in range(5)])
    assert torch.equal(seen, torch.cat([items.tokens, items.tokens]))
    assert task.noise_rate == (items.targets[:, -1] == 59).double().mean().item() != 0.5
    assert InContextRecall(length=9, alpha=0.5, n_eval=4).noise_rate == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_tokens": 10}, "n_tokens must be at least 11, got 10"),
        ({"alpha": 1.0}, r"alpha must be in \[0, 1\), got 1.0"),
        ({"length": 2}, "length must be at least 3, got 2"),
        ({"length": 6, "alpha": 0.5, "n_noise": 2}, "length must be at least 7, got 6"),
        ({"n_answer": 0}, "n_answer must be at least 1, got 0"),
        ({"n_train": 0}, "n_train must be at least 1, got 0"),
    ],
)
def test_wrong_sizes_are_refused_with_the_bound(change, message):
    with pytest.raises(ValueError, match=message):
        InContextRecall(**change)


def test_an_unknown_split_is_named():
    task = InContextRecall(length=9, n_eval=4)
    for call in (task.dataset, task.chance, lambda split: task.batch(split, 3)):
        with pytest.raises(KeyError, match="no split 'test'"):
            call("test")


def test_evaluate_takes_models_of_all_positions_and_of_the_last():
    task = InContextRecall(length=9, n_eval=50)

    class Copier(torch.nn.Module):
        def forward(self, tokens):
            return 50 * task.bayes_probs(tokens)

    class Everywhere(Copier):
        def forward(self, tokens):
            return super().forward(tokens)[:, None].expand(-1, tokens.shape[1], -1)

    for model in (Copier(), Everywhere()):
        assert last_logits(model, task.dataset("id").tokens).shape == (50, 60)
        found = task.evaluate(model, "ood")
        assert found.accuracy.mean() == 1 and np.allclose(found.nll, 0, atol=1e-9)
        assert found.attrs["chance_nll"] == pytest.approx(math.log(60))
