import math

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from elegans.models.base import num_bytes
from elegans.models.rwkv import RWKV4, BlockState
from elegans.models.token_shift import TokenShift

VOCAB = 9
TOKENS = torch.randint(0, VOCAB, (2, 11), generator=torch.Generator().manual_seed(0))


def randomized(std=0.5, **config):
    """A model in double precision in which no weight is special."""
    model = RWKV4(vocab=VOCAB, width=8, **config).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    return model


def naive_logits(w, depth, tokens):
    """The recurrence of the paper for one sequence, one position at a time and without any scaling."""

    def layer_norm(x, name):
        centered = x - x.mean()
        return centered / ((centered**2).mean() + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def shifted(x, last, name):
        mu = w[name].flatten()
        return mu * x + (1 - mu) * last

    att_last, ffn_last, numerator, denominator = ([0.0] * depth for _ in range(4))
    logits = []
    for token in tokens:
        x = layer_norm(w["emb.weight"][token], "blocks.0.ln0")
        for level in range(depth):
            at = f"blocks.{level}.att"
            z = layer_norm(x, f"blocks.{level}.ln1")
            r, k, v = (
                w[f"{at}.{name}.weight"] @ shifted(z, att_last[level], f"{at}.time_mix_{name[0]}")
                for name in ("receptance", "key", "value")
            )
            own = (w[f"{at}.time_first"] + k).exp()
            average = (numerator[level] + own * v) / (denominator[level] + own)
            kept = (-w[f"{at}.time_decay"].exp()).exp()
            numerator[level] = kept * numerator[level] + k.exp() * v
            denominator[level] = kept * denominator[level] + k.exp()
            att_last[level] = z
            x = x + w[f"{at}.output.weight"] @ (r.sigmoid() * average)
            at = f"blocks.{level}.ffn"
            z = layer_norm(x, f"blocks.{level}.ln2")
            hidden = w[f"{at}.key.weight"] @ shifted(z, ffn_last[level], f"{at}.time_mix_k")
            gate = (w[f"{at}.receptance.weight"] @ shifted(z, ffn_last[level], f"{at}.time_mix_r")).sigmoid()
            ffn_last[level] = z
            x = x + gate * (w[f"{at}.value.weight"] @ hidden.clamp(min=0) ** 2)
        logits.append(w["head.weight"] @ layer_norm(x, "ln_out"))
    return torch.stack(logits)


@pytest.mark.parametrize("sizes", [{}, {"attention_width": 12, "mlp_width": 5, "depth": 3}])
def test_logits_equal_the_naive_recurrence(sizes):
    model = randomized(**sizes)
    for row, logits in zip(TOKENS, model(TOKENS), strict=True):
        torch.testing.assert_close(naive_logits(model.state_dict(), len(model.blocks), row), logits)


@pytest.mark.parametrize("split", range(1, 11))
def test_prefill_and_steps_give_the_full_pass_at_any_split(split):
    model = randomized()
    full = model(TOKENS)
    prefix, state = model.extend(TOKENS[:, :split], model.init_state(2))
    assert (prefix - full[:, :split]).abs().max() < 1e-9
    for place in range(split, TOKENS.shape[1]):
        logits, state = model.step(TOKENS[:, place], state)
        assert (logits - full[:, place]).abs().max() < 1e-9


def test_without_the_last_inputs_the_state_is_not_enough():
    model = randomized()
    _, state = model.extend(TOKENS[:, :5], model.init_state(2))
    forgetful = tuple(BlockState(s.att._replace(last=0 * s.att.last), 0 * s.ffn) for s in state)
    rest, _ = model.extend(TOKENS[:, 5:], forgetful)
    assert (rest - model(TOKENS)[:, 5:]).abs().max() > 1e-3


def test_parameters_are_those_of_the_released_checkpoints():
    model = RWKV4(vocab=VOCAB, width=8, depth=2)
    at = [f"blocks.{level}" for level in (0, 1)]
    norms = ["blocks.0.ln0", "ln_out", *(f"{block}.{name}" for block in at for name in ("ln1", "ln2"))]
    mixed = [f"att.time_mix_{name}" for name in "kvr"] + [f"ffn.time_mix_{name}" for name in "kr"]
    expected = {f"{name}.{part}": (8,) for name in norms for part in ("weight", "bias")}
    expected |= {"emb.weight": (VOCAB, 8), "head.weight": (VOCAB, 8)}
    for block in at:
        expected |= {f"{block}.{name}": (1, 1, 8) for name in mixed}
        expected |= {f"{block}.att.{name}": (8,) for name in ("time_decay", "time_first")}
        expected |= {f"{block}.att.{name}.weight": (8, 8) for name in ("key", "value", "receptance", "output")}
        expected |= {f"{block}.ffn.key.weight": (32, 8), f"{block}.ffn.value.weight": (8, 32)}
        expected |= {f"{block}.ffn.receptance.weight": (8, 8)}
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected


@pytest.mark.parametrize(("vocab", "width", "depth"), [(9, 8, 1), (5, 16, 3)])
def test_sizes_follow_the_formulas(vocab, width, depth):
    model = RWKV4(vocab=vocab, width=width, depth=depth)
    expected = 2 * vocab * width + 13 * width**2 * depth + width * (11 * depth + 4)
    assert sum(p.numel() for p in model.parameters()) == expected
    _, state = model.extend(torch.zeros(1, 30, dtype=torch.long), model.init_state(1))
    assert num_bytes(state) == model.state_bytes(30) == model.state_bytes(1000) == 4 * 5 * width * depth


@pytest.mark.parametrize("depth", [1, 3])
def test_vectors_start_by_the_formulas(depth):
    width = 6
    model = RWKV4(vocab=VOCAB, width=width, depth=depth, attention_width=4)
    for level, block in enumerate(model.blocks):
        rising, falling = level / (depth - 1) if depth > 1 else 0.0, 1 - level / depth
        share = [c / width for c in range(width)]
        expected = {
            "att.time_decay": [-5 + 8 * (c / 3) ** (0.7 + 1.3 * rising) for c in range(4)],
            "att.time_first": [math.log(0.3) + 0.5 * ((c + 1) % 3 - 1) for c in range(4)],
            "att.time_mix_k": [s**falling for s in share],
            "att.time_mix_v": [s**falling + 0.3 * rising for s in share],
            "att.time_mix_r": [s ** (0.5 * falling) for s in share],
            "ffn.time_mix_k": [s**falling for s in share],
            "ffn.time_mix_r": [s**falling for s in share],
        }
        for name, values in expected.items():
            torch.testing.assert_close(block.get_parameter(name).detach().flatten(), torch.tensor(values))


def test_matrices_start_zero_or_orthogonal():
    official, orthogonal = (RWKV4(vocab=20, width=8, matrices=kind) for kind in ("official", "orthogonal"))
    zeroed = {"att.key", "att.receptance", "att.output", "ffn.receptance", "ffn.value"}
    for name, weight in orthogonal.named_parameters():
        if weight.ndim != 2 or name == "emb.weight":
            continue
        other = official.get_parameter(name)
        rows, columns = weight.shape
        gain = math.sqrt(max(rows / columns, 1)) * (0.5 if name == "head.weight" else 1)
        gram = weight.T @ weight if rows >= columns else weight @ weight.T
        torch.testing.assert_close(gram.detach(), gain**2 * torch.eye(min(rows, columns)))
        if name.split(".", 2)[-1].removesuffix(".weight") in zeroed:
            assert not other.any()
        else:
            assert torch.equal(other, weight)


def test_choices_of_the_start():
    sizes = {"tiny": (0, 1e-4), "normal": (0.015, 0.025), "unit": (0.9, 1.1)}
    for kind, (low, high) in sizes.items():
        assert low < RWKV4(vocab=200, width=8, embedding_init=kind).emb.weight.std() < high
    model = RWKV4(vocab=VOCAB, width=8, depth=3, decay_init="uniform")
    official = RWKV4(vocab=VOCAB, width=8, depth=3)
    for block in model.blocks:
        assert torch.equal(block.att.time_decay, official.blocks[1].att.time_decay)


def test_only_what_is_behind_no_zero_matrix_learns_in_the_first_step():
    def learning(model):
        cross_entropy(model(TOKENS[:, :-1]).flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
        return {name for name, p in model.named_parameters() if p.grad.any()}

    start = RWKV4(vocab=VOCAB, width=8)
    writers = {f"blocks.{level}.{name}.weight" for level in (0, 1) for name in ("att.output", "ffn.value")}
    ends = {f"{name}.{part}" for name in ("blocks.0.ln0", "ln_out") for part in ("weight", "bias")}
    assert learning(start) == writers | ends | {"emb.weight", "head.weight"}
    everything = randomized()
    assert learning(everything) == set(everything.state_dict())


def test_l2_wrap_adds_its_term_to_the_gradient_of_the_logits_in_training_only():
    model = randomized()
    logits = model(TOKENS)
    (head,) = torch.autograd.grad(logits, model.head.weight, torch.ones_like(logits))
    plain = model.eval()(TOKENS)
    largest, token = plain.max(-1, keepdim=True)
    term = torch.zeros_like(plain).scatter(-1, token, 1e-4 / TOKENS.numel() * largest)
    (expected,) = torch.autograd.grad(plain, model.head.weight, torch.ones_like(plain) + term)
    assert torch.equal(logits, plain)
    torch.testing.assert_close(head, expected, rtol=1e-12, atol=0)
    penalty = 0.5e-4 * plain.detach().requires_grad_().amax(-1).square().mean()
    assert penalty > 0 and torch.allclose((term * plain).sum(), 2 * penalty)


@pytest.mark.parametrize("l2_wrap", [True, False])
def test_gradients_under_vmap_are_those_of_each_member(l2_wrap):
    model = randomized(l2_wrap=l2_wrap)
    names = ("blocks.0.att.time_decay", "blocks.1.ffn.time_mix_k", "head.weight")
    weights = {name: model.get_parameter(name).detach() for name in names}

    def loss(weights, tokens):
        logits = functional_call(model, weights, (tokens[:, :-1],))
        return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    members = {name: torch.stack([w, 1.1 * w]) for name, w in weights.items()}
    together = vmap(grad(loss), in_dims=(0, None))(members, TOKENS)
    for member in range(2):
        own = {name: w[member].clone().requires_grad_() for name, w in members.items()}
        alone = torch.autograd.grad(loss(own, TOKENS), list(own.values()))
        torch.testing.assert_close([together[name][member] for name in names], list(alone))


def test_weight_decay_and_learning_rates_by_name():
    model = RWKV4(vocab=VOCAB, width=8)
    decayed = {name for name, _ in model.named_parameters()} - model.undecayed()
    matrices = ("att.key", "att.value", "att.receptance", "att.output", "ffn.key", "ffn.receptance", "ffn.value")
    assert decayed == {"head.weight"} | {f"blocks.{level}.{name}.weight" for level in (0, 1) for name in matrices}
    assert model.lr_scales() == {
        f"blocks.{level}.att.{name}": scale
        for level in (0, 1)
        for name, scale in (("time_decay", 2.0), ("time_first", 3.0))
    }


def test_sites_and_embeddings():
    model = RWKV4(vocab=VOCAB, width=8, freeze_embeddings=True)
    in_block = ("in", "mixer", "mid", "mlp", "out")
    assert set(model.sites()) == {"embed", "final"} | {
        f"blocks.{level}.{name}" for level in (0, 1) for name in in_block
    }
    assert model.input_embeddings() is model.emb.weight and model.output_embeddings() is model.head.weight
    assert not model.emb.weight.requires_grad and model.head.weight.requires_grad


@pytest.mark.parametrize("config", [{"width": 0}, {"mlp_width": 0}, {"attention_width": 0}, {"depth": 0}])
def test_wrong_sizes_are_refused(config):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        RWKV4(vocab=VOCAB, **config)


@pytest.mark.parametrize("name", ["matrices", "embedding_init", "decay_init"])
def test_unknown_starts_are_refused(name):
    with pytest.raises((ValueError, TypeError), match="'typo'"):
        RWKV4(vocab=VOCAB, **{name: "typo"})


def test_token_shift_mixes_with_the_input_before():
    shift = TokenShift(3, ("q", "k"))
    shift.reset_parameters()
    torch.testing.assert_close(shift.mix["q"].detach(), torch.tensor([0, 1 / 3, 2 / 3]))
    with torch.no_grad():
        shift.mix["k"].fill_(0.25)
    x = torch.arange(24.0).reshape(2, 4, 3)
    _, k = shift(x)
    torch.testing.assert_close(k[:, 0], 0.25 * x[:, 0])
    torch.testing.assert_close(k[:, 1:], 0.25 * x[:, 1:] + 0.75 * x[:, :-1])
    _, rest = shift(x[:, 2:], x[:, 1])
    assert torch.equal(rest, k[:, 2:])
