import numpy as np
import pytest
import xarray as xr

from elegans.studies.gd_cot import claims as gd
from elegans.studies.in_context_recall import claims as recall
from elegans.study import Results


def curve(excess, lr=0.1, n_triggers=5, seeds=2):
    data = np.broadcast_to(np.asarray(excess, float)[None, :, None], (seeds, len(excess), 2))
    return xr.Dataset(
        {"excess": (("seed", "step", "split"), data), "lr": ("seed", [lr] * seeds)},
        coords={"seed": range(seeds), "step": np.arange(len(excess)), "split": ["id", "ood"]},
    ).assign(n_triggers=n_triggers)


def test_slope_is_that_of_the_window():
    t = np.arange(400)
    results = Results({"a": curve(np.log1p(59 * np.exp(-0.1 * t / np.sqrt(5))))})
    np.testing.assert_allclose(recall.slope(results, "a"), -0.1 / np.sqrt(5), rtol=0.03)
    assert (recall.rate_gap(results, "a") < 0.03).all()
    assert (recall.rate_gap(results, "a", 1.0) > 1).all()
    assert (recall.late_over_early(results, "a") > 0.9).all()


def test_a_power_law_is_not_linear_in_the_logarithm():
    results = Results({"a": curve(1 / (1 + np.arange(1000)))})
    assert (recall.late_over_early(results, "a") < 0.3).all()


def errors(values, trained=2):
    return xr.Dataset(
        {"error": (("seed", "split", "thoughts"), np.asarray(values, float)[None, None])},
        coords={"seed": [0], "split": ["id"], "thoughts": range(len(values))},
    ).assign(trained_thoughts=("seed", [trained]))


def test_growth_is_the_worst_step():
    assert gd.growth(Results({"a": errors([8, 4, 2, 3, 1])}), "a").item() == pytest.approx(1.5)
    assert gd.growth(Results({"a": errors([8, 4, 2, 1.5])}), "a").item() == pytest.approx(0.75)


def test_answers_are_read_at_the_trained_number():
    results = Results({"a": errors([8, 4, 2, 20], trained=2)})
    assert gd.answer(results, "a").item() == 2
    assert gd.later_over_trained(results, "a").item() == pytest.approx(1)


def test_products_are_compared_with_both_sides_of_gradient_descent():
    data = xr.Dataset(
        {"label_product": (("seed", "step"), [[0.0, 0.4]]), "state_product": (("seed", "step"), [[0.0, -0.3]])}
    )
    assert gd.gd_products_gap(Results({"a": data}), "a").item() == pytest.approx(0.25)
    assert gd.state_over_label(Results({"a": data}), "a").item() == pytest.approx(0.75)
