import numpy as np
import pytest
import torch
from circuits import sequences, small

from elegans.probes import (
    attention_knockout,
    edge_flow,
    knockout_effect,
    linear_probe,
    log_probability,
    patch,
    record,
    saliency_flow,
)

TOKENS = sequences(3, 6)
METRIC = log_probability(TOKENS[:, 0])


@pytest.mark.parametrize(
    "settings", [{}, {"sink": "stablemask", "positions": "alibi"}, {"mixers": ("mamba", "softmax")}]
)
def test_flow_is_the_gradient_of_a_factor_on_each_weight(settings):
    model = small("gpt", **settings)
    flow = saliency_flow(model, TOKENS, METRIC)
    for layer in flow.layer.values:
        factor = torch.ones(3, 4, 6, 6, dtype=torch.float64, requires_grad=True)
        with patch(model, {f"blocks.{layer}.mixer.weights": lambda x, factor=factor: x * factor}):
            (gradient,) = torch.autograd.grad(METRIC(model(TOKENS)).sum(), factor)
        expected = gradient.sum(1).abs() * (1 - torch.eye(6))
        np.testing.assert_allclose(flow.sel(layer=layer), expected, atol=1e-12)
    assert all(p.grad is None for p in model.parameters())


def test_groups_share_the_flow():
    flow = saliency_flow(small("gpt"), TOKENS, METRIC)
    own = torch.tensor([2, 1, 3])
    found = edge_flow(flow, {"into last": ([0, 1, 2, 3, 4], -1), "own": (own, own + 1), "none": (5, 0)})
    assert found["mean"].dims == ("group", "layer", "item") and found.group.values[-1] == "rest"
    np.testing.assert_allclose(found.share.sum("group"), 1)
    np.testing.assert_allclose(found.uniform.isel(layer=0, item=0), [5 / 15, 1 / 15, 0, 9 / 15])
    np.testing.assert_allclose(found["mean"].sel(group="into last"), flow[:, :, 5, :5].mean("key"))
    for item, place in enumerate(own.tolist()):
        np.testing.assert_allclose(found["mean"].sel(group="own", item=item), flow[:, item, place + 1, place])
    assert found["mean"].sel(group="none").isnull().all()


def test_knocked_out_edges_carry_nothing_and_rows_still_sum_to_one():
    model = small("gpt")
    with attention_knockout(model, ([0, 1], [3, 4]), (2, 5), layers=[1]), record(model, "*.weights") as seen:
        model(TOKENS)
    untouched, cut = seen["blocks.0.mixer.weights"], seen["blocks.1.mixer.weights"]
    assert (untouched[..., 4, 0] > 0).all() and (cut[..., [3, 4], :2] == 0).all() and (cut[..., 5, 2] == 0).all()
    assert (cut[..., 5, :2] > 0).all()
    torch.testing.assert_close(cut.sum(-1), torch.ones(3, 4, 6).double())


def test_windows_of_layers():
    model = small("gpt", depth=3)
    found = knockout_effect(model, TOKENS, {"first": (0, -1)}, METRIC, window=2)
    assert found.dims == ("group", "layer", "item") and found.layer.values.tolist() == [0, 1, 2]
    for start in range(3):
        with attention_knockout(model, (0, -1), layers=range(start, min(start + 2, 3))), torch.no_grad():
            np.testing.assert_allclose(found.sel(layer=start)[0], METRIC(model(TOKENS)))
    np.testing.assert_allclose(found.base, METRIC(model(TOKENS)).detach())


def test_callers_mistakes():
    model = small("gpt")
    for probe in (lambda m: saliency_flow(m, TOKENS, METRIC), lambda m: knockout_effect(m, TOKENS, {}, METRIC)):
        with pytest.raises(ValueError, match="softmax attention; this Mamba has none"):
            probe(small("mamba"))
    with pytest.raises(ValueError, match="layer 2 has no softmax attention; layers with it: 0, 1"):
        attention_knockout(model, (0, 1), layers=[2]).__enter__()
    with pytest.raises(ValueError, match="no key left"), attention_knockout(model, ([0, 1], 1)):
        model(TOKENS)
    with pytest.raises(ValueError, match="whole sequences"), attention_knockout(model, (0, 1)):
        model.extend(TOKENS[:, 3:], model.extend(TOKENS[:, :3], model.init_state(3))[1])
    with pytest.raises(ValueError, match="no gradient"):
        saliency_flow(model, TOKENS, lambda logits: logits.argmax(-1).double()[:, 0])


def test_linear_probes_refuse_what_they_cannot_read():
    model, tokens = small("gpt"), sequences(40, 6)
    with pytest.raises(ValueError, match="each of the 40 sequences, got 3"):
        linear_probe(model, tokens, torch.zeros(3))
    with pytest.raises(ValueError, match="single positions"):
        linear_probe(model, tokens, tokens[:, 0], positions="together")
    with pytest.raises(ValueError, match="map of pairs"):
        linear_probe(model, tokens, tokens[:, 0], sites="*.weights")
    with pytest.raises(ValueError, match="test_share"):
        linear_probe(model, tokens, tokens[:, 0], test_share=1.0)
