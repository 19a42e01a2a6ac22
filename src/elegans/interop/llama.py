"""Llama (Touvron et al. 2023, arXiv 2302.13971) and those that differ in options: Mistral without windows, Qwen2.

Rotary positions, RMSNorm, SwiGLU. A `GPT` has biases in all projections or in none: where the other library has them in
some, the others are zero.
"""

from typing import Any

from torch import nn

from elegans.interop.architecture import Architecture
from elegans.interop.config import Options
from elegans.interop.gpt import first_parts, refuse_unless
from elegans.interop.tensors import Entry, entry, without_values
from elegans.models.attention import SelfAttention
from elegans.models.block import Block
from elegans.models.gpt import GPT


def _build(options: Options, context: int | None) -> GPT:
    longest = options.size("max_position_embeddings")
    if context is not None and not 1 <= context <= longest:
        raise ValueError(f"context must be from 1 to max_position_embeddings, which is {longest}, got {context}")
    context = longest if context is None else context
    options.require("hidden_act", "silu")
    heads = options.parts("num_attention_heads", "hidden_size")
    width = options.size("hidden_size")
    if options.size("head_dim", width // heads) != width // heads:
        raise ValueError(f"head_dim={options.get('head_dim')} is not supported, only hidden_size / num_attention_heads")
    _refuse_windows(options, context)
    # The defaults of Mistral and Qwen2 are others; their files always say it.
    default_key_heads = heads if options.get("model_type") == "llama" else None
    return without_values(
        GPT,
        vocab=options.size("vocab_size"),
        width=width,
        depth=options.size("num_hidden_layers"),
        heads=heads,
        key_heads=options.parts("num_key_value_heads", "num_attention_heads", default_key_heads),
        context=context,
        positions="rotary",
        rotary_base=_rotary_base(options),
        mlp="swiglu",
        mlp_hidden=options.size("intermediate_size"),
        norm="rms",
        norm_eps=options.number("rms_norm_eps", 1e-6),
        bias=bool(_biased(options)),
        tied=options.flag("tie_word_embeddings", False),
    )


def _biased(options: Options) -> set[str]:
    """The projections that have a bias in their model."""
    family = options.get("model_type")
    if family == "qwen2":
        return {"q_proj", "k_proj", "v_proj"}
    names = set()
    if family == "llama" and options.flag("attention_bias", False):
        names |= {"q_proj", "k_proj", "v_proj", "o_proj"}
    if family == "llama" and options.flag("mlp_bias", False):
        names |= {"gate_proj", "up_proj", "down_proj"}
    return names


def _refuse_windows(options: Options, context: int) -> None:
    """Windows change nothing as long as the longest sequence fits into one."""
    family = options.get("model_type")
    if family == "qwen2" and not options.flag("use_sliding_window", False):
        return
    window = options.get("sliding_window", 4096 if family == "mistral" else None)
    if window is not None and options.size("sliding_window", 4096) < context:
        raise ValueError(f"sliding_window={window} is not supported for a longer context, {context}; choose a context")


def _rotary_base(options: Options) -> float:
    """The base in the place of transformers 5, ``rope_parameters``, or in that of transformers 4, ``rope_theta``."""
    for name in ("rope_parameters", "rope_scaling"):
        for key, value in options.nested(name).values.items():
            plain = {"rope_type": "default", "type": "default", "rope_theta": value, "partial_rotary_factor": 1}
            if key not in plain or value != plain[key]:
                raise ValueError(f"{name} with {key}={value!r} is not supported")
    options.require("partial_rotary_factor", None, 1)
    return options.nested("rope_parameters").number("rope_theta", options.number("rope_theta", 10000.0))


def _table(model: GPT, options: Options) -> list[Entry]:
    biased = _biased(options)
    table = [
        entry("token_table.weight", "model.embed_tokens.weight"),
        entry("norm.weight", "model.norm.weight"),
    ]
    if model.unembedding is not None:
        table.append(entry("unembedding.weight", "lm_head.weight"))
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block) and isinstance(block.mixer, SelfAttention)
        name, place = f"blocks.{layer}", f"model.layers.{layer}"
        table.append(entry(f"{name}.norm_mixer.weight", f"{place}.input_layernorm.weight"))
        table.append(entry(f"{name}.norm_mlp.weight", f"{place}.post_attention_layernorm.weight"))
        for ours, folder, theirs in (
            ("mixer.project_in", "self_attn", ("q_proj", "k_proj", "v_proj")),
            ("mixer.project_out", "self_attn", ("o_proj",)),
            ("mlp.gate", "mlp", ("gate_proj",)),
            ("mlp.up", "mlp", ("up_proj",)),
            ("mlp.down", "mlp", ("down_proj",)),
        ):
            rows = block.mixer.sizes if len(theirs) == 3 else None
            paths = {part: f"{place}.{folder}.{part}" for part in theirs}
            table.append(entry(f"{name}.{ours}.weight", *(f"{path}.weight" for path in paths.values()), rows=rows))
            if biased:
                biases = (f"{path}.bias" if part in biased else None for part, path in paths.items())
                table.append(entry(f"{name}.{ours}.bias", *biases, rows=rows))
    return table


def _options(model: GPT) -> dict[str, Any]:
    block, attention = first_parts(model)
    assert block.mlp is not None and attention.rotary is not None
    refuse_unless(
        "Llama",
        norm=(isinstance(model.norm, nn.RMSNorm), "RMSNorm"),
        mlp=(block.mlp.gate is not None, "a SwiGLU MLP"),
    )
    biased = attention.project_in.bias is not None
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": model.vocab_size,
        "hidden_size": attention.sizes[0],
        "intermediate_size": block.mlp.up.out_features,
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.key_heads,
        "max_position_embeddings": model.context,
        "rope_parameters": {"rope_type": "default", "rope_theta": attention.rotary.base},
        "hidden_act": "silu",
        "rms_norm_eps": model.norm.eps,
        "attention_bias": biased,
        "mlp_bias": biased,
        "tie_word_embeddings": model.unembedding is None,
    }


LLAMA = Architecture(
    prefix="model.",
    tokens="model.embed_tokens.weight",
    build=_build,
    table=_table,
    options=_options,
    buffers=r"\.rotary_emb\.inv_freq$",
)
