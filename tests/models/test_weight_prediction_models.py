import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.models.looped import Looped
from elegans.models.weight_prediction import ContinuousCoT, LinearSelfAttention, LoopedPrediction
from elegans.tasks.weight_prediction import InContextWeightPrediction, gd_path
from elegans.training.ensemble import Ensemble

quick = settings(max_examples=15, deadline=None)


def layer(seed=0, d=3, n=5, init="random", sigma=0.2):
    return LinearSelfAttention(d=d, n=n, init=init, sigma=sigma, seed=seed).double()


def task(**more):
    return InContextWeightPrediction(**dict(d=3, n=5, thoughts=4, eta=0.3, n_eval=6) | more)


def prompt(**more):
    return task(**more).prompts("id")[0].double()


def test_dense_layer_equals_the_formula():
    model, Z = layer(), prompt()[0].mT
    V, W = model.attention.V.detach(), model.attention.W.detach()
    torch.testing.assert_close(model(Z.mT), (Z + V @ Z @ (Z.mT @ W @ Z) / 5).mT)


@quick
@given(st.integers(0, 20), st.integers(1, 6))
def test_gram_form_of_thinking_equals_appending_columns(seed, steps):
    model = ContinuousCoT(layer(seed))
    tokens = prompt()
    path = model.path(tokens, steps)
    for step in range(steps):
        torch.testing.assert_close(path[:, step], tokens[:, -1])
        tokens = torch.cat([tokens, model.layer(tokens)[:, -1:]], dim=1)
    torch.testing.assert_close(path[:, steps], tokens[:, -1])


@quick
@given(st.integers(0, 20))
def test_forced_form_equals_appending_the_given_thoughts(seed):
    model = ContinuousCoT(layer(seed))
    tokens = task().dataset("id").tokens.double()
    dense = [model.layer(tokens[:, : 6 + step])[:, -1] for step in range(4)]
    torch.testing.assert_close(model(tokens), torch.stack(dense, dim=1))


@quick
@given(st.integers(0, 20), st.integers(1, 4))
def test_gram_form_of_loops_equals_transforming_all_columns(seed, loops):
    model = LoopedPrediction(layer(seed), loops=loops)
    dense = Looped(model.layer, loops)
    torch.testing.assert_close(model(prompt())[:, 0], dense(prompt())[:, -1])
    states = dense.trace(prompt(), loops + 2)
    torch.testing.assert_close(model.path(prompt(), loops + 2), torch.stack([z[:, -1] for z in states], dim=1))


def test_sparse_and_dense_gradients_agree():
    model = ContinuousCoT(layer(), thoughts=3, forced=False)
    tokens = prompt()
    fast = torch.autograd.grad(model(tokens)[:, -1].square().sum(), list(model.parameters()))
    for _ in range(3):
        tokens = torch.cat([tokens, model.layer(tokens)[:, -1:]], dim=1)
    dense = torch.autograd.grad(tokens[:, -1].square().sum(), list(model.parameters()))
    for a, b in zip(fast, dense, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_are_right():
    model = LoopedPrediction(layer(d=1, n=2), loops=2)
    names = [name for name, _ in model.named_parameters()]
    tokens = prompt(d=1, n=2)[:2]

    def call(*parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (tokens,))

    assert torch.autograd.gradcheck(call, [p.detach().requires_grad_() for p in model.parameters()])


@pytest.mark.parametrize("gauge", [1.0, 0.25])
def test_the_solution_is_gradient_descent_in_any_gauge(gauge):
    model = ContinuousCoT(layer())
    model.layer.set_solution(read=torch.eye(3).double(), write=-0.3 * torch.eye(3).double())
    with torch.no_grad():
        model.layer.attention.V.mul_(gauge)
        model.layer.attention.W.div_(gauge)
    x, y = task().examples(prompt())
    estimates = model.path(prompt(), 7)[..., 4:7]
    torch.testing.assert_close(estimates, gd_path(x, y, eta=0.3, steps=7), atol=1e-6, rtol=1e-6)


def test_theory_start_is_sparse_shared_and_a_function_of_the_seed():
    model = LinearSelfAttention(d=4, n=5, init="theory", sigma=0.1, seed=2)
    V, W, at = model.attention.V, model.attention.W, model.blocks.slices
    torch.testing.assert_close(-V[at["w"], at["x"]], W[at["x"], at["w"]])
    assert W[at["y"], at["1"]].item() == -1
    assert V.count_nonzero() == 16 and W.count_nonzero() == 17
    values = torch.linalg.eigvalsh(W[at["x"], at["w"]].detach())
    assert values.min() >= 0.05 and values.max() <= 0.15
    again, other = (LinearSelfAttention(d=4, n=5, sigma=0.1, seed=seed) for seed in (2, 3))
    assert torch.equal(W, again.attention.W) and not torch.equal(W, other.attention.W)


@pytest.mark.parametrize(
    "wrap",
    [
        ContinuousCoT,
        lambda inner: ContinuousCoT(inner, thoughts=3, forced=False),
        lambda inner: LoopedPrediction(inner, loops=2),
    ],
)
def test_a_stack_computes_what_members_compute(wrap):
    models = [wrap(layer(seed)) for seed in range(3)]
    batches = torch.stack([task(seed=seed).dataset("id").tokens.double() for seed in range(3)])
    together = Ensemble(models)(batches)
    torch.testing.assert_close(together, torch.stack([m(b) for m, b in zip(models, batches, strict=True)]))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"sigma must be above 0, got 0\.0"):
        LinearSelfAttention(d=2, n=3, sigma=0.0)
    with pytest.raises(ValueError, match="loops must be at least 1, got 0"):
        LoopedPrediction(layer(), loops=0)
    with pytest.raises(ValueError, match="thoughts must be at least 1, got 0"):
        ContinuousCoT(layer(), thoughts=0)
