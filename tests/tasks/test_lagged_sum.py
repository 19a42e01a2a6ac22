import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.base import IGNORE
from elegans.tasks.lagged_sum import LaggedSum


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(2, 5), st.data())
def test_every_target_is_the_sum_with_the_value_m_back(length, modulus, data):
    lag = data.draw(st.integers(1, length - 1))
    task = LaggedSum(length=length, lag=lag, modulus=modulus)
    batch = task.batch("train", 20, step=3, seed=data.draw(st.integers(0, 99)))
    assert batch.tokens.shape == (20, 2 * length - 1)
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        y = tokens[1::2] + targets[-1:]
        for t in range(length):
            at = 2 * t
            if t < lag:
                assert y[t] == tokens[at] and targets[at] == IGNORE
            else:
                assert targets[at] == y[t] == (tokens[at] + y[t - lag]) % modulus
                assert 2 * t + 1 - (2 * (t - lag) + 1) == task.locality
        assert all(target == IGNORE for target in targets[1::2])


def test_streams_and_splits():
    task = LaggedSum(length=8, lag=3)
    assert torch.equal(
        task.batch("train", 5, step=1, seed=2).tokens,
        LaggedSum(length=8, lag=3).batch("train", 5, step=1, seed=2).tokens,
    )
    first = task.batch("train", 20).tokens
    for other in (task.batch("train", 20, step=1), task.batch("train", 20, seed=1), task.batch("test", 20)):
        assert not torch.equal(first, other.tokens)
    with pytest.raises(KeyError, match="no split 'ood'"):
        task.batch("ood", 3)


def test_levels_and_sizes():
    task = LaggedSum(length=8, lag=3, modulus=4)
    assert task.state_bits == 6
    assert task.chance("test")["accuracy"] == pytest.approx(4.0**-5)
    with pytest.raises(ValueError, match=r"lag must be from 1 to 7 \(length - 1\), got 8"):
        LaggedSum(length=8, lag=8)
    with pytest.raises(ValueError, match="modulus must be at least 2, got 1"):
        LaggedSum(modulus=1)
