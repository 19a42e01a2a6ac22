"""What every model of the zoo keeps: one test over the registry."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from elegans import build
from elegans.models import CATALOG
from elegans.models.base import num_bytes
from elegans.models.decoder import DecoderState

ZOO = {
    "gpt": ("gpt", {"width": 16}),
    "gpt-rotary": ("gpt", {"width": 16, "positions": "rotary", "tied": False, "depth": 3}),
    "gpt-none": ("gpt", {"width": 16, "positions": "none", "depth": 1}),
    "gpt-sinusoidal": ("gpt", {"width": 16, "positions": "sinusoidal", "embedding_norm": True}),
    "gpt-hard-alibi": ("gpt", {"width": 16, "positions": "hard-alibi"}),
    "gpt-llama": (
        "gpt",
        {"width": 16, "positions": "rotary", "key_heads": 2, "mlp": "swiglu", "norm": "rms", "bias": False},
    ),
    "gpt-shift": ("gpt", {"width": 16, "positions": "rotary", "shift": True}),
    "gpt-learned-sink": ("gpt", {"width": 16, "sink": "learned"}),
    "gpt-softmax1": ("gpt", {"width": 16, "sink": "softmax1"}),
    "gpt-alibi": ("gpt-alibi", {"width": 16}),
    "stablemask": ("stablemask", {"width": 16}),
    "stablemask-rotary": ("stablemask", {"width": 16, "positions": "rotary", "gamma": 0.3}),
    "stablemask-alibi": ("stablemask", {"width": 16, "positions": "alibi"}),
    "linear": ("linear", {"width": 16}),
    "linear-positive": ("linear", {"width": 16, "features": "positive"}),
    "relu": ("relu", {"width": 16}),
    "relu-rotary": ("relu", {"width": 16, "positions": "rotary"}),
    "looped": ("looped", {"width": 16, "depth": 3}),
    "mamba": ("mamba", {"width": 16}),
    "mamba-mlp": ("mamba", {"width": 16, "mlp_ratio": 2, "conv": 0, "addressing": "block", "learned_positions": 40}),
    "rwkv4": ("rwkv4", {"width": 16, "matrices": "orthogonal", "embedding_init": "normal"}),
    "hybrid": ("hybrid", {"width": 16}),
    "hybrid-rwkv4": ("gpt", {"width": 16, "mixers": ("rwkv4", "softmax", "linear", "relu"), "depth": 4}),
    "bilinear": ("bilinear", {"width": 8, "init_std": 0.5}),
    "bilinear-symmetric": ("bilinear", {"width": 8, "init_std": 0.5, "symmetric": True}),
    "one-layer": ("one-layer", {}),
    "one-layer-symmetric": ("one-layer", {"symmetric": True}),
}
VOCAB = 7
zoo = pytest.mark.parametrize("name", ZOO)


def make(name, seed=0):
    kind, config = ZOO[name]
    model = build(kind, vocab=VOCAB, seed=seed, **config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if not parameter.any():  # starts at zero; a test needs weights that matter
            torch.nn.init.normal_(parameter, std=1.0 if kind == "one-layer" else 0.1, generator=generator)
    return model


def sequences(*shape, seed=0):
    return torch.randint(0, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def test_the_zoo_is_complete():
    assert {kind for kind, _ in ZOO.values()} == set(CATALOG)


@zoo
@settings(max_examples=15, deadline=None)
@given(length=st.integers(1, 12), batch=st.integers(1, 3), seed=st.integers(0, 5))
def test_steps_give_the_logits_of_the_full_pass(name, length, batch, seed):
    model = make(name, seed).double()
    tokens = sequences(batch, length, seed=seed)
    state = model.init_state(batch)
    full = model(tokens)
    for place, column in enumerate(tokens.unbind(1)):
        logits, state = model.step(column, state)
        assert (logits - model(tokens[:, : place + 1])[:, -1]).abs().max() < 1e-9
        assert (logits - full[:, place]).abs().max() < 1e-9


@zoo
@settings(max_examples=15, deadline=None)
@given(portions=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 5))
def test_portions_give_the_logits_of_the_full_pass(name, portions, seed):
    model = make(name, seed).double()
    tokens = sequences(2, sum(portions), seed=seed)
    state, parts = model.init_state(2), []
    for portion in tokens.split(portions, dim=1):
        logits, state = model.extend(portion, state)
        parts.append(logits)
    assert (torch.cat(parts, dim=1) - model(tokens)).abs().max() < 1e-9


@zoo
def test_bytes_of_the_state(name):
    model = make(name)
    for length in (1, 5):
        _, state = model.extend(sequences(1, length), model.init_state(1))
        assert model.state_bytes(length) == num_bytes(state.mixers if isinstance(state, DecoderState) else state)


@zoo
def test_weights_survive_a_file(name, tmp_path):
    model, other = make(name, 0), make(name, 1)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    tokens = sequences(2, 6)
    assert torch.equal(model(tokens), other(tokens))


@zoo
def test_a_state_can_be_continued_twice(name):
    model = make(name)
    _, state = model.step(torch.tensor([1]), model.init_state(1))
    once, _ = model.step(torch.tensor([2]), state)
    model.step(torch.tensor([3]), state)
    again, _ = model.step(torch.tensor([2]), state)
    assert torch.equal(once, again)


@zoo
def test_later_tokens_change_nothing(name):
    model = make(name).double()
    one, other = sequences(4, 9), sequences(4, 9, seed=1)
    mixed = torch.cat([one[:, :5], other[:, 5:]], dim=1)
    torch.testing.assert_close(model(one)[:, :5], model(mixed)[:, :5])
    assert model(one).shape == (4, 9, VOCAB) and model.vocab_size == VOCAB


@zoo
def test_seeds_decide_the_weights_and_no_global_generator_is_used(name):
    kind, config = ZOO[name]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build(kind, vocab=VOCAB, seed=3, **config)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same, other = (build(kind, vocab=VOCAB, seed=seed, **config).state_dict() for seed in (3, 4))
    for key, value in one.state_dict().items():
        assert torch.equal(value, same[key])
        assert torch.isfinite(value).all()
        if value.any() and value.ndim > 1 and key not in one.undecayed() - {"emb.weight"}:
            assert not torch.equal(value, other[key])


@zoo
def test_every_parameter_gets_a_gradient(name):
    model = make(name)
    tokens = sequences(8, 6)
    cross_entropy(model(tokens).flatten(0, 1), sequences(8, 6, seed=1).flatten()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@zoo
def test_every_site_reaches_the_logits(name):
    model = make(name)
    tokens = sequences(2, 5)
    plain = model(tokens)
    for path, site in model.sites().items():
        seen = []

        def replace(module, inputs, output, seen=seen):
            seen.append(output)
            return output + torch.arange(output.shape[-1])

        handle = site.register_forward_hook(replace)
        changed = model(tokens)
        handle.remove()
        attention_map = path.endswith(("scores", "weights"))
        assert len(seen) == 1 and seen[0].shape[: 4 if attention_map else 2] == (
            (2, 4, 5, 5) if attention_map else (2, 5)
        )
        assert not torch.allclose(changed, plain), path
    torch.testing.assert_close(model(tokens), plain)


@zoo
def test_looking_at_all_sites_changes_nothing(name):
    model = make(name).double()
    tokens = sequences(2, 5)
    plain, seen = model(tokens), {}
    for path, site in model.sites().items():
        site.register_forward_hook(lambda module, inputs, output, path=path: seen.update({path: output}))
    torch.testing.assert_close(model(tokens), plain)
    assert set(seen) == set(model.sites())


@zoo
def test_weight_decay_groups_name_parameters(name):
    model = make(name)
    assert model.undecayed() <= {key for key, _ in model.named_parameters()}


@zoo
def test_stacked_seeds_give_the_outputs_and_gradients_of_each(name):
    members = [make(name, seed) for seed in range(3)]
    parameters, buffers = stack_module_state(members)
    tokens, targets = sequences(3, 4, 6), sequences(3, 4, 6, seed=1)

    def loss(p, b, x, y):
        logits = functional_call(members[0], (p, b), (x,))
        return cross_entropy(logits.flatten(0, 1), y.flatten())

    losses = vmap(loss)(parameters, buffers, tokens, targets)
    losses.sum().backward()
    for i, member in enumerate(members):
        alone = cross_entropy(member(tokens[i]).flatten(0, 1), targets[i].flatten())
        alone.backward()
        torch.testing.assert_close(losses[i], alone)
        for key, parameter in member.named_parameters():
            torch.testing.assert_close(parameters[key].grad[i], parameter.grad, rtol=1e-4, atol=1e-6)
