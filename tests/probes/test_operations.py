import pytest

from elegans import build
from elegans.probes.operations import multiply_adds, numbers_held


@pytest.mark.parametrize("window", [1, 5, 30, 50])
def test_sums_over_tokens_by_hand(window):
    d, T, N = 3, 30, 4
    assert multiply_adds("attention", length=T, width=d) == sum(2 * d * t for t in range(1, T + 1))
    assert multiply_adds("window", length=T, width=d, window=window) == sum(
        2 * d * min(t, window) for t in range(1, T + 1)
    )
    assert multiply_adds("ssm", length=T, width=d, state_size=N) == sum(3 * d * N for _ in range(T))
    assert numbers_held("window", length=T, width=d, window=window) == 2 * d * min(T, window)


def test_what_is_held_is_what_models_hold():
    tokens = 40
    gpt = build("gpt", vocab=5, width=16, depth=1)
    assert gpt.state_bytes(tokens) == 4 * numbers_held("attention", length=tokens, width=16)
    mamba = build("mamba", vocab=5, width=16, depth=1, conv=0, inner=24, state_size=6)
    assert mamba.state_bytes(tokens) == 4 * numbers_held("ssm", length=tokens, width=24, state_size=6)


def test_a_window_has_a_size():
    for count in (multiply_adds, numbers_held):
        for window in (None, 0):
            with pytest.raises(ValueError, match="at least 1 token"):
                count("window", length=3, width=2, window=window)
