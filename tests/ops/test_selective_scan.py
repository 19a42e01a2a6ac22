import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import softplus

from elegans.ops import selective_scan as module
from elegans.ops.selective_scan import official_kernel, reference_selective_scan, run_official, selective_scan

NAMES = ("u", "dt", "A", "B", "C", "D", "h0")


def scan_inputs(batch=2, num=9, channels=5, state=3, *, speed=1.0, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    values = {
        "u": draw(batch, num, channels),
        "dt": speed * softplus(draw(batch, num, channels)),
        "A": -draw(channels, state).exp(),
        "B": draw(batch, num, state),
        "C": draw(batch, num, state),
        "D": draw(channels),
        "h0": draw(batch, channels, state),
    }
    return {name: value.requires_grad_() for name, value in values.items()}


def results_and_gradients(scan, inputs, weights=None, **options):
    """Outputs, final state, and the gradients of their weighted sum with respect to each input."""
    results = scan(**inputs, **options)
    weights = weights or [torch.randn(r.shape, generator=torch.Generator().manual_seed(1)).to(r) for r in results]
    given = {f"grad {name}": x for name, x in inputs.items() if x is not None}
    gradients = torch.autograd.grad(results, list(given.values()), weights)
    return dict(zip(("y", "h", *given), (*results, *gradients), strict=True))


def assert_same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def test_reference_is_the_recurrence():
    x = {name: value.detach() for name, value in scan_inputs(num=4).items()}
    h = x["h0"].clone()
    y, final = reference_selective_scan(**x)
    for b in range(2):
        for t in range(4):
            for e in range(5):
                for n in range(3):
                    rate, step = x["A"][e, n], x["dt"][b, t, e]
                    h[b, e, n] = (step * rate).exp() * h[b, e, n] + step * x["u"][b, t, e] * x["B"][b, t, n]
                read = (h[b, e] * x["C"][b, t]).sum() + x["D"][e] * x["u"][b, t, e]
                torch.testing.assert_close(y[b, t, e], read)
    torch.testing.assert_close(final, h)


@pytest.mark.parametrize("num", [1, 2, 7, 8, 33])
@pytest.mark.parametrize("chunk", [1, 7, 32, None])
def test_outputs_final_state_and_every_gradient(num, chunk):
    inputs = scan_inputs(num=num)
    found = results_and_gradients(selective_scan, inputs, chunk=chunk)
    assert_same(found, results_and_gradients(reference_selective_scan, inputs), rtol=1e-11, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    num=st.integers(2, 20),
    channels=st.integers(1, 6),
    state=st.integers(1, 5),
    chunk=st.integers(1, 24),
    without=st.sets(st.sampled_from(["D", "h0"])),
    seed=st.integers(0, 99),
)
def test_any_sizes(batch, num, channels, state, chunk, without, seed):
    inputs = scan_inputs(batch, num, channels, state, seed=seed)
    inputs |= dict.fromkeys(without)
    found = results_and_gradients(selective_scan, inputs, chunk=chunk)
    assert_same(found, results_and_gradients(reference_selective_scan, inputs), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("part", [0, 1])
def test_gradient_through_the_outputs_alone_and_through_the_final_state_alone(part):
    inputs = scan_inputs(num=10)
    weights = [torch.zeros(2, 10, 5).double(), torch.zeros(2, 5, 3).double()]
    weights[part].fill_(1.0)
    found = results_and_gradients(selective_scan, inputs, weights, chunk=4)
    assert_same(found, results_and_gradients(reference_selective_scan, inputs, weights), rtol=1e-11, atol=1e-12)
    if part:
        for name in ("C", "D"):
            assert not found[f"grad {name}"].any()


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_decays_that_underflow(dtype, tolerance):
    inputs = scan_inputs(num=20, speed=300.0, dtype=dtype)
    exponents = inputs["dt"][..., None] * inputs["A"]
    assert exponents.min() < -1000 and exponents.median() < -100
    found = results_and_gradients(selective_scan, inputs, chunk=6)
    assert all(value.isfinite().all() for value in found.values())
    assert_same(found, results_and_gradients(reference_selective_scan, inputs), rtol=tolerance, atol=1e-4 * tolerance)


def test_single_precision():
    exact = scan_inputs(num=100, speed=0.1)
    rounded = {name: value.detach().float().requires_grad_() for name, value in exact.items()}
    found = results_and_gradients(selective_scan, rounded)
    expected = results_and_gradients(reference_selective_scan, exact)
    for name, value in expected.items():
        assert (found[name] - value).norm() < 2e-6 * value.norm(), name


@pytest.mark.parametrize("split", [0, 1, 6, 12, 13])
def test_a_split_scan_is_the_whole_scan_with_all_gradients(split):
    inputs = scan_inputs(num=13)

    def in_two(*, A, D, h0, **sequences):
        first, second = (
            {name: x[:, part] for name, x in sequences.items()} for part in (slice(split), slice(split, 13))
        )
        y1, h = selective_scan(**first, A=A, D=D, h0=h0, chunk=4)
        y2, h = selective_scan(**second, A=A, D=D, h0=h, chunk=4)
        return torch.cat([y1, y2], dim=1), h

    expected = results_and_gradients(reference_selective_scan, inputs)
    assert_same(results_and_gradients(in_two, inputs), expected, rtol=1e-11, atol=1e-12)


def test_finite_differences():
    inputs = tuple(scan_inputs(1, 5, 2, 2).values())
    assert torch.autograd.gradcheck(lambda *x: selective_scan(*x, chunk=2), inputs)


def test_a_second_derivative_is_refused():
    inputs = scan_inputs()
    (gradient,) = torch.autograd.grad(selective_scan(**inputs)[0].square().sum(), inputs["A"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_without_gradients_nothing_is_recorded_and_the_initial_state_stays():
    inputs = scan_inputs()
    before = inputs["h0"].detach().clone()
    expected = selective_scan(**inputs)
    with torch.no_grad():
        found = selective_scan(**inputs)
    assert not any(x.requires_grad for x in found)
    torch.testing.assert_close(found, tuple(x.detach() for x in expected), rtol=0, atol=0)
    assert torch.equal(inputs["h0"], before)


def test_half_precision_inputs_are_computed_in_the_data_type_of_the_rates():
    exact = {name: x.detach().float() for name, x in scan_inputs(num=50).items()}
    halves = {name: x.bfloat16() if name in ("u", "dt", "B", "C") else x for name, x in exact.items()}
    y, h = selective_scan(**halves)
    expected, expected_h = selective_scan(**{name: x.float() for name, x in halves.items()})
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected.bfloat16())
    torch.testing.assert_close(h, expected_h)


def test_vmap_and_functional_gradients():
    stack = [{name: x.detach() for name, x in scan_inputs(seed=seed).items()} for seed in range(3)]

    def loss(x):
        y, h = selective_scan(**x)
        return (y**2).sum() + h.sum()

    stacked = {name: torch.stack([x[name] for x in stack]) for name in NAMES}
    gradients = torch.vmap(torch.func.grad(loss))(stacked)
    for i, x in enumerate(stack):
        alone = {name: value.clone().requires_grad_() for name, value in x.items()}
        loss(alone).backward()
        for name in NAMES:
            torch.testing.assert_close(gradients[name][i], alone[name].grad, rtol=1e-10, atol=1e-11)


def test_a_chunk_below_one_is_refused():
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        selective_scan(**scan_inputs(), chunk=0)


# What `mamba_ssm.ops.selective_scan_interface.selective_scan_fn` promises: positions last, no gradient of the last state.


def kernel_with_positions_last(u, delta, A, B, C, D=None, *, return_last_state=False):
    assert return_last_state
    y, h = reference_selective_scan(u.mT, delta.mT, A, B.mT, C.mT, D)
    return y.mT, h.detach()


def test_official_kernel_gets_its_layout_and_the_final_state_its_gradient():
    inputs = scan_inputs(num=12) | {"h0": None}

    def official(h0, **x):
        return run_official(kernel_with_positions_last, **x)

    expected = results_and_gradients(reference_selective_scan, inputs)
    assert_same(results_and_gradients(official, inputs), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("state", ["whole", "uncompiled", "missing"])
def test_official_kernel_is_found_where_installed(monkeypatch, state):
    name = "mamba_ssm.ops.selective_scan_interface"
    fake = ModuleType(name)
    fake.selective_scan_fn = kernel_with_positions_last
    fake.selective_scan_cuda = ModuleType("selective_scan_cuda") if state == "whole" else None
    for part in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    monkeypatch.setitem(sys.modules, name, None if state == "missing" else fake)
    module.official_kernel.cache_clear()
    try:
        assert official_kernel() is (kernel_with_positions_last if state == "whole" else None)
    finally:
        module.official_kernel.cache_clear()
