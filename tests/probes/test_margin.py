import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from elegans.ops.rng import numpy_rng
from elegans.probes.margin import hard_margin, margin, margin_cosine, margin_ratio, mean_difference


def separable(seed, n=30, width=4, gap=0.2):
    rng = numpy_rng("margin", seed)
    truth = rng.normal(size=width)
    points = rng.normal(size=(4 * n, width))
    points = points[abs(points @ truth) / np.linalg.norm(truth) > gap][:n]
    return points, np.where(points @ truth > 0, 1, -1)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_the_direction_meets_the_optimality_conditions(seed):
    points, labels = separable(seed)
    u = hard_margin(points, labels)
    slack = labels * (points @ u) - 1
    assert slack.min() >= -1e-9
    support = slack < 1e-7  # u is a non-negative combination of its support vectors
    signed = (points * labels[:, None])[support]
    alpha, *_ = np.linalg.lstsq(signed.T, u, rcond=None)
    np.testing.assert_allclose(signed.T @ alpha, u, atol=1e-7)
    assert len(signed) > points.shape[1] or (alpha >= -1e-7).all()
    assert margin(u, points, labels) == pytest.approx(1 / np.linalg.norm(u))
    assert margin_ratio(u, points, labels) == pytest.approx(1) == margin_cosine(u, points, labels)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_scikit_learn_finds(seed):
    points, labels = separable(seed)
    machine = LinearSVC(loss="hinge", fit_intercept=False, C=1e4, tol=1e-8, max_iter=10**6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = machine.fit(points, labels).coef_[0]
    np.testing.assert_allclose(hard_margin(points, labels), theirs, rtol=1e-3, atol=1e-3)


def test_a_tiny_margin_is_still_one():
    points = np.array([[1.0, 1e-3], [-1.0, 1e-3]])
    u = hard_margin(points, np.array([1, 1]))
    np.testing.assert_allclose(u, [0, 1e3], atol=1e-6)


def test_scaling_the_points_scales_the_direction_back():
    points, labels = separable(1)
    np.testing.assert_allclose(hard_margin(1e-4 * points, labels), 1e4 * hard_margin(points, labels), rtol=1e-8)


def test_points_that_cannot_be_separated():
    points, labels = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1, -1])
    assert hard_margin(points, labels) is None
    assert np.isnan(margin_ratio(np.ones(2), points, labels)) and np.isnan(margin_cosine(np.ones(2), points, labels))
    assert hard_margin(np.zeros((2, 2)), labels) is None
    xor = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    assert hard_margin(xor, np.array([1, 1, -1, -1])) is None


def test_other_directions_have_smaller_margins():
    points, labels = separable(2)
    u = mean_difference(points, labels)
    assert margin_ratio(u, points, labels) < 1 and margin_cosine(u, points, labels) < 1
    assert np.isnan(margin(np.zeros(4), points, labels))


def test_labels_are_signs():
    with pytest.raises(ValueError, match=r"labels must be -1 or \+1, got \[0, 1\]"):
        hard_margin(np.ones((2, 2)), np.array([0, 1]))
