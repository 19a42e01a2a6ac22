import numpy as np
import pytest
import torch
from circuits import VOCAB, linear_model, sequences, small

from elegans.models import CATALOG
from elegans.probes import (
    attribution_patching,
    direct_logit_attribution,
    interchange,
    interchange_heads,
    interchange_mixers,
    interchange_mlps,
    interchange_residual,
    logit_difference,
    logit_of,
    patch,
    path_patching,
    record,
    recovered,
    resample,
    sites_of,
)
from elegans.probes import sweep as sweep_module
from elegans.probes.positions import mask_of
from elegans.probes.streams import resume, streams

BASE, SOURCE = sequences(3, 6), sequences(3, 6, seed=1)
METRIC = logit_difference(BASE[:, 0], SOURCE[:, 0])
DEEP = [name for name in CATALOG if name not in ("bilinear", "one-layer")]


@torch.no_grad()
def naive(model, site, position, head=None):
    """One forward pass for one cell."""
    with record(model, site) as seen:
        model(SOURCE)

    def exchange(x):
        x = x.clone()
        if site.endswith((".scores", ".weights")):
            x[:, slice(None) if head is None else head, position] = seen[site][
                :, slice(None) if head is None else head, position
            ]
        elif head is None:
            x[:, position] = seen[site][:, position]
        else:
            x[:, position, head] = seen[site][:, position, head]
        return x

    with patch(model, {site: exchange}):
        return METRIC(model(BASE)).numpy()


@pytest.fixture(params=["stacked", "one by one"])
def way(request, monkeypatch):
    monkeypatch.setattr(sweep_module, "PASS_TOKENS", 50 if request.param == "stacked" else 1)


@pytest.mark.parametrize("name", CATALOG)
def test_a_sweep_equals_one_pass_per_cell(name, way):
    model = small(name)
    found = interchange(model, BASE, SOURCE, METRIC, sites="all", positions=[0, 3, 5])
    assert found.dims == ("site", "position", "item") and set(found.site.values) == set(model.sites())
    for site in sites_of(model):
        for position in (0, 3, 5):
            np.testing.assert_allclose(found.sel(site=site, position=position), naive(model, site, position), atol=1e-9)


def test_heads_and_maps(way):
    model = small("gpt", positions="rotary", sink="learned", key_heads=2)
    sites = ["*.heads", "*.weights", "*.scores"]
    found = interchange(model, BASE, SOURCE, METRIC, sites=sites, positions=[2, 5], heads=True)
    assert found.dims == ("site", "position", "head", "item")
    for site in sites_of(model, sites):
        for position in (2, 5):
            for head in range(4):
                cell = found.sel(site=site, position=position, head=head)
                np.testing.assert_allclose(cell, naive(model, site, position, head), atol=1e-9)


def test_layers_with_and_without_heads():
    model = small("gpt", mixers=("softmax", "mamba"))
    assert interchange_heads(model, BASE, SOURCE, METRIC).layer.values.tolist() == [0]
    with pytest.raises(ValueError, match=r"'blocks.1.mixer' has no heads"):
        interchange(model, BASE, SOURCE, METRIC, sites="blocks.1.mixer", heads=True)


def test_specialisations_are_labelled_by_layer():
    model = small("gpt")
    for probe, site in [(interchange_residual, "in"), (interchange_mixers, "mixer"), (interchange_mlps, "mlp")]:
        found = probe(model, BASE, SOURCE, METRIC)
        assert found.dims == ("layer", "position", "item") and found.layer.values.tolist() == [0, 1]
        np.testing.assert_allclose(found[1, 4], naive(model, f"blocks.1.{site}", 4))
        np.testing.assert_allclose(found.base, METRIC(model(BASE)).detach())
        np.testing.assert_allclose(found.source, METRIC(model(SOURCE)).detach())


def test_positions_by_name_by_sequence_and_together(way):
    model = small("gpt")
    where = {"own": torch.tensor([1, 0, 4]), "span": [1, 2], "mask": torch.ones(3, 6).bool(), "none": []}
    found = interchange_residual(model, BASE, SOURCE, METRIC, positions=where).sel(layer=1)
    for item, place in enumerate([1, 0, 4]):
        np.testing.assert_allclose(found.sel(position="own")[item], naive(model, "blocks.1.in", place)[item])
    np.testing.assert_allclose(found.sel(position="span"), naive(model, "blocks.1.in", [1, 2]))
    np.testing.assert_allclose(found.sel(position="mask"), found.source)
    np.testing.assert_allclose(found.sel(position="none"), found.base)
    together = interchange_residual(model, BASE, SOURCE, METRIC, positions="together")
    np.testing.assert_allclose(recovered(together), 1)


def test_a_metric_of_one_number_has_no_items():
    model = small("gpt")
    found = interchange_residual(model, BASE, SOURCE, lambda logits: METRIC(logits).mean())
    assert found.dims == ("layer", "position") and found.base.ndim == 0
    np.testing.assert_allclose(found, interchange_residual(model, BASE, SOURCE, METRIC).mean("item"))
    assert recovered(found).dims == found.dims


def test_callers_mistakes():
    model = small("gpt")
    with pytest.raises(ValueError, match=r"one shape, got \(3, 6\) and \(3, 5\)"):
        sweep_module.pair(model, BASE, SOURCE[:, :5])
    with pytest.raises(ValueError, match="below the length 6, got 6"):
        interchange(model, BASE, SOURCE, METRIC, positions=[6])
    with pytest.raises(ValueError, match="positions must be 'each', 'together'"):
        interchange(model, BASE, SOURCE, METRIC, positions="all")
    with pytest.raises(ValueError, match=r"3 integers, got shape \(2,\)"):
        mask_of(torch.tensor([1, 2]), (3, 6))
    with pytest.raises(ValueError, match=r"shape \(3, 6\), got \(6,\)"):
        mask_of(torch.ones(6).bool(), (3, 6))
    with pytest.raises(ValueError, match=r"one per sequence, or of one, got shape \(3, 6\)"):
        interchange(model, BASE, SOURCE, lambda logits: logits[..., 0])
    with pytest.raises(ValueError, match="no site was chosen"):
        interchange(model, BASE, SOURCE, METRIC, sites=lambda name: False)
    with pytest.raises(ValueError, match="on both runs"):
        recovered(interchange(model, BASE, BASE, METRIC))
    with pytest.raises(ValueError, match="BilinearLM has no blocks"):
        interchange_residual(small("bilinear"), BASE, SOURCE, METRIC)
    with pytest.raises(ValueError, match="has heads 0 to 3, got 7"):
        path_patching(model, BASE, SOURCE, METRIC, senders=["blocks.0.mixer.heads[7]"], receivers=["final"])


@pytest.mark.parametrize("name", DEEP)
@torch.no_grad()
def test_a_pass_is_resumed_at_any_block(name):
    model = small(name)
    with record(model, "blocks.*") as seen:
        logits = model(BASE)
    for level, site in enumerate(streams(model)):
        with record(model, "blocks.*.in") as again:
            torch.testing.assert_close(resume(model, seen[site], level), logits)
        assert list(again) == streams(model)[level:-1]


def test_a_model_of_another_kind_is_resumed_through_a_patch():
    class Wrapped(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def sites(self):
            return self.model.sites()

        def forward(self, tokens):
            return self.model(tokens)

    model = small("gpt")
    found, right = (interchange(m, BASE, SOURCE, METRIC, sites="blocks.*") for m in (Wrapped(model), model))
    np.testing.assert_allclose(found, right)


def test_counterfactuals_change_the_answer():
    tokens = sequences(50, 4)
    new = resample(tokens, 1, torch.arange(VOCAB), lambda x: x[:, 1] // 2, torch.Generator().manual_seed(0))
    assert (new[:, 1] // 2 != tokens[:, 1] // 2).all() and torch.equal(new[:, [0, 2, 3]], tokens[:, [0, 2, 3]])
    with pytest.raises(ValueError, match="change the answer of 50 sequences"):
        resample(tokens, 1, torch.arange(VOCAB), lambda x: x[:, 0], torch.Generator(), tries=3)


def test_attribution_is_exact_on_a_linear_model():
    model = linear_model()
    sites = lambda name: name != "final"  # noqa: E731
    exact = interchange(model, BASE, SOURCE, METRIC, sites=sites)
    found = attribution_patching(model, BASE, SOURCE, METRIC, sites=sites)
    np.testing.assert_allclose(found, (exact - exact.base).transpose(*found.dims), atol=1e-9)
    assert abs(found).max() > 0.001
    together = attribution_patching(model, BASE, SOURCE, lambda x: METRIC(x).sum(), positions="together")
    np.testing.assert_allclose(together, found.sum(("position", "item")).sel(site=together.site).values[:, None])


@pytest.mark.parametrize("name", CATALOG)
def test_attribution_is_the_derivative_of_the_interchange(name):
    model = small(name)
    for p in model.parameters():
        p.requires_grad_(name in ("one-layer", "bilinear"))
    found = attribution_patching(model, BASE, SOURCE, METRIC, sites="all", positions=[4])
    with record(model) as base, torch.no_grad():
        model(BASE)
    with record(model) as source, torch.no_grad():
        model(SOURCE)
    for site in ("final", *(name for name in model.sites() if name.endswith(("1.in", "heads", "scores", "weights")))):

        def nudged(x, site=site, by=1e-5):
            change = torch.where(source[site] == base[site], 0.0, source[site] - base[site])
            only = torch.zeros_like(x)
            place = (slice(None), slice(None), 4) if site.endswith(("scores", "weights")) else (slice(None), 4)
            only[place] = change[place]
            return x + by * only

        with patch(model, {site: nudged}), torch.no_grad():
            above = METRIC(model(BASE))
        slope = (above - METRIC(model(BASE)).detach()) / 1e-5
        np.testing.assert_allclose(found.sel(site=site, position=4), slope, rtol=1e-2, atol=1e-4)


def test_attribution_by_head_adds_up():
    model = small("gpt")
    for site in ("blocks.1.mixer.heads", "blocks.1.mixer.weights"):
        each = attribution_patching(model, BASE, SOURCE, METRIC, sites=site, heads=True)
        whole = attribution_patching(model, BASE, SOURCE, METRIC, sites=site)
        assert each.dims == ("site", "position", "head", "item")
        np.testing.assert_allclose(each.sum("head"), whole, atol=1e-9)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name, settings", [
    *((name, {}) for name in DEEP),
    ("gpt", {"norm": "rms", "bias": False}),
    ("linear", {"tied": False, "embedding_norm": True}),
])  # fmt: skip
def test_direct_attributions_sum_to_the_logit_difference(name, settings):
    model = small(name, **settings)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "norm" in key or "ln_out" in key:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    position = torch.tensor([5, 2, 4])
    lead = logit_difference(BASE[:, 0], SOURCE[:, 0], position)(model(BASE)).detach()
    for heads in (False, True):
        found = direct_logit_attribution(model, BASE, BASE[:, 0], SOURCE[:, 0], position=position, heads=heads)
        np.testing.assert_allclose(found.sum("component"), lead, atol=1e-9)
    alone = direct_logit_attribution(model, BASE, BASE[:, 0], position=2)
    np.testing.assert_allclose(alone.sum("component"), logit_of(BASE[:, 0], 2)(model(BASE)).detach(), atol=1e-9)
    if name == "rwkv4":
        assert (alone.sel(component="norm.bias") != 0).all()


def test_an_exchanged_part_has_its_direct_attribution_along_the_direct_path():
    model = linear_model()
    metric = logit_of(BASE[:, 0])
    parts = [f"blocks.{level}.mixer" for level in range(3)]
    path = path_patching(model, BASE, SOURCE, metric, senders=parts, receivers=["final"])
    base, source = (direct_logit_attribution(model, tokens, BASE[:, 0]) for tokens in (BASE, SOURCE))
    difference = (source - base).sel(component=parts)
    np.testing.assert_allclose(path.sel(receiver="final") - path.base, difference, atol=1e-9)


def test_half_precision():
    model = small("gpt").bfloat16()
    found = interchange_residual(model, BASE, SOURCE, METRIC, positions="together")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sel(layer=0)[0], found.source)
