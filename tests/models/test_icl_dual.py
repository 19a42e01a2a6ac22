import itertools
import math

import pytest
import torch

from elegans.models.icl_dual import ContrastiveAttention, DualModel
from elegans.models.merged import MergedAttention
from elegans.ops.feature_maps import elu_plus_one, exact_gram
from elegans.training.ensemble import Ensemble

MODIFICATIONS = {
    "plain": {},
    "regularized": {"alpha": 0.5},
    "augmented": {"augment_keys": "mlp", "augment_values": "mlp"},
    "augmented linear": {"augment_keys": "linear"},
    "negatives": {"beta": 0.7, "negatives": "least-similar", "num_negatives": 2},
    "random negatives": {"beta": 0.7, "negatives": "random", "num_negatives": 2},
    "all": {"alpha": -0.5, "beta": 0.4, "negatives": "least-similar", "num_negatives": 3, "augment_keys": "mlp"},
}
WIDTH, N = 6, 7


def layer(count=2, seed=0, **changes):
    return ContrastiveAttention(width=WIDTH, num_query_side=count, seed=seed, hidden=5, **changes).double()


def prompt(count=2, seed=0, scale=0.7):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(N + max(count, 1), WIDTH, generator=generator, dtype=torch.float64)


def by_hand(layer, x):
    """h' with loops, from the definition."""
    count = layer.num_query_side
    tokens = x if count else x[:-1]
    keys = [layer.g2(layer.W_K @ t) for t in tokens]
    values = [layer.g1(layer.W_V @ t) for t in tokens]
    powers = [math.exp((k @ (layer.W_Q @ x[-1])).item() / math.sqrt(WIDTH)) for k in keys]
    out = torch.zeros(WIDTH, dtype=torch.float64)
    for i, power in enumerate(powers):
        value = values[i]
        if i >= N:
            value = (1 - layer.alpha) * value
        elif layer.negatives == "random":
            chosen = [(i + 1 + step) % N for step in range(layer.num_negatives)]
            value = value - layer.beta * sum(values[j] for j in chosen) / len(chosen)
        elif layer.negatives == "least-similar":
            others = sorted((j for j in range(N) if j != i), key=lambda j: (keys[i] @ keys[j]).item())
            chosen = others[: layer.num_negatives]
            value = value - layer.beta * sum(values[j] for j in chosen) / len(chosen)
        out = out + power / sum(powers) * value
    return out


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("name", MODIFICATIONS)
def test_attention_equals_the_formula(name, count):
    model, x = layer(count, **MODIFICATIONS[name]), prompt(count)
    torch.testing.assert_close(model(x), by_hand(model, x))


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("name", MODIFICATIONS)
def test_one_gradient_step_is_attention(name, count):
    for seed, eta in itertools.product(range(4), (1e-3, 1.0, 100.0)):
        model, x = layer(count, seed=seed, **MODIFICATIONS[name]), prompt(count, seed)
        dual = DualModel(model, x, exact_gram)
        found = dual.output(dual.step(dual.W_0, eta=eta))
        assert (found - model(x)).norm() <= 1e-8 * model(x).norm()


def test_the_gradient_is_the_derivative_of_the_loss():
    model, x = layer(2, **MODIFICATIONS["all"]), prompt(2)
    dual = DualModel(model, x, exact_gram)
    W = dual.W_0.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda W: dual.loss(W, 0.3), W)
    assert not dual.D.requires_grad, "D is a constant of the loss"
    (gradient,) = torch.autograd.grad(dual.loss(W, 0.3), W)
    torch.testing.assert_close(dual.step(dual.W_0, eta=0.3), dual.W_0 - 0.3 * gradient)
    torch.testing.assert_close(dual.step(dual.W_0, eta=0.3, lr=2.0), dual.W_0 - 2.0 * gradient)


@pytest.mark.parametrize("left_out", [{"query_start": False}, {"normalize": False}])
def test_every_part_is_needed(left_out):
    model, x = layer(2), prompt(2)
    dual = DualModel(model, x, exact_gram, **left_out)
    assert (dual.output(dual.step(dual.W_0)) - model(x)).norm() > 0.05 * model(x).norm()
    wrong = DualModel(model, x, elu_plus_one)
    assert (wrong.output(wrong.step(wrong.W_0)) - model(x)).norm() > 0.01 * model(x).norm()


def test_the_plain_layer_is_merged_attention():
    model, x = layer(2), torch.stack([prompt(2, seed) for seed in range(5)])
    merged = MergedAttention(width=WIDTH, value="matrix", temperature=math.sqrt(WIDTH)).double()
    with torch.no_grad():
        merged.W.copy_(model.W_K.mT @ model.W_Q)
        merged.V.copy_(model.W_V)
    torch.testing.assert_close(model(x), merged(x))
    torch.testing.assert_close(model.attention(model.views(x)), merged.weights(x)[..., 0, :])


def test_regularization_needs_query_side_tokens():
    without, some = ((layer(c, alpha=0.5)(prompt(c)), layer(c)(prompt(c))) for c in (0, 2))
    assert torch.equal(*without) and not torch.allclose(*some)


def test_several_steps():
    plain, x = layer(2), prompt(2)
    path = DualModel(plain, x, exact_gram).outputs(5)
    torch.testing.assert_close(path, path[0] + torch.arange(6)[:, None] * (plain(x) - path[0]))
    slow = DualModel(plain, x, exact_gram).outputs(10, lr=0.1)
    torch.testing.assert_close(slow[-1], plain(x))
    for name, alpha in (("plain", 0.5), ("plain", 1.7), ("negatives", 0.5)):
        dual = DualModel(layer(2, **MODIFICATIONS[name] | {"alpha": alpha}), x, exact_gram)
        torch.testing.assert_close(dual.outputs(120)[-1], dual.fixed_point())
    with pytest.raises(ValueError, match=r"needs alpha above 0, got 0\.0"):
        DualModel(plain, x, exact_gram).fixed_point()


def test_the_fixed_point_is_attention_over_demonstrations():
    model, x = layer(2, alpha=0.5), prompt(2)
    views = model.views(x)
    found = DualModel(model, x, exact_gram).fixed_point()
    torch.testing.assert_close(found, views.of_demonstrations[1].mT @ model.attention(views)[:N] / 0.5)


@pytest.mark.parametrize("name", MODIFICATIONS)
def test_batches_and_stacks_compute_what_one_prompt_does(name):
    models = [layer(1, seed=seed, **MODIFICATIONS[name]) for seed in range(3)]
    x = torch.stack([torch.stack([prompt(1, seed=10 * m + b) for b in range(4)]) for m in range(3)])
    stacked = Ensemble(models)(x)
    for model, prompts, outputs in zip(models, x, stacked, strict=True):
        torch.testing.assert_close(outputs, model(prompts))
        torch.testing.assert_close(outputs, torch.stack([model(p) for p in prompts]))


def test_every_weight_gets_its_gradient():
    model, x = layer(2, **MODIFICATIONS["all"]), prompt(2)
    names, values = zip(*model.named_parameters(), strict=True)

    def call(*weights):
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, values)


def test_modified_layers_start_from_the_same_attention():
    reference = ContrastiveAttention(width=WIDTH, seed=3)
    for changes in MODIFICATIONS.values():
        other = ContrastiveAttention(width=WIDTH, seed=3, **changes)
        for name in ("W_Q", "W_K", "W_V"):
            assert torch.equal(getattr(other, name), getattr(reference, name))
    assert not torch.equal(ContrastiveAttention(width=WIDTH, seed=4).W_Q, reference.W_Q)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"num_query_side": -1}, "num_query_side must be at least 0, got -1"),
        ({"num_negatives": 0}, "num_negatives must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveAttention(**{"width": 4} | settings)


@pytest.mark.parametrize("setting", ["negatives", "augment_keys", "augment_values"])
def test_unknown_names_are_refused(setting):
    with pytest.raises((ValueError, TypeError), match="hard"):  # by the type checker, where it is on
        ContrastiveAttention(**{"width": 4, setting: "hard"})


def test_prompts_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="at least 1 demonstrations, got 0"):
        layer(2)(prompt(2)[:2])
    with pytest.raises(ValueError, match="at least 5 demonstrations, got 4"):
        layer(0, negatives="random")(prompt(0)[:5])
