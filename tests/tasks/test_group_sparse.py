import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from elegans.tasks.group_sparse import GroupSparse


@given(st.integers(0, 10**6), st.sampled_from([(0,), (2,), (1, 3)]), st.sampled_from([0.0, 0.5, 2.0]), st.booleans())
def test_labels_are_the_sign_of_the_relevant_part(seed, relevant, margin, antithetic):
    task = GroupSparse(features=3, groups=4, relevant=relevant, margin=margin, antithetic=antithetic, seed=seed)
    items = task.batch("train", 20, step=1, seed=seed)
    for x, y in zip(items.x.tolist(), items.y.tolist(), strict=True):
        m = sum(x[j][i] * task.direction[i].item() for j in relevant for i in range(3)) / len(relevant) ** 0.5
        assert y == (1.0 if m >= 0 else -1.0)
        assert abs(m) >= margin - 1e-4
    assert task.direction.norm().item() == pytest.approx(1)


def test_antithetic_pairs():
    items = GroupSparse(features=3, groups=4, antithetic=True).batch("train", 10)
    assert torch.equal(items.x[:5], -items.x[5:]) and torch.equal(items.y[:5], -items.y[5:])


@pytest.mark.parametrize(("relevant", "margin", "sigma"), [((0,), 0.0, 1.0), ((1,), 0.8, 2.0), ((0, 2), 0.5, 1.0)])
def test_the_margin_cuts_the_normal_law_and_moves_nothing_else(relevant, margin, sigma):
    task = GroupSparse(features=3, groups=3, relevant=relevant, margin=margin, sigma=sigma, seed=4)
    items = task.batch("train", 20_000)
    m = task.score(items.x).abs().double().numpy()
    law = stats.truncnorm(margin / sigma, np.inf, scale=sigma)
    assert stats.kstest(m, law.cdf).pvalue > 1e-3
    across = torch.linalg.svd(task.direction[None])[2][1:].mT  # [F, F-1] spans what v does not
    rest = (items.x @ across).flatten().numpy()
    assert stats.kstest(rest[:20_000], stats.norm(scale=sigma).cdf).pvalue > 1e-3
    if len(relevant) == 2:  # the part that tells the relevant groups apart
        apart = (items.x[:, 0] - items.x[:, 2]) @ task.direction / 2**0.5
        assert stats.kstest(apart.numpy(), stats.norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("groups", "relevant"), [(16, (3,)), (6, (0,)), (6, (0, 5)), (1, (0,))])
def test_accuracy_of_even_attention(groups, relevant):
    task = GroupSparse(features=3, groups=groups, relevant=relevant)
    items = task.batch("test", 50_000)
    right = (torch.where(items.x.sum(1) @ task.direction >= 0, 1.0, -1.0) == items.y).double().mean().item()
    assert right == pytest.approx(task.even_attention_accuracy(), abs=0.01)


def test_streams_are_functions_of_their_address():
    task, other = GroupSparse(features=3, groups=4, seed=1), GroupSparse(features=3, groups=4, seed=2)
    first = task.batch("train", 8, step=5, seed=1)
    assert torch.equal(first.x, task.batch("train", 8, step=5, seed=1).x)
    for changed in (task.batch("train", 8, step=6, seed=1), task.batch("train", 8, step=5, seed=2)):
        assert not torch.equal(first.x, changed.x)
    assert not torch.equal(task.direction, other.direction)
    assert torch.equal(task.dataset("test").x, task.dataset("test").x) and len(task.dataset("test")) == 4000
    assert not torch.equal(task.batch("test", 8).x, task.batch("train", 8).x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": 0}, "features must be at least 1, got 0"),
        ({"relevant": ()}, "relevant must name different groups from 0 to 3"),
        ({"relevant": (1, 1)}, r"got \(1, 1\)"),
        ({"relevant": (4,)}, r"from 0 to 3, got \(4,\)"),
        ({"sigma": 0.0}, "sigma must be above 0"),
        ({"margin": -0.1}, "margin must lie between 0 and 5 sigma = 5"),
        ({"margin": 6.0}, "margin must lie between 0 and 5 sigma = 5"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GroupSparse(**{"features": 3, "groups": 4, **settings})


def test_pairs_need_an_even_size_and_splits_a_name():
    task = GroupSparse(features=3, groups=4, antithetic=True, test_size=5)
    with pytest.raises(ValueError, match="size must be even, got 3"):
        task.batch("train", 3)
    with pytest.raises(KeyError, match="no split 'id'; this task has train, test"):
        task.batch("id", 4)
    assert len(task.dataset("test")) == 6
