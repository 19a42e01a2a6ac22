import pytest
import torch

from elegans.studies.icl_contrastive import STUDY, claims, experiments
from elegans.studies.icl_contrastive.arms import FeaturesConfig, IdentityConfig, RegressionConfig
from elegans.study import UsageError
from elegans.tasks.regression import InContextRegression


class Quiet:
    """A run that nobody watches."""

    device = torch.device("cpu")

    def progress(self, step, total, **metrics):
        pass

    def checkpoint(self, name):
        class Nowhere:
            def load(self):
                return None

            def save(self, point):
                pass

        return Nowhere()


SMALL = RegressionConfig(steps=12, batch_size=8, restarts=2, evaluations=2, hidden=4)


def test_arms_have_the_same_names_at_every_scale():
    assert len({tuple(STUDY.at(scale)) for scale in ("smoke", "laptop", "paper")}) == 1


def test_restarts_see_the_prompts_of_their_seed():
    tasks = [InContextRegression(width=2, demonstrations=3, seed=seed) for seed in (4, 9)]
    stack = experiments.RestartStack(tasks, [4, 9], restarts=3)
    batch = stack.batch("train", 5, step=7)
    assert len(stack.tasks) == 6 and batch.tokens.shape[:2] == (6, 5)
    for place, (task, seed) in enumerate([(t, s) for t, s in zip(tasks, (4, 9), strict=True) for _ in range(3)]):
        alone = task.batch("train", 5, step=7, seed=seed)
        assert torch.equal(batch.tokens[place], alone.tokens) and torch.equal(batch.targets[place], alone.targets)


def test_seeds_trained_together_are_seeds_trained_alone():
    together = experiments.regression(SMALL, [3, 5], Quiet())
    for seed in (3, 5):
        alone = experiments.regression(SMALL, [seed], Quiet())
        for name in ("error", "starts"):
            assert abs(together[name].sel(seed=seed) - alone[name].sel(seed=seed)).max() < 1e-4


def test_the_reported_start_is_chosen_on_validation_prompts(monkeypatch):
    found = experiments.regression(SMALL, [3, 5], Quiet())
    assert found.error.dims == ("step", "seed") and found.starts.dims == ("seed", "start")
    final = found.error.isel(step=-1)
    assert (abs(found.starts - final).min("start") == 0).all()
    assert found.one_step_gd == pytest.approx(InContextRegression().one_step_error())


def test_repeated_directions_are_the_same_ones_again():
    config = FeaturesConfig(width=4, demonstrations=3, prompts=2, features=(8, 20))
    for few, many in zip(
        experiments._directions(config, "repeated", 8, 0),
        experiments._directions(config, "repeated", 20, 0),
        strict=True,
    ):
        assert torch.equal(many, torch.cat([few, few, few[:4]]))
    kinds = [next(experiments._directions(config, kind, 8, 0)) for kind in ("independent", "orthogonal")]
    assert not torch.equal(*kinds)


def test_slopes_by_hand():
    import numpy as np
    import xarray as xr

    errors = xr.DataArray([3 * r**-0.8 for r in (4, 16, 64)], dims="features", coords={"features": [4, 16, 64]})
    assert claims.slope(errors).item() == pytest.approx(-0.8)
    assert claims.off_rate(errors).item() == pytest.approx(0.3)
    assert claims.digits(xr.DataArray([0.0, 1e-9, 10.0])).values == pytest.approx([-16, -9, 1])
    assert np.isfinite(claims.EQUAL)


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (IdentityConfig, {"num_negatives": 15}, "num_negatives must be below demonstrations = 15, got 15"),
        (IdentityConfig, {"alpha": 2.0}, r"alpha must be below 2, got 2\.0"),
        (FeaturesConfig, {"features": (64, 16)}, "at least two increasing numbers"),
        (FeaturesConfig, {"features": (64,)}, "at least two increasing numbers"),
        (FeaturesConfig, {"variant_norm": 0.7}, "variant_norm must be one of norms"),
        (RegressionConfig, {"negatives": "random", "num_negatives": 20}, "num_negatives must be below demonstrations"),
    ],
)
def test_bad_settings_are_refused(config, settings, message):
    with pytest.raises(UsageError, match=message):
        config(**settings)
