import math

import pytest
import torch
from torch.func import functional_call

from elegans.models.merged import MergedAttention
from elegans.training.ensemble import Ensemble

WIDTH, LENGTH = 7, 5
CASES = [
    (kind, queries, value)
    for kind in ("softmax", "linear", "relu")
    for queries in ("last", "sum", "all")
    for value in ("identity", "vector", "matrix")
]


def make(**config):
    settings = {"width": WIDTH, "temperature": 1.7, "scale": 0.6, "init_std": 0.8, "seed": 3, **config}
    return MergedAttention(**settings).double()


def tokens(seed=0, batch=(2, 3)):
    """Multi-hot tokens of at most three features, as indices and dense; the first row's padding is masked."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.rand(*batch, LENGTH, WIDTH, generator=generator).argsort(-1)[..., :3]
    index = index.where(torch.rand(index.shape, generator=generator) < 0.8, torch.tensor(-1))
    dense = torch.zeros(*batch, LENGTH, WIDTH, dtype=torch.double)
    for place in range(3):
        hot = torch.nn.functional.one_hot(index[..., place].clamp(min=0), WIDTH)
        dense += hot * (index[..., place, None] >= 0)
    lengths = torch.randint(1, LENGTH + 1, batch, generator=generator)
    mask = torch.arange(LENGTH) < lengths[..., None]
    return index, dense, mask


def naive(model, x, mask):
    """The equations of the class, one number at a time."""
    W, T = model.key_query(), x.shape[0]
    real = [t for t in range(T) if mask[t]]
    outputs = []
    for q in [real[-1]] if model.queries == "last" else range(T):
        c = torch.zeros(WIDTH, dtype=torch.double)
        scores = {t: (x[t] @ W @ x[q]) / model.temperature for t in real}
        top = max(s.item() for s in scores.values())
        total = sum(math.exp(s.item() - top) for s in scores.values())
        for t, s in scores.items():
            if model.kind == "softmax":
                a = math.exp(s.item() - top) / total
            else:
                a = max(s.item(), 0.0) if model.kind == "relu" else s.item()
            c = c + model.scale * a * x[t]
        outputs.append(c if mask[q] else torch.zeros_like(c))
    c = torch.stack(outputs)
    y = {"identity": lambda: c, "vector": lambda: c @ model.v, "matrix": lambda: c @ model.V.T}[model.value]()
    return {"last": lambda: y[0], "sum": lambda: y.sum(0), "all": lambda: y}[model.queries]()


@pytest.mark.parametrize(("kind", "queries", "value"), CASES)
def test_dense_sparse_and_formula_agree_with_every_gradient(kind, queries, value):
    model = make(kind=kind, queries=queries, value=value, out_width=4 if value == "matrix" else None)
    index, x, mask = tokens()
    for given in (None, mask):
        dense, sparse = model(x, given), model.forward_index(index, given)
        torch.testing.assert_close(dense, sparse)
        torch.testing.assert_close(model.weights(x, given), model.weights_index(index, given))
        torch.testing.assert_close(model.context(x, given), model.context_index(index, given))
        flat = torch.ones_like(mask) if given is None else given
        for i in range(2):
            for j in range(3):
                torch.testing.assert_close(dense[i, j], naive(model, x[i, j], flat[i, j]))
        weight = torch.randn(dense.shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        of_dense = torch.autograd.grad((dense * weight).sum(), list(model.parameters()))
        of_sparse = torch.autograd.grad((sparse * weight).sum(), list(model.parameters()))
        for a, b in zip(of_dense, of_sparse, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", ["softmax", "linear"])
@pytest.mark.parametrize("queries", ["last", "sum"])
def test_gradients_are_right(kind, queries):
    model = make(kind=kind, queries=queries)
    _, x, mask = tokens(batch=(2,))
    names = [name for name, _ in model.named_parameters()]
    start = tuple(p.detach().clone().requires_grad_() for p in model.parameters())

    def dense(x, *values):
        return functional_call(model, dict(zip(names, values, strict=True)), (x, mask))

    assert torch.autograd.gradcheck(dense, (x.requires_grad_(), *start))


def test_context_of_all_queries_sums_to_the_output():
    _, x, mask = tokens()
    model = make(queries="sum", value="matrix")
    torch.testing.assert_close((model.context(x, mask) @ model.V.mT).sum(-2), model(x, mask))


def test_masked_tokens_do_not_matter():
    _, x, mask = tokens()
    noise = torch.where(mask[..., None], x, 100.0)
    for kind in ("softmax", "linear", "relu"):
        for queries in ("last", "sum", "all"):
            model = make(kind=kind, queries=queries)
            torch.testing.assert_close(model(x, mask), model(noise, mask))


def test_softmax_weights_sum_to_scale():
    _, x, mask = tokens()
    torch.testing.assert_close(make().weights(x, mask).sum(-1), torch.full((2, 3, 1), 0.6, dtype=torch.double))


def test_zero_start_is_even_attention():
    model = MergedAttention(width=WIDTH)
    _, x, _ = tokens()
    assert not model(x.float()).any()
    assert model.weights(x.float()).unique().tolist() == pytest.approx([1 / LENGTH])


def test_tied_patterns():
    patterns = torch.randn(3, WIDTH, WIDTH, generator=torch.Generator().manual_seed(5))
    tied = MergedAttention(width=WIDTH, patterns=patterns, init_std=1.0, seed=2)
    assert sorted(name for name, _ in tied.named_parameters()) == ["lam", "v"]
    free = MergedAttention(width=WIDTH)
    with torch.no_grad():
        free.W.copy_(sum(weight * p for weight, p in zip(tied.lam, patterns, strict=True)))
        free.v.copy_(tied.v)
    _, x, mask = tokens()
    torch.testing.assert_close(tied(x.float(), mask), free(x.float(), mask))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("queries", ["last", "sum", "all"])
def test_a_stack_equals_its_members(queries, sparse):
    class Indexed(MergedAttention):
        def forward(self, x):
            mask = (x >= 0).any(-1)
            return self.forward_index(x, mask)

    kind = Indexed if sparse else MergedAttention
    models = [kind(width=WIDTH, queries=queries, init_std=1.0, seed=seed).double() for seed in range(3)]
    index, dense, _ = tokens(batch=(3, 4))
    index[..., 0, 0] = 1  # a real token in every sequence
    x = index if sparse else dense
    stack = Ensemble(models)
    out = stack(x)
    out.square().sum().backward()
    for i, model in enumerate(models):
        alone = model(x[i])
        torch.testing.assert_close(out[i], alone)
        alone.square().sum().backward()
        for name, p in stack.named_parameters():
            torch.testing.assert_close(p.grad[i], dict(model.named_parameters())[name].grad)


def test_start_is_a_function_of_the_seed():
    a, b, c = (MergedAttention(width=9, init_std=0.1, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.W, b.W) and torch.equal(a.v, b.v) and not torch.equal(a.W, c.W)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"width": 3, "temperature": 0.0}, r"temperature must be above 0, got 0\.0"),
        ({"width": 3, "init_std": -1.0}, r"init_std must be at least 0, got -1\.0"),
        ({"width": 3, "out_width": 2}, "out_width belongs to value='matrix', got value='vector'"),
        ({"width": 3, "patterns": torch.zeros(2, 3, 4)}, r"patterns must have shape \[K, 3, 3\], got \[2, 3, 4\]"),
    ],
)
def test_bad_settings_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        MergedAttention(**config)
