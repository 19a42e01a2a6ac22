import pytest
import torch

from elegans.interop import from_huggingface
from elegans.interop.sites import ANATOMY, Anatomy, adapt
from elegans.probes.interchange import interchange
from elegans.probes.lens import logit_lens
from elegans.probes.metrics import logit_of
from elegans.probes.record import patch, record
from elegans.probes.streams import resume

transformers = pytest.importorskip("transformers")

VOCAB = 19
GPT2 = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 32, "vocab_size": VOCAB, "pad_token_id": None}
LLAMA = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "vocab_size": VOCAB,
}
NEOX = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
CASES = {
    "gpt2": ("GPT2", GPT2),
    "llama": ("Llama", LLAMA),
    "mistral": ("Mistral", LLAMA | {"sliding_window": None}),
    "qwen2": ("Qwen2", LLAMA),
    "qwen3": ("Qwen3", LLAMA | {"head_dim": 8}),
    "gpt_neox": ("GPTNeoX", NEOX),
    "gpt_neox-serial": ("GPTNeoX", NEOX | {"use_parallel_residual": False}),
}
HERE_TOO = ("gpt2", "llama", "mistral", "qwen2")
TOKENS = torch.randint(0, VOCAB, (3, 7), generator=torch.Generator().manual_seed(0))
cases = pytest.mark.parametrize("case", CASES)


def make(case):
    kind, options = CASES[case]
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    config = getattr(transformers, f"{kind}Config")(**(options | special))
    name = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    model = getattr(transformers, name)(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.double()


def assert_close(found, right, name=""):
    """Their norms and rotations are in single precision."""
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5, msg=lambda message: f"{name}: {message}")


def num_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@torch.no_grad()
@pytest.mark.parametrize("case", HERE_TOO)
def test_sites_hold_what_those_of_the_same_model_here_hold(case):
    theirs, ours = adapt(make(case)), from_huggingface(make(case)).double()
    assert set(theirs.sites()) == set(ours.sites())
    with record(theirs) as found, record(ours) as right:
        assert_close(theirs(TOKENS), ours(TOKENS))
    for name in ours.sites():
        assert_close(found[name], right[name], name)
    for name in ours.sites():
        with patch(theirs, {name: lambda x: x * 1.5 + 0.1}), patch(ours, {name: lambda x: x * 1.5 + 0.1}):
            assert_close(theirs(TOKENS), ours(TOKENS), name)


@cases
@torch.no_grad()
def test_the_stream_is_the_sum_of_what_is_added_to_it(case):
    model = adapt(make(case))
    with record(model) as seen:
        logits = model(TOKENS)
    for level in range(3):
        block = {name: seen[f"blocks.{level}.{name}"] for name in ("in", "mixer", "mlp", "out")}
        assert_close(block["in"] + block["mixer"] + block["mlp"], block["out"])
        weights = seen[f"blocks.{level}.mixer.weights"]
        assert_close(weights.sum(-1), torch.ones(3, 4, 7).double())
        assert (weights.triu(1) == 0).all()
    assert_close(seen["final"] @ model.output_embeddings().mT, logits)
    assert ("blocks.0.mid" in seen) == (case != "gpt_neox")


@cases
@torch.no_grad()
def test_looking_changes_nothing_and_ends(case):
    plain, model = make(case), make(case)
    hooks, implementation = num_hooks(model), model.config._attn_implementation
    adapted = adapt(model)
    with record(adapted) as seen:
        assert_close(adapted(TOKENS), plain(TOKENS).logits)
    assert set(seen) == set(adapted.sites())
    assert model.config._attn_implementation == implementation
    assert adapted.release() is model and num_hooks(model) == hooks
    assert_close(model(TOKENS).logits, plain(TOKENS).logits)


@cases
@torch.no_grad()
def test_a_pass_is_resumed_at_any_block(case):
    model = adapt(make(case))
    layers = list(model._layers())
    with record(model) as seen:
        logits = model(TOKENS)
    stream = [seen[f"blocks.{level}.in"] for level in range(3)] + [seen["blocks.2.out"]]
    for level, x in enumerate(stream):
        with record(model, "blocks.*.in") as again:
            assert_close(resume(model, x, level), logits)
        assert set(again) == {f"blocks.{later}.in" for later in range(level, 3)}
    assert list(model._layers()) == layers


@cases
def test_probes_work_on_it(case):
    model = adapt(make(case))
    other = TOKENS.roll(1, 0)
    effect = interchange(model, TOKENS, other, logit_of(TOKENS[:, 0]), sites="blocks.*", positions="together")
    assert_close(effect.sel(site="blocks.0.in").values[0], effect.source.values)
    found = logit_lens(model, TOKENS, {"first": TOKENS[:, 0]})
    probability = model(TOKENS).softmax(-1).gather(-1, TOKENS[:, :1, None].expand(-1, 7, -1))[..., 0]
    assert_close(torch.tensor(found.probability.values[0, -1]), probability.mT.detach())


def test_padding_is_passed_on():
    plain, model = make("llama"), adapt(make("llama"))
    mask = torch.ones_like(TOKENS)
    mask[0, :2] = 0
    with torch.no_grad(), record(model, "*.weights") as seen:
        logits = model(TOKENS, attention_mask=mask)
        assert_close(logits[:, 2:], plain(TOKENS, attention_mask=mask).logits[:, 2:])
    assert (seen["blocks.0.mixer.weights"][0, :, 2:, :2] == 0).all()
    assert not seen["blocks.0.mixer.weights"].isnan().any()


def test_a_model_is_adapted_once_at_a_time():
    model = make("gpt2")
    adapted = adapt(model)
    with pytest.raises(ValueError, match="adapted already"):
        adapt(model)
    adapted.release()
    adapt(model)


def test_unknown_architectures_are_refused_with_what_is_known():
    config = transformers.OPTConfig(vocab_size=9, hidden_size=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=1)
    with pytest.raises(ValueError, match=r"OPTForCausalLM.*'opt'.*known, only gpt2, gpt_neox, llama, mistral"):
        adapt(transformers.OPTForCausalLM(config))
    with pytest.raises(ValueError, match="Linear"):
        adapt(torch.nn.Linear(2, 2))


def test_an_anatomy_makes_an_architecture_known():
    model = adapt(make("qwen2"), anatomy=Anatomy())
    assert set(model.sites()) == set(adapt(make("qwen2")).sites()) and ANATOMY["qwen2"] == Anatomy()
