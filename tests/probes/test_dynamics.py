import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elegans.probes.dynamics import (
    attention_drift,
    attention_mass,
    block_norm_shares,
    cosine,
    log_growth,
    loglog_slope,
    rate_fit,
)


@given(st.floats(-3, 3), st.floats(0.01, 100))
def test_power_laws_are_found(exponent, factor):
    x = np.geomspace(1, 1000, 20)
    found = rate_fit(x, factor * x**exponent)
    assert found.exponent == pytest.approx(exponent, abs=1e-9)
    assert found.factor == pytest.approx(factor)
    assert found.r2 == pytest.approx(1.0, abs=1e-6) or abs(exponent) < 1e-6


def test_the_window_counts_and_zero_steps_do_not():
    x = np.array([0.0, 1, 2, 4, 8, 16])
    y = np.array([5.0, 1, 2, 4, 64, 256])
    assert loglog_slope(x, y, (1, 4)) == pytest.approx(1)
    assert loglog_slope(x, y, (8, 16)) == pytest.approx(2)
    assert loglog_slope(x[:4], y[:4]) == pytest.approx(1)


def test_noise_lowers_r2():
    x = np.geomspace(1, 100, 50)
    y = x ** np.where(np.arange(50) % 2, 0.9, 1.1)
    assert rate_fit(x, y).exponent == pytest.approx(1, abs=0.05) and rate_fit(x, y).r2 < 0.98


def test_log_growth():
    t = np.geomspace(1, 1e4, 40)
    assert log_growth(t, 3 + 2 * np.log(t)) == pytest.approx(1)
    assert log_growth(t, t) < 0.8
    assert log_growth(t, -np.log(t)) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("x", "y", "window", "message"),
    [
        ([1, 2], [1, 0], None, "y above 0, got 0"),
        ([0, 1], [1, 1], None, r"two different x > 0 in \[0, inf\], got 1 measurements"),
        ([1, 2, 3], [1, 1, 1], (4, 5), r"two different x > 0 in \[4, 5\], got 0"),
        ([1, 2], [1], None, r"shapes \(2,\) and \(1,\)"),
    ],
)
def test_bad_measurements_are_refused(x, y, window, message):
    with pytest.raises(ValueError, match=message):
        loglog_slope(x, y, window)


def test_cosine_by_hand():
    a = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    b = torch.tensor([[0.0, 2.0], [3.0, 3.0], [1.0, 0.0]])
    torch.testing.assert_close(cosine(a, b), torch.tensor([0.0, 1.0, 0.0]))


def test_block_shares_by_hand():
    matrix = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    shares = block_norm_shares(matrix, (1, 2)) * matrix.square().sum()
    torch.testing.assert_close(shares, torch.tensor([[1.0, 13.0], [65.0, 206.0]]))
    assert not block_norm_shares(torch.zeros(2, 3, 3), (1, 2)).any()
    with pytest.raises(ValueError, match="need a 4 x 4 matrix"):
        block_norm_shares(matrix, (1, 3))


def test_attention_by_hand():
    a = torch.tensor([[[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]]])
    b = torch.tensor([[[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(attention_drift(a, b), torch.tensor([[0.3, 1.0]]))
    mass = attention_mass(a, torch.tensor([[True, False, True]]))
    torch.testing.assert_close(mass, torch.tensor([[0.7, 1.0]]))
