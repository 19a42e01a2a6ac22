"""The residual stream: where it is, and the logits that follow from it.

Shapes: B batch, T positions, D width, V vocabulary.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from elegans.models.decoder import Decoder
from elegans.models.rwkv import RWKV4
from elegans.probes.record import patch


def streams(model: nn.Module) -> list[str]:
    """The sites of the residual stream, L + 1 for L blocks: the input of each block and the output of the last.

    Raises `ValueError` for a model without blocks.
    """
    sites = model.sites()  # pyright: ignore[reportCallIssue]
    depth = sum(name.startswith("blocks.") and name.endswith(".in") for name in sites)
    if not depth:
        raise ValueError(f"{type(model).__name__} has no blocks, so no residual stream")
    return [*(f"blocks.{level}.in" for level in range(depth)), f"blocks.{depth - 1}.out"]


def level_of(name: str) -> int | None:
    """The block from which on a pass has to be computed anew when this site changes; None is the whole pass."""
    parts = name.split(".")
    if parts[0] != "blocks":
        return None
    return int(parts[1]) + (parts[-1] == "out")


def resume(
    model: nn.Module, x: Float[Tensor, "B T D"], level: int, states: list[Any] | None = None
) -> Float[Tensor, "B T V"]:
    """The logits, given the residual stream that enters block `level`; with `level` L they are only read off.

    No block before that one is computed in a `Decoder`, an `RWKV4` and any model with a method ``resume(x, level)``.
    Other models are called as a whole, with the stream replaced on the way. With the states of all blocks (see
    `extend_states`) x holds the positions after those that the states have seen.
    """
    if hasattr(model, "resume"):
        return model.resume(x, level)  # pyright: ignore[reportCallIssue]
    if not isinstance(model, Decoder | RWKV4):
        with patch(model, {streams(model)[level]: x}):
            return model(torch.zeros(x.shape[:2], dtype=torch.long, device=x.device))
    for block, state in list(zip(model.blocks, states or start_states(model, len(x)), strict=True))[level:]:
        x = block(x) if states is None and isinstance(model, Decoder) else block.extend(x, state)[0]  # pyright: ignore
    if isinstance(model, RWKV4):
        return model.head(model.at["final"](model.ln_out(x)))
    return model.at["final"](model.norm(x)) @ model.output_embeddings().mT


def start_states(model: Decoder | RWKV4, batch_size: int) -> list[Any]:
    """The states of all blocks before the first position."""
    state = model.init_state(batch_size)
    return list(state if isinstance(state, tuple) else state.mixers)


def extend_states(model: Decoder | RWKV4, inputs: list[Float[Tensor, "B T D"]], states: list[Any]) -> list[Any]:
    """The states of all blocks after the next positions, given what enters each block there."""
    return [block.extend(x, s)[1] for block, x, s in zip(model.blocks, inputs, states, strict=True)]  # pyright: ignore
