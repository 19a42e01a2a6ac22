import numpy as np
import pytest
import torch

from elegans import build
from elegans.probes.sinks import AttentionMap, attention_maps, sink_measures, sinks

TOKENS = torch.randint(0, 9, (3, 12), generator=torch.Generator().manual_seed(0))
LENGTH = 12


def uniform_map(keep=1.0, length=LENGTH):
    weights = torch.ones(length, length).tril()
    weights = keep * weights / weights.sum(-1, keepdim=True)
    return AttentionMap(weights.expand(2, 1, -1, -1), torch.ones(2, length, 1, 3))


def test_uniform_attention_has_no_excess_and_the_entropy_of_its_length():
    found = sink_measures(uniform_map(), skip=4).isel(head=0)
    assert found.excess.values == pytest.approx([1, 1])
    assert found.entropy.values == pytest.approx(np.log(np.arange(1, LENGTH + 1)))
    assert found.keep.values == pytest.approx(1)
    assert float(found.value_ratio) == pytest.approx(1)


def test_what_goes_to_nothing_lowers_the_raw_rows_only():
    whole, half = (sink_measures(uniform_map(keep)) for keep in (1.0, 0.5))
    assert half.keep.values == pytest.approx(0.5)
    for name in ("sink", "excess", "top", "first"):
        assert half[name].sel(rows="raw").values == pytest.approx(0.5 * whole[name].sel(rows="raw").values)
        assert half[name].sel(rows="normalized").values == pytest.approx(whole[name].sel(rows="normalized").values)
    assert half.entropy.values == pytest.approx(whole.entropy.values)


def test_a_head_that_reads_the_first_token_alone():
    weights = torch.zeros(2, 1, LENGTH, LENGTH)
    weights[..., 0] = 1.0
    values = torch.ones(2, LENGTH, 1, 3)
    values[:, 0] = 0.0
    found = sink_measures(AttentionMap(weights, values)).isel(head=0)
    assert found.sink.values == pytest.approx(1) and found.top.values == pytest.approx(1)
    assert found.excess.values == pytest.approx(1 / np.mean(1 / np.arange(9, LENGTH + 1)))
    assert found.entropy.values == pytest.approx(0) and float(found.value_ratio) == 0


def test_the_most_read_column_is_that_of_each_sequence():
    weights = torch.zeros(2, 1, LENGTH, LENGTH)
    weights[0, ..., 2], weights[1, ..., 5] = 1.0, 1.0
    assert sink_measures(AttentionMap(weights, torch.ones(2, LENGTH, 1, 3))).top.values == pytest.approx(1)


@pytest.mark.parametrize("settings", [
    {"positions": "rotary", "sink": "stablemask"},
    {"positions": "alibi", "sink": "learned"},
    {"positions": "learned", "sink": "softmax1", "key_heads": 2},
    {"positions": "none", "shift": True},
    {"distinct": 1},
])  # fmt: skip
def test_the_maps_are_those_with_which_the_model_reads(settings):
    model = build("gpt", vocab=9, width=16, **settings).double()
    heads = {}
    for level in range(2):
        site = model.sites()[f"blocks.{level}.mixer.heads"]
        site.register_forward_hook(lambda _, args, out, level=level: heads.update({level: out}))
    maps = attention_maps(model, TOKENS)
    assert list(maps) == [0, 1]
    for level, (weights, values) in maps.items():
        read = torch.einsum("bhts,bshk->bthk", weights, values)
        torch.testing.assert_close(read, heads[level], rtol=0, atol=1e-12)


def test_layers_and_positions_are_labelled():
    model = build("gpt", vocab=9, width=16, depth=4, mixers=("mamba", "softmax"), sink="stablemask")
    found = sinks(model, TOKENS, skip=2)
    assert found.keep.dims == ("layer", "head", "position") and found.layer.values.tolist() == [1, 3]
    assert found.keep.sizes == {"layer": 2, "head": 4, "position": LENGTH} and float(found.keep.max()) < 1


def test_no_attention_no_map():
    with pytest.raises(ValueError, match="softmax attention; this Mamba has none"):
        sinks(build("mamba", vocab=9, width=16), TOKENS)
    with pytest.raises(ValueError, match="below the 12 positions"):
        sink_measures(uniform_map(), skip=12)
