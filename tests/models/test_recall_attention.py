import math

import pytest
import torch

from elegans.models.recall import NUDGE, RecallAttention
from elegans.tasks.recall import InContextRecall
from elegans.training.ensemble import Ensemble

FREE = ["", "W", "V", "F", "WV", "WF", "VF", "WVF"]
SIZES = dict(n_tokens=11, length=9, n_triggers=2, n_outputs=3, n_eval=6)


def build(free="", kind="linear", alpha=0.3, seed=0, **more):
    model = RecallAttention(vocab=11, n_triggers=2, free=free, kind=kind, alpha=alpha, **more)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return model.double()


def tokens(alpha=0.3):
    return InContextRecall(**SIZES, alpha=alpha).dataset("id").tokens


@pytest.mark.parametrize("kind", ["linear", "relu", "softmax"])
@pytest.mark.parametrize("free", FREE)
def test_logits_equal_the_formula_token_by_token(free, kind):
    model, n = build(free, kind, kappa=0.7), 11
    W, V, F = model.attention.key_query().detach(), model.value().detach(), model.feed_forward().detach()
    for row, logits in zip(tokens().tolist(), model(tokens()), strict=True):
        x = torch.zeros(len(row), 2 * n, dtype=torch.double)
        for h, token in enumerate(row):
            x[h, token] += 1
            if h:
                x[h, n + row[h - 1]] += 1
        scores = torch.stack([x[h] @ W @ x[-1] for h in range(len(row))])
        a = {"linear": scores, "relu": scores.clamp(min=0), "softmax": scores.softmax(0)}[kind]
        context = sum(a[h] * x[h] for h in range(len(row)))
        torch.testing.assert_close(logits, V @ context + F @ (x[-1] + 0.7 * context))


def test_sparse_context_equals_dense_with_gradients():
    model = build("WVF")
    features = model.features(tokens())
    dense = torch.nn.functional.one_hot(features.clamp(min=0), 22).double() * (features >= 0)[..., None]
    contexts = model.attention.context_index(features), model.attention.context(dense.sum(-2))
    torch.testing.assert_close(*contexts)
    gradients = [torch.autograd.grad(c.square().sum(), model.attention.W)[0] for c in contexts]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("free", ["", "WVF"])
def test_gradients_are_right(free):
    items = InContextRecall(n_tokens=4, length=5, n_triggers=1, n_outputs=1, alpha=0.3, n_eval=2).dataset("id").tokens
    model = RecallAttention(vocab=4, n_triggers=1, alpha=0.3, kind="softmax", free=free, train_value=not free).double()
    names = [name for name, _ in model.named_parameters()]
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(p.shape, generator=generator).double().requires_grad_() for p in model.parameters()]

    def call(*parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (items,))

    assert torch.autograd.gradcheck(call, values)


def test_tied_solution_recalls_and_knows_the_noise():
    for alpha in (0.0, 0.3):
        task = InContextRecall(**SIZES, alpha=alpha)
        model = RecallAttention(vocab=11, n_triggers=2, alpha=alpha)
        torch.nn.init.constant_(model.attention.lam, 30.0)
        for split in ("id", "ood"):
            items = task.dataset(split).tokens
            torch.testing.assert_close(model(items).double().softmax(-1), task.bayes_probs(items), atol=1e-6, rtol=0)


def test_attention_logit_of_the_answer_counts_its_occurrences():
    task = InContextRecall(**SIZES | {"n_answer": 3})
    model = RecallAttention(vocab=11, n_triggers=2)
    torch.nn.init.constant_(model.attention.lam, 0.5)
    items = task.dataset("id")
    attention, feed_forward = model.components(items.tokens)
    assert not feed_forward.any()
    torch.testing.assert_close(attention, 1.5 * torch.nn.functional.one_hot(items.targets[:, -1], 11).float())


def test_softmax_without_value_scale_has_a_floor():
    task = InContextRecall(**SIZES)
    model = RecallAttention(vocab=11, n_triggers=2, kind="softmax")
    torch.nn.init.constant_(model.attention.lam, 100.0)
    items = task.dataset("id")
    loss = torch.nn.functional.cross_entropy(model(items.tokens), items.targets[:, -1]).item()
    assert loss == pytest.approx(math.log(1 + 10 / math.e))


def test_only_free_weights_train_and_start_at_zero():
    names = {free: {n for n, p in build(free).named_parameters() if p.requires_grad} for free in FREE}
    assert names[""] == {"attention.lam"}
    assert names["W"] == {"attention.W"}
    assert names["WVF"] == {"attention.W", "V", "F"}
    for free in FREE:
        fresh = RecallAttention(vocab=11, n_triggers=2, free=free)
        assert not any(p.any() for name, p in fresh.named_parameters() if name != "beta")


def test_relu_starts_where_its_gradient_lives():
    model = RecallAttention(vocab=11, n_triggers=2, kind="relu", free="W")
    assert (model.attention.W == NUDGE).all()
    model(tokens(0.0)).square().sum().backward()
    assert model.attention.W.grad.abs().sum() > 0


@pytest.mark.parametrize("free", ["", "WVF"])
def test_a_stack_computes_what_members_compute(free):
    models = [build(free, alpha=0.3, seed=seed) for seed in range(3)]
    batches = torch.stack([tokens(), tokens().flip(0), tokens()])
    together = Ensemble(models)(batches)
    torch.testing.assert_close(together, torch.stack([m(b) for m, b in zip(models, batches, strict=True)]))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\), got 1"):
        RecallAttention(vocab=9, n_triggers=2, alpha=1.0)
    with pytest.raises(ValueError, match="n_triggers must be at most vocab - 2 = 7, got 8"):
        RecallAttention(vocab=9, n_triggers=8)
