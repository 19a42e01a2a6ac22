import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.ops.relu_attention import reference_relu_attention, relu_attention


def inputs(queries=13, keys=13, batch=2, heads=3, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, length, heads, width) for length in (queries, keys, keys)]
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def output_and_gradients(function, leaves, **options):
    leaves = [x.detach().requires_grad_() for x in leaves]
    out = function(*leaves, **options)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=out.dtype)
    return out, *torch.autograd.grad((out * weight).sum(), leaves)


def test_reference_is_the_definition():
    q, k, v = inputs(queries=3, keys=5, batch=1, heads=1, width=2)
    out = reference_relu_attention(q, k, v)
    for t in range(3):
        seen = t + 3
        weights = [max(0.0, float(q[0, t, 0] @ k[0, s, 0]) / math.sqrt(2)) / seen for s in range(seen)]
        expected = sum(w * v[0, s, 0] for s, w in enumerate(weights))
        torch.testing.assert_close(out[0, t, 0], expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(0, 20), st.integers(1, 35), st.integers(0, 99))
def test_blocked_form_equals_the_reference_with_all_gradients(queries, earlier, block, seed):
    leaves = inputs(queries, queries + earlier, seed=seed)
    expected = output_and_gradients(reference_relu_attention, leaves)
    torch.testing.assert_close(output_and_gradients(relu_attention, leaves, block=block), expected)


def test_the_last_queries_alone_give_the_same():
    q, k, v = inputs(11, 11)
    whole = relu_attention(q, k, v, block=4)
    for cut in (1, 6, 10):
        torch.testing.assert_close(relu_attention(q[:, cut:], k, v, block=3), whole[:, cut:])
        torch.testing.assert_close(relu_attention(q[:, :cut], k[:, :cut], v[:, :cut]), whole[:, :cut])


def test_gradients_pass_gradcheck():
    leaves = [x.requires_grad_() for x in inputs(5, 8, batch=1, heads=2, width=3)]
    assert torch.autograd.gradcheck(lambda *args: relu_attention(*args, block=2), leaves)


def test_inside_vmap_and_grad():
    members = [torch.stack([x, -x]) for x in inputs(6, 6)]

    def loss(q, k, v):
        return relu_attention(q, k, v, block=4).square().sum()

    gradients = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1, 2)))(*members)
    for member in range(2):
        leaves = [x[member].detach().requires_grad_() for x in members]
        expected = torch.autograd.grad(loss(*leaves), leaves)
        torch.testing.assert_close(tuple(g[member] for g in gradients), expected)


def test_the_backward_pass_keeps_no_weights():
    leaves = [x.requires_grad_() for x in inputs(256, 256, batch=1, heads=1, width=8)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        relu_attention(*leaves, block=32)
    assert max(kept) <= 256 * 8


def test_wrong_sizes_are_named():
    q, k, v = inputs(5, 4)
    with pytest.raises(ValueError, match="got 5 queries, 4 keys"):
        relu_attention(q, k, v)
    with pytest.raises(ValueError, match="block must be at least 1"):
        relu_attention(k, k, v, block=0)
