import pytest
import torch
from circuits import sequences, small

from elegans.models import CATALOG
from elegans.probes.lens import logit_lens
from elegans.probes.record import patch, record, sites_of

TOKENS = sequences(3, 6)


def num_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("name", CATALOG)
def test_every_model_of_the_zoo_is_recorded_patched_and_read(name):
    model = small(name)
    with record(model) as seen:
        plain = model(TOKENS)
    assert set(seen) == set(model.sites()) and seen["final"].shape[:2] == (3, 6)
    for site, activation in seen.items():
        with patch(model, {site: activation}):
            torch.testing.assert_close(model(TOKENS), plain)
        with patch(model, {site: torch.zeros_like}):
            assert not torch.allclose(model(TOKENS), plain)
    found = logit_lens(model, TOKENS, {"next": TOKENS[:, 0]}).isel(layer=-1)
    right = plain.softmax(-1).gather(-1, TOKENS[:, :1, None].expand(-1, 6, -1))[..., 0]
    torch.testing.assert_close(torch.tensor(found.probability.values[0]).mT, right.detach())
    assert num_hooks(model) == 0


@pytest.mark.parametrize("names, chosen", [
    ("blocks.0.mlp", {"blocks.0.mlp"}),
    ("blocks.*.mlp", {"blocks.0.mlp", "blocks.1.mlp"}),
    (["final", "blocks.1.m?d"], {"final", "blocks.1.mid"}),
    (lambda name: name.endswith(".out"), {"blocks.0.out", "blocks.1.out"}),
    ([], set()),
])  # fmt: skip
def test_names_choose(names, chosen):
    model = small("gpt")
    with record(model, names) as seen:
        model(TOKENS)
    assert set(seen) == chosen == set(sites_of(model, names))


def test_attention_maps_are_computed_only_when_asked_for():
    model = small("gpt")
    maps = model.blocks[0].mixer.at["scores"], model.blocks[0].mixer.at["weights"]
    with record(model, "blocks.*.mixer"):
        assert not any(site._forward_hooks for site in maps)
    with record(model, "*.weights") as seen:
        model(TOKENS)
    assert set(seen) == {"blocks.0.mixer.weights", "blocks.1.mixer.weights"}


def test_records_and_patches_compose_in_the_order_of_entering():
    model, site = small("gpt"), "blocks.0.mlp"
    with (
        record(model, site) as before,
        patch(model, {site: lambda x: x + 1}),
        record(model, site) as between,
        patch(model, {site: lambda x: 2 * x}),
        record(model, [site, "blocks.1.in"]) as after,
    ):
        model(TOKENS)
    torch.testing.assert_close(between[site], before[site] + 1)
    torch.testing.assert_close(after[site], 2 * (before[site] + 1))
    with patch(model, {site: after[site]}), record(model, "blocks.1.in") as seen:
        model(TOKENS)
    torch.testing.assert_close(seen["blocks.1.in"], after["blocks.1.in"])


def test_patterns_and_numbers_patch_and_tensors_broadcast():
    model = small("gpt")
    with patch(model, {"blocks.*.m[il][xp]*": 0.0}), record(model) as seen:
        model(TOKENS)
    assert torch.equal(seen["blocks.1.out"], seen["embed"])
    mean = seen["embed"].mean((0, 1)).float()
    with patch(model, {"embed": mean}), record(model, "blocks.0.in") as seen:
        model(TOKENS)
    assert seen["blocks.0.in"].shape == (3, 6, 16) and seen["blocks.0.in"].dtype == torch.float64
    assert (seen["blocks.0.in"] == mean).all()


def test_the_last_of_several_calls_is_kept_and_steps_are_calls():
    model = small("rwkv4")
    with record(model, "final") as seen:
        model(TOKENS)
        whole = seen["final"]
        state = model.init_state(3)
        for column in TOKENS.unbind(1):
            _, state = model.step(column, state)
    torch.testing.assert_close(seen["final"][:, 0], whole[:, -1])


def test_gradients_flow_through_records_and_patches():
    model = small("gpt")
    steering = torch.zeros(16, dtype=torch.float64, requires_grad=True)
    with patch(model, {"blocks.1.in": lambda x: x + steering}), record(model, "blocks.1.in") as seen:
        model(TOKENS)[:, -1, 0].sum().backward()
    assert steering.grad.abs().sum() > 0 and seen["blocks.1.in"].requires_grad


def test_inference_mode():
    model = small("gpt")
    with torch.inference_mode(), record(model) as seen:
        plain = model(TOKENS)
        with patch(model, {"blocks.1.mid": seen["blocks.1.mid"]}):
            torch.testing.assert_close(model(TOKENS), plain)
    assert seen["final"].is_inference()


def test_no_hook_is_left_behind_by_an_error():
    model = small("gpt")
    plain = model(TOKENS)

    def fail(x):
        raise RuntimeError("in the patch")

    with pytest.raises(RuntimeError, match="in the patch"), record(model), patch(model, {"blocks.1.mlp": fail}):
        model(TOKENS)
    with pytest.raises(ValueError, match="no site"), record(model), patch(model, {"final": 0.0, "blocks.9.mlp": 0.0}):
        pass
    assert num_hooks(model) == 0
    assert torch.equal(model(TOKENS), plain)


def test_errors_say_what_is_right():
    model = small("gpt")
    with pytest.raises(ValueError, match=r"GPT has no site 'blocks.0.mpl'; did you mean 'blocks.0.mlp'\?"):
        sites_of(model, "blocks.0.mpl")
    with pytest.raises(ValueError, match=r"no site 'blocks.\*.mixr'; did you mean 'blocks.\*.mixer'"):
        sites_of(model, "blocks.*.mixr")
    with pytest.raises(ValueError, match="no site 'zzz'; there are embed, final"):
        sites_of(model, "zzz")
    with pytest.raises(ValueError, match="Linear has no sites: subclass"), record(torch.nn.Linear(2, 2)):
        pass
    with (
        pytest.raises(ValueError, match=r"patch of 'embed' has shape \(2, 6, 16\), the activation \(3, 6, 16\)"),
        patch(model, {"embed": torch.zeros(2, 6, 16)}),
    ):
        model(TOKENS)
    with pytest.raises(ValueError, match="'embed' returned NoneType"), patch(model, {"embed": lambda x: None}):
        model(TOKENS)
    with record(model, "final") as seen:
        with pytest.raises(KeyError, match="nothing is recorded before the model is called"):
            seen["final"]
        model(TOKENS)
        with pytest.raises(KeyError, match="was not recorded; there are final"):
            seen["embed"]
