import math

import numpy as np
import pytest
import torch
from torch import nn

from elegans.models.recall import RecallAttention
from elegans.probes.bayes import excess_risk, recall_accuracy, recall_report, role_separation
from elegans.tasks.recall import InContextRecall


def world(**more):
    return InContextRecall(**dict(n_tokens=11, length=9, n_triggers=2, n_outputs=3, alpha=0.3, n_eval=200) | more)


def test_excess_is_the_expected_loss_above_the_bayes_risk():
    task = world()
    batch = task.batch("train", 60_000)
    logits = torch.randn(len(batch), 11, generator=torch.Generator().manual_seed(0))
    excess = excess_risk(logits, task.bayes_probs(batch.tokens))
    assert (excess >= 0).all()
    sampled = nn.functional.cross_entropy(logits, batch.targets[:, -1]).item()
    assert excess.mean().item() == pytest.approx(sampled - task.bayes_risk, abs=0.02)


def test_excess_of_the_oracle_is_zero_and_of_a_guess_known():
    task = world()
    bayes = task.bayes_probs(task.dataset("id").tokens)
    assert excess_risk(bayes.clamp(min=1e-30).log(), bayes).abs().max() < 1e-12
    guess = excess_risk(torch.zeros(200, 11), bayes)
    torch.testing.assert_close(guess, torch.full_like(guess, math.log(11) - task.bayes_risk))


def test_recall_ignores_the_noise_token_and_counts_ties_as_wrong():
    logits = torch.tensor([[0.0, 2.0, 1.0, 9.0], [5.0, 1.0, 0.0, 0.0], [2.0, 2.0, 0.0, 9.0]])
    answers = torch.tensor([1, 1, 1])
    assert recall_accuracy(logits, answers, 3).tolist() == [True, False, False]
    assert logits[0, 3] == 9, "the logits are left alone"


def test_roles_are_read_from_the_two_parts():
    attention = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 2.0]])
    feed_forward = torch.tensor([[0.0, 0.0, 1.0], [3.0, 0.0, 1.0]])
    y, noise = role_separation(attention, feed_forward, torch.tensor([1, 1]), 2)
    assert y.tolist() == [True, False] and noise.tolist() == [True, False]


def test_report_of_the_tied_solution_is_perfect_on_both_splits():
    task = world()
    model = RecallAttention(vocab=11, n_triggers=2, alpha=0.3)
    nn.init.constant_(model.attention.lam, 30.0)
    report = recall_report(model, task)
    assert report.split.values.tolist() == ["id", "ood"]
    assert np.allclose(report.excess, 0, atol=1e-6) and np.allclose(report.nll, task.bayes_risk, atol=1e-6)
    assert np.allclose(report.p_noise, 0.3) and np.allclose(report.p_answer, 0.7)
    for name in ("recall", "attention_says_answer", "feed_forward_says_noise"):
        assert (report[name] == 1).all()


def test_report_takes_models_without_parts():
    task = world(alpha=0.0)
    model = nn.Sequential(nn.Embedding(11, 11))
    report = recall_report(model, task, "id")
    assert set(report) == {"excess", "recall", "p_answer", "p_noise", "nll"}
