"""RWKV-4 (Peng et al. 2023, arXiv 2305.13048) as the transformers library names its parts."""

import re
from typing import Any

from elegans.interop.architecture import Architecture, refuse_context
from elegans.interop.config import Options
from elegans.interop.gpt import refuse_unless
from elegans.interop.tensors import Entry, entry, without_values
from elegans.models.rwkv import RWKV4, RWKVBlock

RENAMED = {
    r"^(emb|blocks|ln_out)\b": r"rwkv.\1",
    r"^rwkv\.emb\b": "rwkv.embeddings",
    r"\.ln0\.": ".pre_ln.",
    r"\.att\.": ".attention.",
    r"\.ffn\.": ".feed_forward.",
    r"\.time_mix_k$": ".time_mix_key",
    r"\.time_mix_v$": ".time_mix_value",
    r"\.time_mix_r$": ".time_mix_receptance",
}
"""From the names of the released code, which are ours."""


def _build(options: Options, context: int | None) -> RWKV4:
    refuse_context(context)
    options.require("layer_norm_epsilon", 1e-5)
    options.require("tie_word_embeddings", False)
    width = options.size("hidden_size")
    return without_values(
        RWKV4,
        vocab=options.size("vocab_size"),
        width=width,
        depth=options.size("num_hidden_layers"),
        attention_width=options.size("attention_hidden_size", width),
        mlp_width=options.size("intermediate_size", 4 * width),
    )


def _table(model: RWKV4, options: Options) -> list[Entry]:
    table = []
    for name, _ in model.named_parameters():
        theirs = name
        for pattern, replacement in RENAMED.items():
            theirs = re.sub(pattern, replacement, theirs)
        table.append(entry(name, theirs))
    return table


def _options(model: RWKV4) -> dict[str, Any]:
    block, width = model.blocks[0], model.emb.embedding_dim
    assert isinstance(block, RWKVBlock)
    refuse_unless(
        "RWKV in Hugging Face's library",
        attention_width=(len(block.att.time_decay) == width, "an attention as wide as the model"),
        depth=(len(model.blocks) > 1, "two blocks or more"),
    )
    return {
        "architectures": ["RwkvForCausalLM"],
        "model_type": "rwkv",
        "vocab_size": model.vocab_size,
        "hidden_size": width,
        "intermediate_size": block.ffn.key.out_features,
        "num_hidden_layers": len(model.blocks),
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": False,
    }


RWKV = Architecture(
    prefix="rwkv.",
    tokens="rwkv.embeddings.weight",
    unembedding="head.weight",
    build=_build,
    table=_table,
    options=_options,
)
