import math

import pytest
import torch
from torch.nn import functional as F

from elegans.models.mamba import MambaMixer

ONE_LAYER = 0.02 / math.sqrt(2)


def mixer(width=20, *, residual_std=ONE_LAYER, seed=0, dtype=torch.float64, **options):
    made = MambaMixer(width, **options)
    made.reset_parameters(torch.Generator().manual_seed(seed), residual_std)
    return made.to(dtype)


def vectors(batch, num, width=20, seed=0, dtype=torch.float64):
    return torch.randn(batch, num, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


VARIANTS = [
    {},
    {"conv": 0},
    {"conv": 1},
    {"state_size": 1, "dt_rank": 3},
    {"inner": 3, "conv": 0, "addressing": "block", "state_size": 1},
]


def plain_mamba(m, x):
    """The layer as its paper writes it, one position and one sequence at a time, with PyTorch's own convolution."""
    rank, size = m.dt_proj.in_features, m.A_log.shape[1]
    outputs = []
    for sequence in x:
        u, z = m.in_proj(sequence).chunk(2, dim=-1)
        if m.conv1d is not None:
            k = m.conv1d.kernel_size[0]
            u = m.conv1d(F.pad(u.mT, (k - 1, 0))[None])[0].mT
        u, h, rows = F.silu(u), torch.zeros_like(m.A_log), []
        for t in range(len(sequence)):
            r, b, c = m.x_proj(u[t] if m.addressing == "inner" else sequence[t]).split([rank, size, size])
            dt = F.softplus(m.dt_proj(r))
            h = torch.exp(dt[:, None] * -m.A_log.exp()) * h + torch.outer(dt * u[t], b)
            rows.append(m.out_proj((h @ c + m.D * u[t]) * F.silu(z[t])))
        outputs.append(torch.stack(rows))
    return torch.stack(outputs)


@pytest.mark.parametrize("options", VARIANTS)
def test_equals_the_equations(options):
    m, x = mixer(**options), vectors(2, 11)
    torch.testing.assert_close(m(x), plain_mamba(m, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("portions", [[11], [1] * 11, [1, 10], [5, 6], [9, 1, 1], [2, 0, 9]])
def test_portions_give_the_whole(options, portions):
    m, x = mixer(**options), vectors(3, 11)
    state, outputs = m.init_state(3), []
    shapes = [part.shape for part in state]
    for part in x.split(portions, dim=1):
        y, state = m.extend(part, state)
        assert [part.shape for part in state] == shapes
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, dim=1), m(x), rtol=1e-9, atol=1e-12)


def test_a_state_is_not_changed_and_can_be_continued_twice():
    m, x = mixer(), vectors(2, 8)
    _, state = m.extend(x[:, :5], m.init_state(2))
    before = [part.clone() for part in state]
    first, second = (m.extend(x[:, 5:], state)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    for part, was in zip(state, before, strict=True):
        torch.testing.assert_close(part, was, rtol=0, atol=0)


def test_the_state_has_one_size():
    m = mixer(dtype=torch.float32)
    assert m.state_bytes(1) == m.state_bytes(10_000) == 4 * 40 * (3 + 16)
    small = mixer(inner=3, conv=0, state_size=2, dtype=torch.float32)
    assert small.state_bytes(7) == 4 * 3 * 2


def test_later_positions_do_not_matter():
    m, x = mixer(), vectors(1, 9)
    changed = torch.cat([x[:, :6], x[:, 6:] + 1], dim=1)
    torch.testing.assert_close(m(x)[:, :6], m(changed)[:, :6], rtol=0, atol=0)


@pytest.mark.parametrize("options", VARIANTS)
def test_every_parameter_gets_a_gradient(options):
    m = mixer(**options)
    (m(vectors(2, 9)) ** 2).sum().backward()
    for name, parameter in m.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_gradients_flow_through_portions():
    m, x = mixer(), vectors(2, 9)
    names = [name for name, _ in m.named_parameters()]
    whole = torch.autograd.grad((m(x) ** 2).sum(), list(m.parameters()))
    first, state = m.extend(x[:, :4], m.init_state(2))
    second, _ = m.extend(x[:, 4:], state)
    parts = torch.autograd.grad((torch.cat([first, second], dim=1) ** 2).sum(), list(m.parameters()))
    for name, a, b in zip(names, whole, parts, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def test_initial_values_are_those_of_the_released_code():
    m = mixer(64, residual_std=ONE_LAYER / 3)  # 9 layers
    assert {name: tuple(p.shape) for name, p in m.named_parameters()} == {
        "in_proj.weight": (256, 64),
        "conv1d.weight": (128, 1, 4),
        "conv1d.bias": (128,),
        "x_proj.weight": (4 + 2 * 16, 128),
        "dt_proj.weight": (128, 4),
        "dt_proj.bias": (128,),
        "A_log": (128, 16),
        "D": (128,),
        "out_proj.weight": (64, 128),
    }
    torch.testing.assert_close(m.A_log.exp(), torch.arange(1, 17).double().expand(128, 16))
    assert (m.D == 1).all()
    steps = F.softplus(m.dt_proj.bias).log10()
    assert -3 <= steps.min() < -2.9 and -1.1 < steps.max() <= -1 and abs(steps.mean() + 2) < 0.2
    bounds = {
        "in_proj.weight": 64**-0.5,
        "conv1d.weight": 0.5,
        "conv1d.bias": 0.5,
        "x_proj.weight": 128**-0.5,
        "dt_proj.weight": 0.5,
        "out_proj.weight": 128**-0.5 / 3,
    }
    for name, bound in bounds.items():
        largest = m.get_parameter(name).abs().max()
        assert 0.97 * bound < largest <= bound * (1 + 1e-6), name


def test_the_smallest_step_is_1e_4():
    m = mixer(dt_min=1e-9, dt_max=1e-8)
    torch.testing.assert_close(F.softplus(m.dt_proj.bias), torch.full((40,), 1e-4).double(), rtol=1e-3, atol=0)


def test_a_second_reset_draws_all_values_again():
    m, seeded = mixer(seed=3, dtype=torch.float32), mixer(seed=4, dtype=torch.float32)
    with torch.no_grad():
        for parameter in m.parameters():
            parameter.fill_(7.0)
    m.reset_parameters(torch.Generator().manual_seed(4), ONE_LAYER)
    for found, expected in zip(m.parameters(), seeded.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_only_projections_decay():
    m = mixer()
    assert {name for name, p in m.named_parameters() if p.ndim >= 2} - m.undecayed == {
        "in_proj.weight",
        "conv1d.weight",
        "x_proj.weight",
        "dt_proj.weight",
        "out_proj.weight",
    }


def test_addresses_are_read_from_the_block():
    m = mixer(inner=2, addressing="block")
    assert m.x_proj.in_features == 20 and m.in_proj.out_features == 4


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 0}, "width"),
        ({"state_size": 0}, "state_size"),
        ({"inner": 0}, "inner"),
        ({"conv": -1}, "conv"),
        ({"dt_min": 0.2}, "dt_min"),
    ],
)
def test_sizes_that_make_no_layer_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MambaMixer(**{"width": 8} | options)
