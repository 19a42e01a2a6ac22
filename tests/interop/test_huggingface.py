"""Conformance with the transformers library itself."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from elegans.interop import from_huggingface, load_rwkv4, save_rwkv4, to_huggingface
from elegans.models.gpt import GPT
from elegans.models.mamba import Mamba
from elegans.models.rwkv import RWKV4

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

VOCAB, LENGTH = 19, 24
GPT2 = {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32, "vocab_size": VOCAB}
LLAMA = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "vocab_size": VOCAB,
}
MAMBA = {"hidden_size": 20, "num_hidden_layers": 2, "state_size": 5, "vocab_size": VOCAB}
RWKV = {"hidden_size": 16, "num_hidden_layers": 3, "vocab_size": VOCAB}


def rope(base):
    return {"rope_type": "default", "rope_theta": base}


CASES = {
    "gpt2": ("GPT2", GPT2),
    "gpt2-untied": ("GPT2", GPT2 | {"tie_word_embeddings": False, "n_inner": 30, "layer_norm_epsilon": 0.1}),
    "gpt2-gelu-by-its-other-name": ("GPT2", GPT2 | {"activation_function": "gelu_pytorch_tanh", "n_head": 1}),
    "llama": ("Llama", LLAMA),
    "llama-tied": ("Llama", LLAMA | {"tie_word_embeddings": True, "num_key_value_heads": 4, "rms_norm_eps": 0.1}),
    "llama-one-key": ("Llama", LLAMA | {"num_key_value_heads": 1, "rope_parameters": rope(500.0)}),
    "llama-biases": ("Llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama-biases-in-attention": ("Llama", LLAMA | {"attention_bias": True, "num_hidden_layers": 1}),
    "mistral": ("Mistral", LLAMA | {"sliding_window": None, "rope_parameters": rope(1e6)}),
    "mistral-wide-window": ("Mistral", LLAMA | {"sliding_window": 32}),
    "qwen2": ("Qwen2", LLAMA | {"tie_word_embeddings": True}),
    "mamba": ("Mamba", MAMBA),
    "mamba-untied": ("Mamba", MAMBA | {"tie_word_embeddings": False, "time_step_rank": 3, "layer_norm_epsilon": 0.1}),
    "mamba-sizes": ("Mamba", MAMBA | {"conv_kernel": 2, "expand": 3, "num_hidden_layers": 1}),
    "rwkv": ("Rwkv", RWKV),
    "rwkv-rescaled": ("Rwkv", RWKV | {"num_hidden_layers": 7, "rescale_every": 3}),
    "rwkv-sizes": ("Rwkv", RWKV | {"intermediate_size": 10, "num_hidden_layers": 2}),
}


def randomized(model, seed=0):
    """All parameters anew, those that start as ones or zeros too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator) * 0.3
    return model


def theirs(case):
    name, options = CASES[case]
    config = getattr(transformers, f"{name}Config")(**options)
    classes = {"GPT2": "GPT2LMHeadModel"}
    return randomized(getattr(transformers, classes.get(name, f"{name}ForCausalLM"))(config)).train(name == "Rwkv")


def tokens(seed=0):
    return torch.randint(VOCAB, (3, LENGTH), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def assert_same_logits(ours, model):
    expected = model(tokens()).logits
    torch.testing.assert_close(ours(tokens()), expected, rtol=2e-5, atol=2e-5)


def reread(directory, **options):
    return transformers.AutoModelForCausalLM.from_pretrained(directory, **options)


def assert_same_weights(first, second):
    torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_logits_agree_both_ways(case, tmp_path):
    model = theirs(case)
    ours = from_huggingface(model)
    assert_same_logits(ours, model.eval() if case != "rwkv" else model)
    to_huggingface(ours, tmp_path)
    assert_same_logits(ours, reread(tmp_path))
    assert_same_weights(from_huggingface(tmp_path), ours)


@pytest.mark.parametrize("case", ["gpt2", "llama", "mamba", "rwkv"])
def test_a_saved_directory_is_the_model_in_memory(case, tmp_path):
    model = theirs(case)
    model.save_pretrained(tmp_path)
    assert_same_weights(from_huggingface(tmp_path), from_huggingface(model))


def test_a_model_in_memory_is_left_alone_and_shares_nothing():
    model = theirs("gpt2")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ours = from_huggingface(model)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


@torch.no_grad()
def test_an_attention_of_another_width_is_read():
    config = transformers.RwkvConfig(**RWKV, attention_hidden_size=24)
    model = randomized(transformers.RwkvForCausalLM(config))
    expected = model(tokens(), use_cache=False).logits
    torch.testing.assert_close(from_huggingface(model)(tokens()), expected, rtol=2e-5, atol=2e-5)


def test_weights_that_evaluation_rescaled_are_restored():
    model = theirs("rwkv-rescaled")
    before = from_huggingface(model)
    model.eval()(tokens())
    assert model.rwkv.layers_are_rescaled
    assert_same_weights(from_huggingface(model), before)


def test_shards_are_put_together(tmp_path):
    model = theirs("llama")
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    assert_same_weights(from_huggingface(tmp_path), from_huggingface(model))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ["gpt2", "llama", "mamba", "rwkv"])
def test_half_precision_is_widened(case, dtype, tmp_path):
    theirs(case).to(dtype).save_pretrained(tmp_path)
    ours = from_huggingface(tmp_path)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    assert_same_logits(ours, reread(tmp_path, dtype=torch.float32))


def test_pickled_weights_and_those_of_the_class_without_unembedding_are_read(tmp_path):
    model = theirs("gpt2")
    model.config.save_pretrained(tmp_path)
    mask = {f"h.{layer}.attn.bias": torch.ones(1, 1, 32, 32).tril() for layer in range(2)}
    torch.save(dict(model.transformer.state_dict()) | mask, tmp_path / "pytorch_model.bin")
    assert_same_weights(from_huggingface(tmp_path), from_huggingface(model))


def test_a_config_of_transformers_4_is_read(tmp_path):
    model = theirs("llama-one-key")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"], config["head_dim"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"rope_theta": 500.0, "rope_scaling": None}))
    assert_same_logits(from_huggingface(tmp_path), model)


def test_a_shorter_context_is_chosen_where_windows_start_to_matter():
    model = randomized(transformers.MistralForCausalLM(transformers.MistralConfig(**LLAMA, sliding_window=LENGTH)))
    with pytest.raises(ValueError, match="sliding_window"):
        from_huggingface(model)
    assert_same_logits(from_huggingface(model, context=LENGTH), model)


@pytest.mark.parametrize(
    "ours",
    [
        lambda: GPT(vocab=VOCAB, width=12, heads=3, context=32, tied=False, dropout=0.1),
        lambda: GPT(vocab=VOCAB, width=24, positions="rotary", mlp="swiglu", norm="rms", bias=False, rotary_base=123.5),
        lambda: GPT(vocab=VOCAB, width=8, positions="rotary", mlp="swiglu", norm="rms", mlp_hidden=5),
        lambda: Mamba(vocab=VOCAB, width=12, inner=36, tied=False),
        lambda: RWKV4(vocab=VOCAB, width=12, depth=8, mlp_width=20),
    ],
)
def test_ours_are_read_there(ours, tmp_path):
    model = randomized(ours(), seed=1).eval()
    to_huggingface(model, tmp_path)
    assert_same_logits(model, reread(tmp_path))
    assert_same_weights(from_huggingface(tmp_path), model)


def test_what_is_read_there_generates_as_here(tmp_path):
    model = randomized(GPT(vocab=VOCAB, width=24, positions="rotary", mlp="swiglu", norm="rms", key_heads=2))
    to_huggingface(model, tmp_path)
    prompt = tokens()[:, :5]
    answer = reread(tmp_path).generate(prompt, max_new_tokens=6, do_sample=False)
    for _ in range(6):
        prompt = torch.cat([prompt, model(prompt)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(answer, prompt)


def test_released_rwkv_files_and_theirs_hold_the_same_weights(tmp_path):
    model = theirs("rwkv")
    save_rwkv4(from_huggingface(model), tmp_path / "model.pth")
    assert_same_logits(load_rwkv4(tmp_path / "model.pth"), model)


def test_a_class_with_another_head_is_refused():
    config = transformers.GPT2Config(**GPT2, num_labels=2)
    with pytest.raises(ValueError, match=r"'score.weight'"):
        from_huggingface(transformers.GPT2ForSequenceClassification(config))


@pytest.mark.parametrize("base", [2.0, 1234.56, 10000.0, 5e5, 1e6])
def test_the_base_of_rotary_angles_survives(base, tmp_path):
    settings = {"positions": "rotary", "mlp": "swiglu", "norm": "rms", "context": 100}
    to_huggingface(GPT(vocab=VOCAB, rotary_base=base, **settings), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["rope_parameters"]["rope_theta"] == base


def test_tied_weights_that_were_stored_twice_are_read_and_checked(tmp_path):
    model = theirs("gpt2")
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    head = weights["transformer.wte.weight"].clone()
    save_file(weights | {"lm_head.weight": head}, tmp_path / "model.safetensors")
    assert_same_weights(from_huggingface(tmp_path), from_huggingface(model))
    save_file(weights | {"lm_head.weight": head + 1}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"'lm_head.weight' differs.*tie_word_embeddings"):
        from_huggingface(tmp_path)
