import pytest
import torch

from elegans.probes.capacity import copy_capacity, recall, slot_accuracy
from elegans.tasks.lagged_sum import LaggedSum


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_state_without_decay_is_a_sum_of_outer_products():
    keys, values, queries = draw(2, 5, 3), draw(2, 5, 4), draw(2, 7, 3)
    torch.testing.assert_close(recall(keys, values, queries), queries @ (keys.mT @ values))


def test_one_hot_keys_copy_exactly_with_as_many_numbers_as_pairs():
    exact = copy_capacity("one-hot", length=24, state_size=24)
    assert exact.accuracy == 1 and exact.error <= 1e-5
    half = copy_capacity("one-hot", length=24, state_size=12)
    assert half.accuracy < 0.7 and half.error == 1


def test_least_squares_is_exact_from_one_number_per_pair_on_and_never_worse():
    assert copy_capacity("least-squares", length=32, state_size=32).accuracy == 1
    half = {kind: copy_capacity(kind, length=64, state_size=32).accuracy for kind in ("linear", "least-squares")}
    assert half["linear"] < half["least-squares"]


def test_a_fixed_state_fills_up_and_softmax_does_not():
    linear = [copy_capacity("linear", length=length, state_size=16).accuracy for length in (16, 64, 256)]
    assert linear[0] > linear[1] + 0.2 > linear[2] + 0.3
    assert copy_capacity("softmax", length=256, state_size=16).accuracy > 0.99


def test_a_draw_is_a_function_of_its_seed():
    first, again, other = (copy_capacity("linear", length=32, state_size=4, seed=seed) for seed in (0, 0, 1))
    assert first.identical(again) and not first.identical(other)


@pytest.mark.parametrize(("lag", "length", "modulus"), [(1, 8, 2), (4, 32, 3), (8, 100, 2), (5, 23, 7)])
def test_as_many_slots_as_the_lag_are_exact_at_any_length(lag, length, modulus):
    task = LaggedSum(length=length, lag=lag, modulus=modulus, n_eval=64)
    assert slot_accuracy(task, slots=lag) == 1
    assert slot_accuracy(task, slots=lag + 1) == 1


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_fewer_slots_are_at_chance(slots):
    assert slot_accuracy(LaggedSum(length=64, lag=4), slots=slots) == pytest.approx(0.5, abs=0.02)


def test_a_layer_has_slots():
    with pytest.raises(ValueError, match="slots must be at least 1, got 0"):
        slot_accuracy(LaggedSum(), slots=0)
