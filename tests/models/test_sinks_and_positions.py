import math

import pytest
import torch

from elegans import build
from elegans.models.attention import SelfAttention
from elegans.models.positions import ALiBi, HardALiBi, alibi_slopes, sinusoidal_table
from elegans.models.sinks import StableMask, make_sink
from elegans.ops.attention import attention_weights


def test_slopes_are_powers_of_two():
    assert alibi_slopes(4).tolist() == [2**-2, 2**-4, 2**-6, 2**-8]


def test_alibi_falls_with_distance():
    bias = ALiBi(2)(2, 4)
    assert bias[0].tril(2).tolist() == [[-2 / 16, -1 / 16, 0, 0], [-3 / 16, -2 / 16, -1 / 16, 0]]


def test_hard_alibi_has_windows_in_half_of_the_heads():
    seen = (HardALiBi(4)(5, 5) == 0).tril()
    for head in (0, 1):
        assert all(seen[head, i, j] == (0 <= i - j <= head) for i in range(5) for j in range(5))
    assert torch.equal(seen[2:], torch.ones(2, 5, 5, dtype=torch.bool).tril())
    with pytest.raises(ValueError, match="at least 2 heads"):
        HardALiBi(1)


def test_sinusoids_alternate():
    table = sinusoidal_table(3, 4)
    expected = [math.sin(2), math.cos(2), math.sin(2 / 100), math.cos(2 / 100)]
    assert table[2].tolist() == pytest.approx(expected, rel=1e-6)


def test_stablemask_in_its_finite_form_ends_with_plain_attention():
    finite, endless = StableMask(2, finite=True), StableMask(2)
    assert finite(0, 5)[:, -1].tolist() == [-math.inf] * 2
    assert (finite(0, 5) < endless(0, 5)).all()
    torch.testing.assert_close(endless(3, 2), endless(0, 5)[:, 3:])
    with pytest.raises(ValueError, match="no recurrent form"):
        finite(1, 1)


def test_what_is_kept_grows_with_position_for_constant_scores():
    q = torch.zeros(1, 40, 4, 8, dtype=torch.double)
    for kind in ("stablemask", "stablemask-finite", "learned", "softmax1"):
        kept = attention_weights(q, q, make_sink(kind, 4)(0, 40).double()).sum(-1)[0]
        assert (kept.diff(dim=-1) > 0).all(), kind
    assert torch.allclose(attention_weights(q, q).sum(-1), torch.ones(1, dtype=torch.double))


@pytest.mark.parametrize(
    ("gamma", "message"),
    [(0.0, "above 0"), (-1.0, "at least 0"), ([1.0, 2.0, 3.0], "each of 4 heads")],
)
def test_rates_that_do_not_work(gamma, message):
    with pytest.raises(ValueError, match=message):
        StableMask(4, gamma)


def test_a_rate_per_head():
    assert StableMask(2, [0.5, 0.25]).gamma.tolist() == [0.5, 0.25]
    assert StableMask(2, 0.125).gamma.tolist() == [0.125] * 2


@pytest.mark.parametrize("setting", ["sink", "positions", "mixers", "mlp", "norm"])
def test_unknown_choices_are_refused(setting):
    with pytest.raises((ValueError, TypeError), match=f"{setting} must be|parameter '{setting}'"):
        build("gpt", vocab=5, width=8, **{setting: "kitchen"})


def test_no_more_blocks_have_weights_of_their_own_than_there_are():
    with pytest.raises(ValueError, match="at most the depth, 3, got 4"):
        build("gpt", vocab=5, width=8, depth=3, distinct=4)


def test_the_finite_form_depends_on_what_follows():
    tokens = torch.randint(0, 7, (2, 20), generator=torch.Generator().manual_seed(0))
    finite = build("gpt", vocab=7, width=16, sink="stablemask-finite")
    assert not torch.allclose(finite(tokens)[:, :10], finite(tokens[:, :10]), atol=1e-3)


def test_shared_heads_of_keys_are_repeated_ones():
    shared, full = SelfAttention(8, 4, key_heads=2), SelfAttention(8, 4)
    shared.reset_parameters(torch.Generator().manual_seed(0), 0.02)
    full.reset_parameters(torch.Generator().manual_seed(1), 0.02)
    with torch.no_grad():
        full.project_out.load_state_dict(shared.project_out.state_dict())
        for name in ("weight", "bias"):
            q, k, v = getattr(shared.project_in, name).split([8, 4, 4])
            k, v = (part.unflatten(0, (2, 2)).repeat_interleave(2, dim=0).flatten(0, 1) for part in (k, v))
            getattr(full.project_in, name).copy_(torch.cat([q, k, v]))
    x = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(shared(x), full(x))
    assert shared.state_bytes(10) == full.state_bytes(10) / 2
    with pytest.raises(ValueError, match="divisible by key_heads"):
        SelfAttention(8, 4, key_heads=3)


def test_shared_layers_are_one_layer_applied_again():
    model = build("looped", vocab=7, width=16, depth=3)
    assert len(model.blocks) == 3 and not any(name.startswith("blocks.1") for name, _ in model.named_parameters())
    assert not any(name.startswith("blocks.1") for name in model.state_dict())
    assert {f"blocks.{level}.mid" for level in range(3)} <= set(model.sites())
    assert model.blocks[0].mlp.up.weight is model.blocks[2].mlp.up.weight
    two = build("gpt", vocab=7, width=16, depth=4, distinct=2)
    assert two.blocks[1].mlp.up.weight is two.blocks[3].mlp.up.weight is not two.blocks[2].mlp.up.weight


@pytest.mark.parametrize("name", ["gpt", "stablemask", "gpt-alibi", "linear", "relu", "mamba", "rwkv4", "hybrid"])
def test_half_precision_stays_near_single(name):
    model = build(name, vocab=7, width=16)
    tokens = torch.randint(0, 7, (2, 30), generator=torch.Generator().manual_seed(0))
    full = model(tokens)
    half = model.bfloat16()(tokens)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, atol=0.02, rtol=0.05)
