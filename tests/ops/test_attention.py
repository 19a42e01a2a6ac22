import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import vmap

from elegans.ops import attention as ops
from elegans.ops.attention import (
    attention,
    attention_weights,
    pseudo_log_mass,
    reference_attention,
    reference_stablemask,
    sink_as_key,
)

HEADS, WIDTH = 3, 4


def qkv(num_queries, num_keys, batch=2, seed=0, dtype=torch.double):
    generator = torch.Generator().manual_seed(seed)

    def draw(length):
        return torch.randn(batch, length, HEADS, WIDTH, generator=generator, dtype=dtype).requires_grad_()

    return draw(num_queries), draw(num_keys), draw(num_keys)


def sinks(num_queries, seed=1):
    """Random logits, one of them absent."""
    sink = 3 * torch.randn(HEADS, num_queries, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    sink[0, -1] = -math.inf
    return sink.requires_grad_()


def alibi(num_queries, num_keys):
    positions = torch.arange(num_keys, dtype=torch.double)
    slopes = torch.tensor([1.0, 0.5, 0.1], dtype=torch.double)
    return -slopes[:, None, None] * (positions[num_keys - num_queries :, None] - positions)


def gradients(out, inputs, seed=2):
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=out.dtype)
    return torch.autograd.grad((out * weight).sum(), inputs)


@settings(max_examples=25, deadline=None)
@given(num_queries=st.integers(1, 9), before=st.integers(0, 5), with_bias=st.booleans(), with_sink=st.booleans())
def test_outputs_and_gradients_equal_the_reference(num_queries, before, with_bias, with_sink):
    inputs = qkv(num_queries, num_queries + before)
    sink = sinks(num_queries) if with_sink else None
    bias = alibi(num_queries, num_queries + before) if with_bias else None
    wanted = [*inputs, sink] if with_sink else list(inputs)
    fast, slow = attention(*inputs, sink, bias), reference_attention(*inputs, sink, bias)
    torch.testing.assert_close(fast, slow)
    for one, other in zip(gradients(fast, wanted), gradients(slow, wanted), strict=True):
        torch.testing.assert_close(one.nan_to_num(), other.nan_to_num())


@pytest.mark.parametrize("with_bias", [False, True])
def test_the_form_for_other_devices_equals_the_reference(with_bias):
    inputs, sink = qkv(7, 7), sinks(7)
    bias = alibi(7, 7).masked_fill(~ops.visible(7, 7), -math.inf)[None] if with_bias else None
    out = sink_as_key(*(x.transpose(1, 2) for x in inputs), sink, bias).transpose(1, 2)
    slow = reference_attention(*inputs, sink, alibi(7, 7) if with_bias else None)
    torch.testing.assert_close(out, slow)
    for one, other in zip(gradients(out, inputs), gradients(slow, inputs), strict=True):
        torch.testing.assert_close(one, other)


def test_gradcheck():
    inputs = qkv(4, 4, batch=1)
    sink = torch.zeros(HEADS, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(attention, (*inputs, sink))


def test_the_fused_output_scaled_without_its_own_backward_has_wrong_gradients():
    """Why the kernel has one: PyTorch does not differentiate the log of the normalizer."""
    inputs, sink = qkv(8, 8), sinks(8)
    q, k, v = (x.transpose(1, 2) for x in inputs)
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
    naive = (out * torch.sigmoid(lse - sink)[..., None]).transpose(1, 2)
    exact = reference_attention(*inputs, sink)
    torch.testing.assert_close(naive, exact)
    wrong = [
        (a - b).abs().max() for a, b in zip(gradients(naive, inputs[:2]), gradients(exact, inputs[:2]), strict=True)
    ]
    assert max(wrong) > 0.1


def test_under_vmap():
    members = [qkv(5, 5, seed=seed) for seed in range(3)]
    sink = torch.stack([sinks(5, seed) for seed in range(3)])
    stacked = vmap(attention)(*(torch.stack(parts) for parts in zip(*members, strict=True)), sink)
    for i, member in enumerate(members):
        torch.testing.assert_close(stacked[i], attention(*member, sink[i]))


def test_weights_sum_to_what_is_kept():
    q, k, _ = qkv(6, 6)
    assert torch.allclose(attention_weights(q, k).sum(-1), torch.ones(1, dtype=torch.double))
    kept = attention_weights(q, k, torch.zeros(HEADS, 6, dtype=torch.double)).sum(-1)
    scores = torch.einsum("bthk,bshk->bhts", q, k) / 2
    total = scores.exp().masked_fill(~ops.visible(6, 6), 0).sum(-1)
    torch.testing.assert_close(kept, total / (total + 1))


def test_dropout_acts_on_the_weights_with_a_sink_too():
    inputs, sink = qkv(6, 6), sinks(6)
    torch.manual_seed(0)
    assert not torch.allclose(attention(*inputs, sink, dropout=0.5), attention(*inputs, sink))


# ------------------------------------------------------------------------------------------------ StableMask


def gammas(*values):
    return torch.tensor(values, dtype=torch.double)


@settings(max_examples=30, deadline=None)
@given(total=st.integers(1, 40), gamma=st.floats(0, 3), relative=st.booleans())
def test_finite_mass_equals_the_sum(total, gamma, relative):
    positions = torch.arange(1, total + 1, dtype=torch.double)
    mass = pseudo_log_mass(gammas(gamma), positions, total, relative=relative)[0]
    for i in range(1, total + 1):
        later = range(i + 1, total + 1)
        expected = math.fsum(math.exp(-((j - i + 1) if relative else (j - 1)) * gamma) for j in later)
        assert mass[i - 1].exp().item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("relative", [False, True])
def test_endless_mass_is_the_limit(relative):
    positions = torch.arange(1, 30, dtype=torch.double)
    rates = gammas(0.01, 0.3, 2.0)
    far = pseudo_log_mass(rates, positions, 20_000, relative=relative)
    torch.testing.assert_close(pseudo_log_mass(rates, positions, relative=relative), far)


def test_stablemask_as_published_is_a_sink():
    inputs, rates = qkv(9, 9), gammas(0.0, 0.25, 1.0)
    sink = pseudo_log_mass(rates, torch.arange(1, 10, dtype=torch.double), 9)
    fast, published = attention(*inputs, sink), reference_stablemask(*inputs, rates)
    torch.testing.assert_close(fast, published, atol=1e-12, rtol=0)
    for one, other in zip(gradients(fast, inputs), gradients(published, inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
