import pytest
import torch

from elegans.models.base import num_bytes
from elegans.models.kernel_attention import LinearAttention, ReLUAttention
from elegans.models.positions import Rotary
from elegans.ops.rng import torch_rng

WIDTH, HEADS = 12, 3
MIXERS = {
    "elu": lambda: LinearAttention(WIDTH, HEADS),
    "positive": lambda: LinearAttention(WIDTH, HEADS, features="positive"),
    "relu": lambda: ReLUAttention(WIDTH, HEADS),
    "relu rotary": lambda: ReLUAttention(WIDTH, HEADS, rotary=Rotary(WIDTH // HEADS, 32)),
}


def drawn(mixer, seed=0):
    mixer.reset_parameters(torch_rng("test", seed), 0.02)
    with torch.no_grad():
        mixer.project_in.weight.mul_(20)
    return mixer.double()


def sequence(length=11, batch=2):
    return torch.randn(batch, length, WIDTH, generator=torch_rng("x"), dtype=torch.float64)


def tensors(state):
    return [x for x in state if isinstance(x, torch.Tensor)]


@pytest.fixture(params=MIXERS)
def mixer(request):
    return drawn(MIXERS[request.param]())


@pytest.mark.parametrize("cuts", [[1] * 11, [4, 1, 6], [11]])
def test_portions_give_the_whole(mixer, cuts):
    x = sequence()
    state, parts = mixer.init_state(2), []
    for part in x.split(cuts, dim=1):
        out, state = mixer.extend(part, state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, dim=1), mixer(x))


def test_states_are_not_changed_in_place(mixer):
    _, state = mixer.extend(sequence(4), mixer.init_state(2))
    before = [x.clone() for x in tensors(state)]
    first, _ = mixer.extend(sequence(3), state)
    again, _ = mixer.extend(sequence(3), state)
    torch.testing.assert_close(tensors(state), before, rtol=0, atol=0)
    torch.testing.assert_close(first, again, rtol=0, atol=0)


def test_state_bytes_are_those_of_the_state(mixer):
    for length in (1, 5, 11):
        _, state = mixer.extend(sequence(length, batch=1), mixer.init_state(1))
        assert mixer.state_bytes(length) == num_bytes(state)
    assert (mixer.state_bytes(11) == mixer.state_bytes(1)) == isinstance(mixer, LinearAttention)


def test_later_positions_change_nothing_before_them(mixer):
    x = sequence()
    changed = x.clone()
    changed[:, 7:] += 3.0
    torch.testing.assert_close(mixer(changed)[:, :7], mixer(x)[:, :7])


def test_a_seed_gives_all_weights_and_directions(mixer):
    first, other, again = (
        {name: x.clone() for name, x in drawn(mixer.float(), seed).state_dict().items()} for seed in (1, 2, 1)
    )
    assert all(x.isfinite().all() and torch.equal(x, again[name]) for name, x in first.items())
    assert all("bias" in name or not torch.equal(x, other[name]) for name, x in first.items())


def test_every_parameter_gets_a_gradient_and_directions_are_fixed(mixer):
    mixer(sequence()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mixer.parameters())
    assert "directions" not in dict(mixer.named_parameters())


def test_members_of_an_ensemble_run_under_vmap(mixer):
    x = sequence()
    weights = dict(mixer.named_parameters())
    stacked = {name: torch.stack([p, 0.5 * p]) for name, p in weights.items()}
    outs = torch.func.vmap(lambda p: torch.func.functional_call(mixer, p, (x,)))(stacked)
    torch.testing.assert_close(outs[0], mixer(x))


def test_heads_are_read_and_replaced_at_their_site(mixer):
    seen = []
    mixer.at["heads"].register_forward_hook(lambda _, __, out: seen.append(out.shape))
    mixer(sequence())
    assert seen == [(2, 11, HEADS, WIDTH // HEADS)]


def test_many_positive_features_are_softmax_attention():
    mixer = drawn(LinearAttention(WIDTH, HEADS, features="positive", num_directions=40000))
    with torch.no_grad():
        mixer.project_in.weight.mul_(0.4)
    x = sequence(8)
    q, k, v = (x.transpose(1, 2) for x in mixer.project(x))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    error = (mixer(x) - mixer.merge(out)).norm() / mixer.merge(out).norm()
    assert error < 0.03


def test_large_keys_and_queries_stay_finite():
    mixer = drawn(LinearAttention(WIDTH, HEADS, features="positive")).float()
    out = mixer(1e3 * sequence().float())
    assert out.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, "width must be divisible by heads, got width 12 and heads 5"),
        ({"num_directions": 8}, "only 'positive' features have directions"),
        ({"features": "positive", "num_directions": 0}, "num_directions must be at least 1"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LinearAttention(**{"width": WIDTH, "heads": HEADS, **options})
