import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.ops.linear_attention import LinearState, causal_linear_attention, reference_linear_attention


def inputs(batch=2, length=13, heads=3, features=4, width=5, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q, k = (scale * draw(batch, length, heads, features).exp() for _ in range(2))
    state = LinearState(draw(batch, heads, features, width), draw(batch, heads, features).exp())
    return q, k, draw(batch, length, heads, width), state


def outputs_and_gradients(function, q, k, v, state, **options):
    """Outputs, the returned state and the gradients of everything, through both."""
    leaves = [x.detach().requires_grad_() for x in (q, k, v, *state)]
    out, end = function(*leaves[:3], LinearState(*leaves[3:]), **options)
    generator = torch.Generator().manual_seed(9)
    loss = sum((x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum() for x in (out, *end))
    return out, *end, *torch.autograd.grad(loss, leaves)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 40), chunk=st.integers(1, 50), normalize=st.booleans(), seed=st.integers(0, 99))
def test_chunked_form_equals_the_recurrence_with_all_gradients(length, chunk, normalize, seed):
    args = inputs(length=length, seed=seed)
    expected = outputs_and_gradients(reference_linear_attention, *args, normalize=normalize)
    found = outputs_and_gradients(causal_linear_attention, *args, normalize=normalize, chunk=chunk)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_outputs_are_means_of_the_values_seen():
    q, k, v, _ = inputs(length=9)
    weights = torch.einsum("bthf,bshf->bhts", q, k).tril()
    mean = torch.einsum("bhts,bshk->bthk", weights / weights.sum(-1, keepdim=True), v)
    torch.testing.assert_close(causal_linear_attention(q, k, v, chunk=4)[0], mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cut", [0, 1, 6, 12])
def test_sequences_can_be_continued_anywhere(cut):
    q, k, v, start = inputs(length=13)
    whole, end = causal_linear_attention(q, k, v, start, chunk=5)
    if cut == 0:
        parts, state = [], start
    else:
        out, state = causal_linear_attention(q[:, :cut], k[:, :cut], v[:, :cut], start, chunk=5)
        parts = [out]
    out, state = causal_linear_attention(q[:, cut:], k[:, cut:], v[:, cut:], state, chunk=4)
    torch.testing.assert_close(torch.cat([*parts, out], dim=1), whole)
    torch.testing.assert_close(state, end)


def test_inside_vmap_and_grad():
    q, k, v, _ = (torch.stack([x, x * 1.1]) if isinstance(x, torch.Tensor) else x for x in inputs(length=7))

    def loss(q, k, v):
        return causal_linear_attention(q, k, v, chunk=3)[0].square().sum()

    gradients = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1, 2)))(q, k, v)
    for member in range(2):
        leaves = [x[member].detach().requires_grad_() for x in (q, k, v)]
        expected = torch.autograd.grad(loss(*leaves), leaves)
        torch.testing.assert_close(tuple(g[member] for g in gradients), expected)


def test_long_sequences_in_half_precision_do_not_saturate():
    q, k, v, _ = inputs(batch=1, length=2000, heads=1)
    exact, _ = reference_linear_attention(q, k, v)
    found, state = causal_linear_attention(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert found.dtype == torch.bfloat16 and state.kv.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0.05, atol=0.02)


def test_memory_grows_linearly():
    def kept(length):
        sizes = []
        q, k, v, _ = inputs(batch=1, length=length, heads=1)
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            causal_linear_attention(q.requires_grad_(), k.requires_grad_(), v.requires_grad_(), chunk=16)
        return sum(sizes)

    assert kept(512) < 4.2 * kept(128)


def test_chunks_have_a_size():
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        causal_linear_attention(*inputs(), chunk=0)
