import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.ops.rng import numpy_rng, torch_rng, torch_seed

addresses = st.lists(st.one_of(st.integers(-(2**40), 2**40), st.text(max_size=8)), min_size=1, max_size=4).map(tuple)


@settings(deadline=None)
@given(addresses)
def test_an_address_gives_one_stream(address):
    assert np.array_equal(numpy_rng(*address).random(4), numpy_rng(*address).random(4))
    assert torch.equal(torch.rand(4, generator=torch_rng(*address)), torch.rand(4, generator=torch_rng(*address)))
    assert 0 <= torch_seed(*address) == torch_seed(*address) < 2**63


@settings(deadline=None)
@given(addresses, addresses)
def test_different_addresses_give_different_streams(one, other):
    if one != other:
        assert not np.array_equal(numpy_rng(*one).random(4), numpy_rng(*other).random(4))
        assert torch_seed(*one) != torch_seed(*other)


@pytest.mark.parametrize(("one", "other"), [((1, 2), (12,)), ((1,), ("1",)), (("a", "b"), ("ab",)), (("a",), ("a", 0))])
def test_parts_are_kept_apart(one, other):
    assert torch_seed(*one) != torch_seed(*other)


def test_numpy_integers_are_integers():
    assert torch_seed("x", np.int64(3)) == torch_seed("x", 3)


@pytest.mark.parametrize("part", [1.0, None, True, (1,)])
def test_other_parts_are_refused(part):
    with pytest.raises(TypeError):
        numpy_rng("x", part)


def test_streams_are_the_same_in_another_process():
    code = (
        "from elegans.ops.rng import numpy_rng, torch_seed; "
        "print(torch_seed('a', 1), numpy_rng('a', 1).integers(1 << 60))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown == [str(torch_seed("a", 1)), str(numpy_rng("a", 1).integers(1 << 60))]


def test_numbers_look_uniform():
    draws = np.concatenate([numpy_rng("uniform", seed).random(100) for seed in range(200)])
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi-square, 19 degrees of freedom: p < 2e-4
