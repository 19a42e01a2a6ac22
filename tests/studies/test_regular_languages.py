import numpy as np
import pytest
import torch
import xarray as xr

from elegans.studies.regular_languages import STUDY, experiments
from elegans.studies.regular_languages.arms import ChainConfig, LanguageConfig, SampledConfig
from elegans.study import UsageError


class Watcher:
    """A run that keeps nothing."""

    device = torch.device("cpu")

    def progress(self, step, total, **metrics):
        pass

    def checkpoint(self, name):
        return self

    def load(self):
        return None

    def save(self, point):
        pass


def by_hand(steps, boundary, lr, temperature):
    """The published gradient descent on even pairs up to length 3, with the gradients of autograd on plain loops."""
    import itertools

    words = [w for n in (1, 2, 3) for w in itertools.product((0, 1), repeat=n)]
    u = torch.zeros(6, dtype=torch.double, requires_grad=True)
    W = torch.zeros(6, 6, dtype=torch.double, requires_grad=True)
    losses = []
    for t in range(steps):
        loss = torch.zeros((), dtype=torch.double)
        for word in words:
            index = [2 * place + symbol for place, symbol in enumerate(word)]
            phi = (W[index, index[-1]] / temperature).softmax(0)
            y = 1 if word[0] == word[-1] else -1
            loss = loss + torch.log1p(torch.exp(-y * (phi @ u[index]))) / 2 ** len(word)
        losses.append(loss.item())
        step_u, step_W = torch.autograd.grad(loss, [u, W])
        with torch.no_grad():
            u -= lr * step_u
            W -= lr * (temperature if t < boundary else 1.0) * step_W
    return losses, u.detach(), W.detach()


def test_the_two_phases_are_the_published_descent():
    config = LanguageConfig(max_length=3, steps=30, boundary=12, lr=0.5, temperature=2.0, evaluations=60)
    found = experiments.language(config, [0, 1], Watcher())
    losses, u, W = by_hand(30, 12, 0.5, 2.0)
    assert found.seed.values.tolist() == [0, 1]
    for seed in (0, 1):
        data = found.isel(seed=seed)
        np.testing.assert_allclose(
            data.loss.sel(step=slice(0, 29)), np.array(losses)[data.step.values[:-1]], rtol=1e-10
        )
        np.testing.assert_allclose(data.token_score.isel(step=-1).values.flatten(), u, rtol=1e-9)
        assert float(data.norm_W.isel(step=-1)) == pytest.approx(float(W.norm()))


def test_random_starts_differ_and_a_stack_is_its_members():
    config = ChainConfig(length=3, short=0, steps=20, boundary=5, init_std=0.1, evaluations=4)
    together = experiments.chain(config, [3, 4], Watcher())
    alone = experiments.chain(config, [4], Watcher())
    xr.testing.assert_allclose(together.sel(seed=[4]), alone)
    assert float(together.loss.sel(seed=3)[-1]) != float(together.loss.sel(seed=4)[-1])


def test_sampled_strings_are_new():
    config = SampledConfig(max_length=5, per_length=4, steps=4, boundary=2, evaluations=2)
    found = experiments.sampled(config, [0, 1], Watcher())
    assert set(found.way.values) == {"direct", "truncated", "untruncated"}
    assert np.isnan(found.parity.sel(way="untruncated")).all()  # such chains outgrow the model


def test_drift_is_zero_where_it_starts():
    config = LanguageConfig(max_length=3, steps=30, boundary=12, lr=0.5)
    found = experiments.language(config, [0], Watcher())
    assert float(found.drift.sel(step=12).item()) == 0 == float(found.moved.sel(step=0).item())
    assert float(found.moved.sel(step=30).item()) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LanguageConfig(steps=50, boundary=50), "boundary must be below steps"),
        (lambda: LanguageConfig(max_length=2), "max_length must be at least 3"),
        (lambda: ChainConfig(length=4, short=4), "short must be below length"),
        (lambda: LanguageConfig(temperature=0.0), r"temperature must be above 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_scales_have_the_same_arms():
    assert len({tuple(arms) for arms in STUDY.arms.values()}) == 1
