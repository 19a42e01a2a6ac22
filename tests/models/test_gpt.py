import math

import pytest
import torch
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from elegans.models.attention import Rotary, SelfAttention
from elegans.models.gpt import GPT

TOKENS = torch.randint(0, 9, (2, 5), generator=torch.Generator().manual_seed(0))


def naive_logits(model, tokens, heads, positions):
    """The transformer of the paper, one head and one query at a time."""
    w = model.state_dict()

    def layer_norm(x, name):
        centered = x - x.mean(-1, keepdim=True)
        variance = (centered**2).mean(-1, keepdim=True)
        return centered / (variance + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def turn(vector, t):
        half = len(vector) // 2
        out = vector.clone()
        for i in range(half):
            angle = t * 10000 ** (-2 * i / len(vector))
            c, s = math.cos(angle), math.sin(angle)
            out[i], out[half + i] = vector[i] * c - vector[half + i] * s, vector[i] * s + vector[half + i] * c
        return out

    x = w["token_table.weight"][tokens]
    if positions == "learned":
        x = x + w["position_table.weight"][: len(tokens)]
    for level in range(len(model.blocks)):
        at = f"blocks.{level}"
        qkv = (
            layer_norm(x, f"{at}.norm_mixer") @ w[f"{at}.mixer.project_in.weight"].T + w[f"{at}.mixer.project_in.bias"]
        )
        q, k, v = qkv.split(x.shape[-1], dim=-1)
        size = x.shape[-1] // heads
        mixed = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(len(tokens)):
                query, keys = q[t, part], [k[s, part] for s in range(t + 1)]
                if positions == "rotary":
                    query, keys = turn(query, t), [turn(key, s) for s, key in enumerate(keys)]
                scores = torch.stack([query @ key / math.sqrt(size) for key in keys])
                mixed[t, part] = scores.softmax(0) @ v[: t + 1, part]
        x = x + mixed @ w[f"{at}.mixer.project_out.weight"].T + w[f"{at}.mixer.project_out.bias"]
        up = layer_norm(x, f"{at}.norm_mlp") @ w[f"{at}.mlp.up.weight"].T + w[f"{at}.mlp.up.bias"]
        gelu = 0.5 * up * (1 + torch.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
        x = x + gelu @ w[f"{at}.mlp.down.weight"].T + w[f"{at}.mlp.down.bias"]
    unembedding = w.get("unembedding.weight", w["token_table.weight"])
    return layer_norm(x, "norm") @ unembedding.T


@pytest.mark.parametrize("positions", ["learned", "rotary", "none"])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_the_naive_formula(positions, tied):
    model = GPT(vocab=9, width=12, depth=2, heads=3, positions=positions, tied=tied).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    for row, expected in zip(TOKENS, model(TOKENS), strict=True):
        torch.testing.assert_close(naive_logits(model, row, 3, positions), expected)


def test_sites_are_those_of_the_table():
    in_block = ["in", "mixer.scores", "mixer.weights", "mixer.heads", "mixer", "mid", "mlp", "out"]
    expected = {"embed", "final"} | {f"blocks.{level}.{name}" for level in (0, 1) for name in in_block}
    assert set(GPT(vocab=9, width=8).sites()) == expected


def test_sites_hold_what_the_table_says():
    model = GPT(vocab=9, width=8, heads=2).double()
    seen = {}
    for name, site in model.sites().items():
        site.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
    logits = model(TOKENS)
    assert seen["blocks.0.mixer.heads"].shape == (2, 5, 2, 4)
    for level in (0, 1):
        at = {key: seen[f"blocks.{level}.{key}"] for key in ("in", "mixer", "mid", "mlp", "out")}
        torch.testing.assert_close(at["in"] + at["mixer"], at["mid"])
        torch.testing.assert_close(at["mid"] + at["mlp"], at["out"])
        heads = seen[f"blocks.{level}.mixer.heads"].flatten(-2)
        torch.testing.assert_close(model.blocks[level].mixer.project_out(heads), at["mixer"])
    torch.testing.assert_close(seen["embed"], seen["blocks.0.in"])
    torch.testing.assert_close(model.norm(seen["blocks.1.out"]), seen["final"])
    torch.testing.assert_close(seen["final"] @ model.output_embeddings().mT, logits)


def test_sites_see_single_steps_too():
    model = GPT(vocab=9, width=8)
    seen = []
    model.sites()["blocks.1.mixer.heads"].register_forward_hook(lambda m, i, output: seen.append(output.shape))
    model.step(torch.tensor([1, 2]), model.init_state(2))
    assert seen == [(2, 1, 4, 2)]


def test_initial_scales():
    model = GPT(vocab=500, width=64, depth=8, tied=False)
    block = model.blocks[3]
    for weight in (model.token_table, model.unembedding, block.mixer.project_in, block.mlp.up):
        assert weight.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for weight in (block.mixer.project_out, block.mlp.down):
        assert weight.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    for bias in (block.mixer.project_in.bias, block.mixer.project_out.bias, block.mlp.up.bias, block.mlp.down.bias):
        assert not bias.any()


def test_a_deeper_model_starts_with_the_same_tables():
    shallow, deep = (GPT(vocab=9, width=8, depth=depth, seed=1) for depth in (1, 3))
    assert torch.equal(shallow.token_table.weight, deep.token_table.weight)
    assert torch.equal(shallow.blocks[0].mixer.project_in.weight, deep.blocks[0].mixer.project_in.weight)
    assert not torch.equal(deep.blocks[0].mlp.up.weight, deep.blocks[1].mlp.up.weight)


@pytest.mark.parametrize("tied", [True, False])
def test_freezing_is_of_the_input_tables(tied):
    model = GPT(vocab=9, width=8, tied=tied, freeze_embeddings=True)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"token_table.weight", "position_table.weight"}
    assert ("unembedding.weight" in dict(model.named_parameters())) is not tied
    model(TOKENS).sum().backward()


def test_rotary_products_depend_on_distance():
    rotary = Rotary(6, 40).double()
    q, k = torch.randn(2, 1, 1, 1, 6, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    products = [(rotary(q, start + 3) * rotary(k, start)).sum() for start in range(5)]
    torch.testing.assert_close(torch.stack(products), products[0].expand(5))
    torch.testing.assert_close(rotary(q, 0), q)


def test_without_positions_order_of_the_past_does_not_matter():
    model = GPT(vocab=9, width=8, depth=1, positions="none").double()
    swapped = TOKENS[:, [1, 0, 2, 3, 4]]
    torch.testing.assert_close(model(TOKENS)[:, -1], model(swapped)[:, -1])
    learned = GPT(vocab=9, width=8, depth=1).double()
    assert not torch.allclose(learned(TOKENS)[:, -1], learned(swapped)[:, -1], atol=1e-12)


def test_dropout_acts_in_training_only():
    model = GPT(vocab=9, width=8, dropout=0.5)
    assert not torch.equal(model(TOKENS), model(TOKENS))
    model.eval()
    assert torch.equal(model(TOKENS), model(TOKENS))


def test_attention_under_grad_of_vmap():
    attention = SelfAttention(8, 2)
    attention.reset_parameters(torch.Generator().manual_seed(0), 0.02)
    x = torch.randn(3, 2, 5, 8, generator=torch.Generator().manual_seed(1))

    def total(x):
        return attention(x).pow(2).sum()

    stacked = vmap(grad(total))(x)
    for i in range(3):
        torch.testing.assert_close(
            stacked[i], torch.autograd.grad(total(leaf := x[i].clone().requires_grad_()), leaf)[0]
        )


def test_it_learns():
    model = GPT(vocab=9, width=16, context=4)
    tokens = torch.arange(9)[:, None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(100):
        loss = cross_entropy(model(tokens)[:, 0], (tokens[:, 0] * 2) % 9)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.4 < math.log(9)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"width": 10, "heads": 4}, "width 10 and heads 4"),
        ({"vocab": 0}, "vocab must be at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"context": 0}, "context must be at least 1, got 0"),
        ({"positions": "rotary", "width": 12, "heads": 4}, "even head width, got 3"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_are_checked(config, message):
    with pytest.raises(ValueError, match=message):
        GPT(**{"vocab": 9, **config})


def test_positions_are_known_ones():
    with pytest.raises((ValueError, TypeError), match="'roman'"):
        GPT(vocab=9, positions="roman")


@pytest.mark.parametrize("positions", ["learned", "rotary", "none"])
def test_too_long_sequences_are_refused(positions):
    model = GPT(vocab=9, width=8, context=3, positions=positions)
    with pytest.raises(ValueError, match="has 5 tokens, but the context of this model is 3"):
        model(TOKENS)
    state = model.init_state(2)
    for column in TOKENS[:, :3].unbind(1):
        _, state = model.step(column, state)
    with pytest.raises(ValueError, match="has 4 tokens, but the context of this model is 3"):
        model.step(TOKENS[:, 3], state)
