import math
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, vmap

from elegans.ops import wkv as ops
from elegans.ops.wkv import WKVState, reference_wkv, wkv


def arguments(length, batch=2, width=5, seed=0, dtype=torch.double, scale=3.0):
    """Decay, bonus, keys, values and a state; the last channel of the state is empty."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    decay = torch.linspace(-5, 3, width, dtype=dtype)
    a, b, p = draw(batch, width), draw(batch, width).exp(), scale * draw(batch, width)
    a[:, -1], b[:, -1], p[:, -1] = 0, 0, -1e38
    inputs = decay, draw(width), scale * draw(batch, length, width), draw(batch, length, width), a, b, p
    return [x.requires_grad_() for x in inputs]


def call(operator, decay, bonus, k, v, *state, **options):
    return operator(decay, bonus, k, v, WKVState(*state) if state else None, **options)


def by_definition(decay, bonus, k, v):
    """Softmax over the positions so far, with the scores of the paper: quadratic in T."""
    place = torch.arange(k.shape[1])
    distance = (place[:, None] - place - 1)[None, :, :, None]
    scores = torch.where(distance < 0, bonus + k[:, None], k[:, None] - distance * decay.exp())
    scores = scores.masked_fill(distance < -1, -math.inf)
    return (scores.softmax(2) * v[:, None]).sum(2)


def weighed(y, state, seed=3):
    """A number that depends on all outputs, and on the state through its two sums."""
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed), dtype=y.dtype)
    return (y * weight).sum() + (state.a / state.b).sin().sum() + (state.b.log() + state.p).cos().sum()


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 23), chunk=st.sampled_from([None, 1, 2, 8, 23, 61]), scale=st.sampled_from([0.1, 5.0]))
def test_outputs_state_and_gradients_equal_the_reference(length, chunk, scale):
    inputs = arguments(length, scale=scale)
    fast, slow = call(wkv, *inputs, chunk=chunk), call(reference_wkv, *inputs)
    torch.testing.assert_close(fast, slow)
    for one, other in zip(
        torch.autograd.grad(weighed(*fast), inputs), torch.autograd.grad(weighed(*slow), inputs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("chunk", [None, 1, 8, 61])
def test_outputs_and_gradients_equal_the_definition(chunk):
    inputs = arguments(61, scale=5.0)[:4]
    y, expected = call(wkv, *inputs, chunk=chunk)[0], by_definition(*inputs)
    torch.testing.assert_close(y, expected)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    for one, other in zip(
        torch.autograd.grad(y, inputs, weight), torch.autograd.grad(expected, inputs, weight), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_gradcheck():
    inputs = arguments(5, batch=1, width=3, scale=1.0)

    def sums(*inputs):
        y, state = call(wkv, *inputs, chunk=2)
        return y, state.a / state.b, state.b.log() + state.p

    inputs[-1] = (inputs[-1].detach() * (inputs[-1] > -1e30)).requires_grad_()
    assert torch.autograd.gradcheck(sums, inputs)


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_portions_continue_each_other_with_gradients(lengths):
    inputs = arguments(sum(lengths))
    decay, bonus, k, v, *state = inputs
    whole = call(wkv, *inputs)
    state, parts = WKVState(*state), []
    for k_part, v_part in zip(k.split(lengths, 1), v.split(lengths, 1), strict=True):
        y, state = wkv(decay, bonus, k_part, v_part, state)
        parts.append(y)
    portions = torch.cat(parts, 1), state
    torch.testing.assert_close(portions, whole)
    for one, other in zip(
        torch.autograd.grad(weighed(*portions), inputs), torch.autograd.grad(weighed(*whole), inputs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_the_incoming_state_and_the_inputs_are_not_changed():
    inputs = arguments(9)
    copies = [x.detach().clone() for x in inputs]
    y, state = call(wkv, *inputs)
    weighed(y, state).backward()
    for one, other in zip(inputs, copies, strict=True):
        assert torch.equal(one.detach(), other)


@pytest.mark.parametrize("decay", [-8.0, 0.0, 6.0])
def test_single_precision_is_finite_and_exact_over_long_sequences_of_large_keys(decay):
    inputs = arguments(2048, batch=1, width=4, dtype=torch.float, scale=5.0)[:4]
    with torch.no_grad():
        inputs[0].fill_(decay)
    y, state = call(wkv, *inputs)
    exact, _ = call(reference_wkv, *(x.detach().double() for x in inputs))
    assert (y - exact).abs().max() < 1e-4
    gradients = torch.autograd.grad(y.square().sum(), inputs)
    assert all(x.isfinite().all() for x in (*state, *gradients))


@pytest.mark.parametrize("key", [-300.0, 300.0])
def test_keys_beyond_the_range_of_exp_do_not_overflow(key):
    k, v = torch.full((1, 40, 2), key), torch.arange(80.0).reshape(1, 40, 2)
    y, _ = wkv(torch.zeros(2), torch.zeros(2), k, v)
    torch.testing.assert_close(y, wkv(torch.zeros(2), torch.zeros(2), 0 * k, v)[0])


def test_half_precision_is_computed_in_single():
    inputs = [x.detach().bfloat16() for x in arguments(12)[:4]]
    y, state = call(wkv, *inputs)
    assert y.dtype == torch.bfloat16 and state.p.dtype == torch.float
    assert torch.equal(y, call(wkv, *(x.float() for x in inputs))[0].bfloat16())


def test_transforms_take_the_reference():
    decay, bonus, k, v = (x.detach() for x in arguments(7)[:4])

    def loss(decay, k):
        return wkv(decay, bonus, k, v)[0].square().sum()

    decays, keys = torch.stack([decay, decay + 1]), torch.stack([k, -k])
    together = vmap(grad(loss, argnums=(0, 1)))(decays, keys)
    for member, pair in enumerate(zip(decays, keys, strict=True)):
        leaves = [x.clone().requires_grad_() for x in pair]
        alone = torch.autograd.grad(loss(*leaves), leaves)
        torch.testing.assert_close(tuple(x[member] for x in together), alone)


def test_the_kernel_of_flash_linear_attention_gets_and_gives_packed_states(monkeypatch):
    shapes = []

    def fused_recurrent_rwkv4(w, u, k, v, state):
        assert all(x.is_contiguous() for x in (w, u, k, v, state))
        shapes.append(tuple(state.shape))
        y, new = reference_wkv(w, u, k, v, WKVState(*state[:, :, 0].unbind(1)))
        return y, torch.stack(new, 1)[:, :, None]

    inputs = [x.detach() for x in arguments(7)]
    monkeypatch.setattr(ops, "_fla_kernel", lambda device, dtype: fused_recurrent_rwkv4)
    through = call(wkv, *inputs)
    assert shapes == [(2, 3, 1, 5)]
    torch.testing.assert_close(through, call(reference_wkv, *inputs))


def test_the_kernel_of_flash_linear_attention_is_for_single_precision_on_cuda(monkeypatch):
    module = SimpleNamespace(fused_recurrent_rwkv4=lambda *_: None)
    find = ops._fla_kernel.__wrapped__
    for name in ("fla", "fla.ops", "fla.ops.rwkv4"):
        monkeypatch.setitem(sys.modules, name, module)
    assert find("cuda", torch.float32) is module.fused_recurrent_rwkv4
    assert find("cuda", torch.float64) is None and find("cpu", torch.float32) is None
    monkeypatch.setitem(sys.modules, "fla.ops.rwkv4", None)
    assert find("cuda", torch.float32) is None


@pytest.mark.parametrize(("length", "chunk"), [(0, None), (3, 0)])
def test_nothing_to_scan_is_refused(length, chunk):
    with pytest.raises(ValueError, match="at least 1"):
        wkv(torch.zeros(2), torch.zeros(2), torch.zeros(1, length, 2), torch.zeros(1, length, 2), chunk=chunk)
