import numpy as np
import pytest
import torch
import xarray as xr

from elegans.models.registry import build
from elegans.probes.circuit_shift import circuit_shift, component_effects
from elegans.probes.interchange import recovered
from elegans.probes.metrics import logit_difference
from elegans.probes.record import patch, record


def effects(*values):
    return xr.DataArray(list(values), {"component": list("abcdef")[: len(values)]}, ("component",))


@pytest.fixture
def model():
    return build("gpt", vocab=7, width=8, depth=2, heads=2, context=6, seed=0).double()


@pytest.fixture
def pairs():
    draw = torch.Generator().manual_seed(0)
    clean = torch.randint(7, (5, 6), generator=draw)
    corrupt = clean.clone()
    corrupt[:, 3:] = torch.randint(7, (5, 3), generator=draw)
    return clean, corrupt


METRIC = logit_difference(torch.arange(5), torch.arange(1, 6))


def test_an_effect_is_that_of_a_patch_by_hand(model, pairs):
    clean, corrupt = pairs
    found = component_effects(model, clean, corrupt, METRIC)
    assert found.sizes == {"component": 6, "item": 5}
    with torch.no_grad(), record(model, "*.heads") as heads, record(model, "*.mlp") as mlps:
        model(clean)

    def head(x):
        new = x.clone()
        new[:, :, 1] = heads["blocks.0.mixer.heads"][:, :, 1]
        return new

    with torch.no_grad(), patch(model, {"blocks.0.mixer.heads": head}):
        by_hand = METRIC(model(corrupt))
    np.testing.assert_allclose(found.sel(component="blocks.0.mixer.heads[1]"), by_hand, atol=1e-12)
    with torch.no_grad(), patch(model, {"blocks.1.mlp": mlps["blocks.1.mlp"]}):
        by_hand = METRIC(model(corrupt))
    np.testing.assert_allclose(found.sel(component="blocks.1.mlp"), by_hand, atol=1e-12)
    np.testing.assert_allclose(found.base, METRIC(model(corrupt)).detach(), atol=1e-12)
    np.testing.assert_allclose(found.source, METRIC(model(clean)).detach(), atol=1e-12)


def test_a_common_beginning_need_not_be_exchanged(model, pairs):
    everywhere = component_effects(model, *pairs, METRIC)
    query = component_effects(model, *pairs, METRIC, where=[3, 4, 5])
    xr.testing.assert_allclose(everywhere, query)


def test_batches_go_together(model, pairs):
    clean, corrupt = pairs
    parts = []
    for some in (slice(0, 2), slice(2, 5)):
        metric = logit_difference(torch.arange(5)[some], torch.arange(1, 6)[some])
        parts.append(component_effects(model, clean[some], corrupt[some], metric))
    whole = recovered(component_effects(model, clean, corrupt, METRIC))
    xr.testing.assert_allclose(recovered(xr.concat(parts, "item")), whole)


def test_distances_by_hand():
    found = circuit_shift(effects(1.0, 0.0, -1.0), effects(0.0, 2.0, 2.0), top=2)
    assert found.sel(measure="total variation") == pytest.approx(0.5)
    assert found.sel(measure="cosine") == pytest.approx(1.5)
    assert found.sel(measure="Jaccard") == pytest.approx(1 - 1 / 3)


def test_scale_does_not_count_and_sign_only_for_the_cosine():
    u = effects(0.3, -0.2, 0.1)
    np.testing.assert_allclose(circuit_shift(u, 5 * u, top=2), 0, atol=1e-12)
    np.testing.assert_allclose(circuit_shift(u, -u, top=2), [0, 2, 0], atol=1e-12)


def test_nothing_in_common_is_the_greatest_distance():
    np.testing.assert_allclose(circuit_shift(effects(1.0, 1.0, 0, 0), effects(0, 0, 1.0, 1.0), top=2), 1)


def test_samples_are_broadcast_and_a_missing_one_has_no_distance():
    u = xr.concat([effects(1.0, 2.0), effects(np.nan, 1.0), effects(0.0, 0.0)], "sample")
    found = circuit_shift(u, effects(1.0, 2.0), top=1)
    assert found.sizes == {"measure": 3, "sample": 3}
    np.testing.assert_allclose(found.isel(sample=0), 0, atol=1e-12)
    assert found.isel(sample=[1, 2]).isnull().all()


def test_other_components_are_refused():
    with pytest.raises(ValueError, match="different components"):
        circuit_shift(effects(1.0, 2.0), effects(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="top must be between 1 and 2"):
        circuit_shift(effects(1.0, 2.0), effects(1.0, 2.0), top=3)
