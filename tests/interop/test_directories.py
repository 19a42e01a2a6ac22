"""What a directory may hold and what is refused. The transformers library is not needed for any of it."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from elegans.interop import from_huggingface, to_huggingface
from elegans.models.bilinear import BilinearLM
from elegans.models.gpt import GPT
from elegans.models.mamba import Mamba
from elegans.models.rwkv import RWKV4

LLAMA_LIKE = {"positions": "rotary", "mlp": "swiglu", "norm": "rms", "bias": False, "tied": False, "key_heads": 2}
MODELS = {
    "gpt2": lambda: GPT(vocab=7, width=8, context=16),
    "llama": lambda: GPT(vocab=7, width=8, context=16, **LLAMA_LIKE),
    "mamba": lambda: Mamba(vocab=7, width=8),
    "rwkv": lambda: RWKV4(vocab=7, width=8),
}


@pytest.fixture
def directory(tmp_path):
    """`directory(kind, **options)` writes a small model and then changes its config."""

    def make(kind, without=(), **options):
        to_huggingface(MODELS[kind](), tmp_path)
        config = json.loads((tmp_path / "config.json").read_text()) | options
        (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k not in without}))
        return tmp_path

    return make


@pytest.fixture
def weights(directory):
    """`weights(kind, change)` writes a small model and then changes its tensors, a dict, in place."""

    def make(kind, change):
        path = directory(kind)
        tensors = load_file(path / "model.safetensors")
        change(tensors)
        save_file(tensors, path / "model.safetensors")
        return path

    return make


def assert_same_weights(first, second):
    torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_written_is_read(kind, directory):
    model, again = MODELS[kind](), from_huggingface(directory(kind))
    assert type(again) is type(model)
    assert_same_weights(again, model)
    tokens = torch.arange(14).reshape(2, 7) % 7
    torch.testing.assert_close(again(tokens), model(tokens), rtol=0, atol=0)


def test_a_model_that_was_read_is_of_the_plain_class_and_can_start_anew(directory):
    again = from_huggingface(directory("gpt2"))
    again.reset_parameters(seed=3)
    assert_same_weights(again, GPT(vocab=7, width=8, context=16, seed=3))


def test_no_other_library_is_imported():
    code = "import elegans.interop, sys; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("gpt2", {"model_type": "bloom"}, "model_type='bloom'"),
        ("gpt2", {"model_type": ["gpt2"]}, "model_type"),
        ("gpt2", {"activation_function": "relu"}, "activation_function='relu'"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
        ("gpt2", {"n_embd": "8"}, "n_embd"),
        ("gpt2", {"n_layer": True}, "n_layer"),
        ("gpt2", {"n_head": 3}, "n_head"),
        ("gpt2", {"layer_norm_epsilon": 0}, "layer_norm_epsilon"),
        ("gpt2", {"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ("gpt2", {"tie_word_embeddings": False}, "'lm_head.weight'"),
        ("gpt2", {"n_positions": 17}, r"'transformer.wpe.weight' has shape \(16, 8\).* \(17, 8\)"),
        ("gpt2", {"n_inner": 9}, r"'transformer.h.0.mlp.c_fc.weight' has shape \(8, 32\).* \(8, 9\)"),
        ("gpt2", {"n_layer": 3}, r"lack 'transformer.h.2.ln_1.weight' and 11 more"),
        ("gpt2", {"n_layer": 1}, r"no place for 'transformer.h.1.attn.c_attn.bias' and 11 more"),
        ("gpt2", {"auto_map": {"AutoModel": "code.Model"}}, "auto_map"),
        ("gpt2", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ("llama", {"num_attention_heads": 3}, "num_attention_heads"),
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads"),
        ("llama", {"head_dim": 4}, "head_dim=4"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling with type='linear'"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_parameters with rope_type='yarn'"),
        ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("llama", {"rope_parameters": {"full_attention": {}}}, "rope_parameters with full_attention"),
        ("llama", {"rope_parameters": 3}, "rope_parameters must be an object"),
        ("llama", {"partial_rotary_factor": 0.25}, "partial_rotary_factor"),
        ("llama", {"rope_parameters": {"rope_theta": -1}}, "rope_theta"),
        ("llama", {"attention_bias": True}, r"lack 'model.layers.0.self_attn.q_proj.bias' and 7 more"),
        ("llama", {"model_type": "mistral", "sliding_window": 8}, "sliding_window=8"),
        ("llama", {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8}, "sliding_window=8"),
        ("llama", {"model_type": "qwen2"}, "q_proj.bias"),
        ("mamba", {"use_bias": True}, "use_bias"),
        ("mamba", {"use_conv_bias": False}, "use_conv_bias"),
        ("mamba", {"hidden_act": "relu"}, "hidden_act"),
        ("mamba", {"time_step_rank": "half"}, "time_step_rank"),
        ("mamba", {"state_size": 4}, "'backbone.layers.0.mixer.x_proj.weight' has shape"),
        ("rwkv", {"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"),
        ("rwkv", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("rwkv", {"attention_hidden_size": 9}, "attention"),
    ],
)
def test_options_that_do_not_fit_are_named(kind, options, named, directory):
    with pytest.raises(ValueError, match=named) as caught:
        from_huggingface(directory(kind, **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "missing"),
    [("gpt2", "n_embd"), ("gpt2", "model_type"), ("llama", "intermediate_size"), ("mamba", "vocab_size")],
)
def test_a_missing_option_is_named(kind, missing, directory):
    with pytest.raises(ValueError, match=missing):
        from_huggingface(directory(kind, without=[missing]))


def drop(name):
    return lambda tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("kind", "change", "named"),
    [
        ("gpt2", drop("transformer.ln_f.bias"), "'transformer.ln_f.bias'"),
        ("gpt2", lambda t: t.update(extra=torch.zeros(1)), "no place for 'extra'"),
        ("gpt2", lambda t: t.update({"transformer.wte.weight": torch.zeros(8, 7)}), "'transformer.wte.weight'"),
        ("llama", drop("model.layers.1.self_attn.k_proj.weight"), "'model.layers.1.self_attn.k_proj.weight'"),
        (
            "llama",
            lambda t: t.update({"model.norm.weight": torch.zeros(8, dtype=torch.int8)}),
            "'model.norm.weight'.*int8",
        ),
        ("mamba", drop("backbone.layers.0.mixer.D"), "'backbone.layers.0.mixer.D'"),
        ("rwkv", drop("head.weight"), "'head.weight'"),
    ],
)
def test_tensors_that_do_not_fit_are_named(kind, change, named, weights):
    with pytest.raises(ValueError, match=named) as caught:
        from_huggingface(weights(kind, change))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(directory, tmp_path):
    with pytest.raises(ValueError, match="nothing is downloaded"):
        from_huggingface("openai-community/gpt2")
    path = directory("gpt2")
    whole = (path / "model.safetensors").read_bytes()
    for part in (whole[: len(whole) // 2], whole[:4], b""):
        (path / "model.safetensors").write_bytes(part)
        with pytest.raises(ValueError, match=r"model\.safetensors is not a readable"):
            from_huggingface(path)
    (path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="has no weights"):
        from_huggingface(path)
    for text in ("{", "[]", ""):
        (path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"config\.json"):
            from_huggingface(path)
    (path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        from_huggingface(path)


def sharded(path):
    """Split the weights in two; the index is returned, not written."""
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    places = {name: f"{'ab'[number % 2]}.safetensors" for number, name in enumerate(sorted(tensors))}
    for shard in set(places.values()):
        save_file({name: t for name, t in tensors.items() if places[name] == shard}, path / shard)
    return places


def write_index(path, places):
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def test_shards_are_put_together(directory):
    path = directory("llama")
    write_index(path, sharded(path))
    assert_same_weights(from_huggingface(path), MODELS["llama"]())


def test_an_index_that_does_not_fit_its_shards_is_refused(directory):
    path = directory("gpt2")
    places = sharded(path)
    first, *_ = places
    bad = {
        f"a.safetensors holds '{first}'": {name: shard for name, shard in places.items() if name != first},
        "a.safetensors lacks 'more'": places | {"more": "a.safetensors"},
        "no file beside it": places | {first: "../a.safetensors"},
        "c.safetensors is not a readable": places | {"more": "c.safetensors"},
    }
    for message, index in bad.items():
        write_index(path, index)
        with pytest.raises(ValueError, match=message):
            from_huggingface(path)
    (path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ValueError, match="weight_map"):
        from_huggingface(path)


def test_a_module_of_no_library_is_refused():
    with pytest.raises(ValueError, match="Linear is no model of the transformers library"):
        from_huggingface(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("kind", ["gpt2", "mamba", "rwkv"])
def test_a_context_is_chosen_with_rotary_positions_only(kind, directory):
    with pytest.raises(ValueError, match="context"):
        from_huggingface(directory(kind), context=4)


@pytest.mark.parametrize("context", [0, 17])
def test_a_context_is_no_longer_than_the_checkpoints(context, directory):
    with pytest.raises(ValueError, match="max_position_embeddings"):
        from_huggingface(directory("llama"), context=context)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: GPT(vocab=7, positions="alibi"), "ALiBi"),
        (lambda: GPT(vocab=7, positions="hard-alibi"), "HardALiBi"),
        (lambda: GPT(vocab=7, positions="none"), "no positions"),
        (lambda: GPT(vocab=7, positions="sinusoidal"), "sinusoidal"),
        (lambda: GPT(vocab=7, sink="stablemask"), "StableMask"),
        (lambda: GPT(vocab=7, sink="softmax1"), "SoftmaxPlusOne"),
        (lambda: GPT(vocab=7, shift=True), "token shift"),
        (lambda: GPT(vocab=7, mixers=("mamba", "softmax")), "MambaMixer"),
        (lambda: GPT(vocab=7, mixers="linear"), "LinearAttention"),
        (lambda: GPT(vocab=7, distinct=1), "distinct"),
        (lambda: GPT(vocab=7, embedding_norm=True), "embedding_norm"),
        (lambda: GPT(vocab=7, norm="rms"), "GPT-2 has LayerNorm"),
        (lambda: GPT(vocab=7, mlp="swiglu"), "GPT-2 has a GELU MLP"),
        (lambda: GPT(vocab=7, bias=False), "GPT-2 has biases"),
        (lambda: GPT(vocab=7, key_heads=2), "key_heads"),
        (lambda: GPT(vocab=7, positions="rotary", mlp="swiglu"), "Llama has RMSNorm"),
        (lambda: GPT(vocab=7, positions="rotary", norm="rms"), "Llama has a SwiGLU MLP"),
        (lambda: Mamba(vocab=7, mlp_ratio=2), "mlp_ratio"),
        (lambda: Mamba(vocab=7, norm="layer"), "RMSNorm"),
        (lambda: Mamba(vocab=7, conv=0), "convolution"),
        (lambda: Mamba(vocab=7, addressing="block"), "addressing"),
        (lambda: Mamba(vocab=7, inner=65), "inner width"),
        (lambda: Mamba(vocab=7, learned_positions=8), "table of positions"),
        (lambda: RWKV4(vocab=7, depth=1), "two blocks"),
        (lambda: RWKV4(vocab=7, attention_width=32), "attention_width"),
        (lambda: BilinearLM(vocab=7, width=8), "BilinearLM"),
    ],
)
def test_what_the_other_library_does_not_have_is_named_and_nothing_written(model, named, tmp_path):
    with pytest.raises(ValueError, match=named) as caught:
        to_huggingface(model(), tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_written_as_they_are(dtype, tmp_path):
    to_huggingface(MODELS["gpt2"]().to(dtype), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {dtype}
