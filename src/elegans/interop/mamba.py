"""Mamba (Gu & Dao 2023, arXiv 2312.00752)."""

import math
from typing import Any

from torch import nn

from elegans.interop.architecture import Architecture, refuse_context
from elegans.interop.config import Options
from elegans.interop.gpt import refuse_unless
from elegans.interop.tensors import Entry, entry, without_values
from elegans.models.block import Block
from elegans.models.mamba import Mamba, MambaMixer

PARAMETERS = (
    "in_proj.weight",
    "conv1d.weight",
    "conv1d.bias",
    "x_proj.weight",
    "dt_proj.weight",
    "dt_proj.bias",
    "A_log",
    "D",
    "out_proj.weight",
)


def _build(options: Options, context: int | None) -> Mamba:
    refuse_context(context)
    options.require("hidden_act", "silu")
    options.require("use_bias", False)
    options.require("use_conv_bias", True)
    width, rank = options.size("hidden_size"), options.get("time_step_rank", "auto")
    return without_values(
        Mamba,
        vocab=options.size("vocab_size"),
        width=width,
        depth=options.size("num_hidden_layers"),
        state_size=options.size("state_size", 16),
        conv=options.size("conv_kernel", 4),
        expand=options.size("expand", 2),
        dt_rank=math.ceil(width / 16) if rank == "auto" else options.size("time_step_rank"),
        norm_eps=options.number("layer_norm_epsilon", 1e-5),
        tied=options.flag("tie_word_embeddings", True),
    )


def _table(model: Mamba, options: Options) -> list[Entry]:
    table = [
        entry("token_table.weight", "backbone.embeddings.weight"),
        entry("norm.weight", "backbone.norm_f.weight"),
    ]
    if model.unembedding is not None:
        table.append(entry("unembedding.weight", "lm_head.weight"))
    for layer in range(len(model.blocks)):
        name, place = f"blocks.{layer}", f"backbone.layers.{layer}"
        table.append(entry(f"{name}.norm_mixer.weight", f"{place}.norm.weight"))
        table += [entry(f"{name}.mixer.{part}", f"{place}.mixer.{part}") for part in PARAMETERS]
    return table


def _options(model: Mamba) -> dict[str, Any]:
    block = model.blocks[0]
    assert isinstance(block, Block) and isinstance(block.mixer, MambaMixer)
    mixer, width = block.mixer, model.token_table.embedding_dim
    inner, state_size = mixer.A_log.shape
    refuse_unless(
        "Hugging Face's Mamba",
        norm=(isinstance(model.norm, nn.RMSNorm), "RMSNorm"),
        mlp_ratio=(block.mlp is None, "no MLP"),
        learned_positions=(model.position_table is None, "no table of positions"),
        conv=(mixer.conv1d is not None, "a convolution"),
        addressing=(mixer.addressing == "inner", "the addressing 'inner'"),
        inner=(inner % width == 0, "a multiple of the width as inner width"),
    )
    assert mixer.conv1d is not None
    return {
        "architectures": ["MambaForCausalLM"],
        "model_type": "mamba",
        "vocab_size": model.vocab_size,
        "hidden_size": width,
        "num_hidden_layers": len(model.blocks),
        "state_size": state_size,
        "conv_kernel": mixer.conv1d.kernel_size[0],
        "expand": inner // width,
        "time_step_rank": mixer.dt_proj.in_features,
        "use_bias": False,
        "use_conv_bias": True,
        "hidden_act": "silu",
        "layer_norm_epsilon": model.norm.eps,
        "tie_word_embeddings": model.unembedding is None,
    }


MAMBA = Architecture(
    prefix="backbone.", tokens="backbone.embeddings.weight", build=_build, table=_table, options=_options
)
