import numpy as np
import pytest
import torch
import xarray as xr

from elegans.studies.group_sparse import STUDY, experiments
from elegans.studies.group_sparse.arms import LearnConfig, LinearConfig, TransferConfig
from elegans.study import UsageError
from elegans.tasks.group_sparse import GroupSparse

SMALL = {"features": 3, "groups": 4, "test_size": 40, "second_test_size": 30}


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


def test_a_stack_is_its_members():
    config = LearnConfig(**SMALL, batch_size=4, steps=9, evaluations=6)
    together = experiments.learn(config, [5, 6], Watcher())
    alone = experiments.learn(config, [6], Watcher())
    xr.testing.assert_allclose(together.sel(seed=[6]), alone, rtol=1e-3, atol=1e-4)


def test_even_attention_stays_even_and_the_limit_is_the_step():
    config = LearnConfig(**SMALL, batch_size=4, steps=9, evaluations=6, attention="frozen")
    found = experiments.learn(config, [0], Watcher())
    np.testing.assert_allclose(found.relevant_mass, 0.25, rtol=1e-6)
    assert config.lr == pytest.approx(0.85 * 16 / 20)


def test_positions_are_unstable_above_the_limit():
    """The loss has curvature D (D + 1) / 8 along sum_j p_j at the start; descent is unstable where eta exceeds 2 over it."""
    from elegans.models.theory import GroupClassifier

    groups = 5
    model = GroupClassifier(features=2, groups=groups).double()
    items = GroupSparse(features=2, groups=groups, antithetic=True).batch("train", 20)

    def loss(v):
        scores = torch.func.functional_call(model, {"v": v}, (items.x.double(),))
        return torch.nn.functional.softplus(-items.y * scores).mean()

    hessian = torch.autograd.functional.hessian(loss, torch.zeros(2 + groups, dtype=torch.double))
    along = torch.cat([torch.zeros(2), model.positions.sum(0)]).double()
    along /= along.norm()
    assert float(along @ hessian @ along) == pytest.approx(groups * (groups + 1) / 8)


def test_second_tasks_start_from_zero_and_leave_the_first_alone():
    config = TransferConfig(**SMALL, batch_size=4, steps=6, evaluations=6, items=(1, 3), repeats=2)
    learned, found = (run(config, [0, 1], Watcher()) for run in (experiments.learn, experiments.transfer))
    xr.testing.assert_identical(found[list(learned.data_vars)], learned)
    assert found.transfer.sizes == {"second": 3, "seed": 2, "n": 2}
    bare = experiments.scratch(config, [0, 1], Watcher())
    assert set(bare.data_vars) == {"transfer"}


def test_logistic_regression_sees_the_transformers_items():
    config = LinearConfig(features=3, groups=3, items=(5, 60), repeats=2, second_test_size=200, margin=0.5)
    found = experiments.linear(config, [0], Watcher())
    at = found.sel(second="margin", n=60)
    assert at.oracle.item() > 0.95 and at.oracle.item() >= at.converged.item() >= at.online.item() - 0.1


def test_one_label_only_is_answered_with_it():
    scores = experiments._converged(np.ones((2, 3)), np.array([-1.0, -1.0]), np.ones((4, 3)))
    assert (scores == -1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 5}, "batch_size must be even, got 5"),
        ({"relevant": 9, "groups": 8}, "relevant must be at most groups = 8, got 9"),
        ({"positions": "added"}, "added positions need features >= groups, got 8 and 16"),
        ({"step_size": 0.0}, "step_size must be above 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        LearnConfig(**settings)


def test_scales_have_the_same_arms():
    assert len({tuple(arms) for arms in STUDY.arms.values()}) == 1
