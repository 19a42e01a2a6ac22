"""GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU in the tanh form, biases everywhere."""

from typing import Any

from torch import nn

from elegans.interop.architecture import Architecture, refuse_context
from elegans.interop.config import Options
from elegans.interop.gpt import first_parts, refuse_unless
from elegans.interop.tensors import Entry, entry, without_values
from elegans.models.gpt import GPT

NORMS = {"norm_mixer": "ln_1", "norm_mlp": "ln_2"}
MATRICES = {
    "mixer.project_in": "attn.c_attn",
    "mixer.project_out": "attn.c_proj",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}


def _build(options: Options, context: int | None) -> GPT:
    refuse_context(context)
    options.require("activation_function", "gelu_new", "gelu_pytorch_tanh")
    options.require("scale_attn_weights", True)
    options.require("scale_attn_by_inverse_layer_idx", False)
    options.require("add_cross_attention", False)
    width = options.size("n_embd")
    return without_values(
        GPT,
        vocab=options.size("vocab_size"),
        width=width,
        depth=options.size("n_layer"),
        heads=options.parts("n_head", "n_embd"),
        context=options.size("n_positions"),
        mlp_hidden=options.size("n_inner", 4 * width),
        norm_eps=options.number("layer_norm_epsilon", 1e-5),
        tied=options.flag("tie_word_embeddings", True),
    )


def _table(model: GPT, options: Options) -> list[Entry]:
    table = [
        entry("token_table.weight", "transformer.wte.weight"),
        entry("position_table.weight", "transformer.wpe.weight"),
        entry("norm.weight", "transformer.ln_f.weight"),
        entry("norm.bias", "transformer.ln_f.bias"),
    ]
    if model.unembedding is not None:
        table.append(entry("unembedding.weight", "lm_head.weight"))
    for layer in range(len(model.blocks)):
        for ours, theirs in (NORMS | MATRICES).items():
            name, place = f"blocks.{layer}.{ours}", f"transformer.h.{layer}.{theirs}"
            table.append(entry(f"{name}.weight", f"{place}.weight", transposed=ours in MATRICES))
            table.append(entry(f"{name}.bias", f"{place}.bias"))
    return table


def _options(model: GPT) -> dict[str, Any]:
    block, attention = first_parts(model)
    assert block.mlp is not None
    refuse_unless(
        "GPT-2",
        norm=(isinstance(model.norm, nn.LayerNorm), "LayerNorm"),
        mlp=(block.mlp.gate is None, "a GELU MLP"),
        bias=(attention.project_in.bias is not None, "biases"),
        key_heads=(attention.key_heads == attention.heads, "a key and a value for each head"),
    )
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": model.vocab_size,
        "n_embd": attention.sizes[0],
        "n_layer": len(model.blocks),
        "n_head": attention.heads,
        "n_positions": model.context,
        "n_inner": block.mlp.up.out_features,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": model.norm.eps,
        "tie_word_embeddings": model.unembedding is None,
        **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0),
    }


GPT2 = Architecture(
    prefix="transformer.",
    tokens="transformer.wte.weight",
    build=_build,
    table=_table,
    options=_options,
    buffers=r"\.attn\.(masked_)?bias$",
)
