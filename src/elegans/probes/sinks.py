"""Attention sinks: how much of its reading a head spends on the first token, on nothing, or on one column.

Shapes: B sequences, T positions, H heads, K head width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.models.attention import SelfAttention
from elegans.models.decoder import Decoder
from elegans.ops.attention import attention_weights
from elegans.tasks.base import evaluating

ROWS = ("raw", "normalized")
"""Weights as they are, and divided by the mass of their row: a row that keeps little is small in every column."""


class AttentionMap(NamedTuple):
    """The weights of one layer, whose rows sum to 1 or less, and the values that they weigh."""

    weights: Float[Tensor, "B H T T"]
    values: Float[Tensor, "B T H K"]


def attention_maps(model: Decoder, tokens: Int[Tensor, "B T"]) -> dict[int, AttentionMap]:
    """The map of every layer that mixes by softmax attention, with its positions and its sink, by the block's number.

    Raises `ValueError` for a model without such a layer.
    """
    mixers = {level: block.mixer for level, block in enumerate(model.blocks)}
    mixers = {level: mixer for level, mixer in mixers.items() if isinstance(mixer, SelfAttention)}
    if not mixers:
        raise ValueError(f"a map of weights needs a layer of softmax attention; this {type(model).__name__} has none")
    inputs: dict[int, Tensor] = {}

    def keep_input_of(level: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs[level] = args[0]

        return hook

    hooks = [mixer.register_forward_pre_hook(keep_input_of(level)) for level, mixer in mixers.items()]
    try:
        with evaluating(model):
            model(tokens.to(next(model.parameters()).device))
            return {level: _map(mixer, inputs[level]) for level, mixer in mixers.items()}
    finally:
        for hook in hooks:
            hook.remove()


def _map(mixer: SelfAttention, x: Float[Tensor, "B T D"]) -> AttentionMap:
    q, k, v = mixer.project(x)
    if mixer.rotary is not None:
        q, k = mixer.rotary(q), mixer.rotary(k)
    k, v = (y.repeat_interleave(mixer.heads // mixer.key_heads, dim=-2) for y in (k, v))
    bias, sink = mixer.bias_and_sink(x.shape[1], x.shape[1])
    return AttentionMap(attention_weights(q, k, sink, bias).cpu(), v.cpu())


def sinks(model: Decoder, tokens: Int[Tensor, "B T"], *, skip: int = 8) -> xr.Dataset:
    """`sink_measures` of every layer of softmax attention, along a dimension ``layer``."""
    maps = attention_maps(model, tokens)
    return xr.concat([sink_measures(found, skip=skip) for found in maps.values()], "layer").assign_coords(
        layer=list(maps)
    )


def sink_measures(found: AttentionMap, *, skip: int = 8) -> xr.Dataset:
    r"""How unevenly a layer reads, means over sequences.

    ================== ======================= ==========================================================================
    variable           dimensions              is
    ================== ======================= ==========================================================================
    `keep`             head, position          mass of a query's row, 1 without a sink logit
    `entropy`          head, position          of the normalized row, nats
    `first`            rows, head, position    weight of the first position
    `sink`             rows, head              mean of `first` over the queries from number `skip` (from 0) on
    `excess`           rows, head              `sink` over that of uniform attention, the mean of :math:`1 / (i + 1)`
    `top`              rows, head              mean weight of the column that those queries read most, per sequence
    `value_ratio`      head                    :math:`|v_0|` over the mean :math:`|v_j|`
    ================== ======================= ==========================================================================

    ``rows`` are ``raw`` or ``normalized``. The first queries see little else than the first position, hence `skip`.
    """
    weights, values = found.weights.double(), found.values.double()
    length = weights.shape[-1]
    if not 0 <= skip < length:
        raise ValueError(f"skip must be at least 0 and below the {length} positions, got {skip}")
    keep = weights.sum(-1)
    normalized = weights / keep[..., None]
    both = torch.stack([weights, normalized])
    sink = both[..., skip:, 0].mean((1, 3))
    norms = values.norm(dim=-1)
    uniform = (1 / torch.arange(skip + 1, length + 1, dtype=torch.double)).mean()
    variables = {
        "keep": (("head", "position"), keep.mean(0)),
        "entropy": (("head", "position"), torch.special.entr(normalized).sum(-1).mean(0)),
        "first": (("rows", "head", "position"), both[..., 0].mean(1)),
        "sink": (("rows", "head"), sink),
        "excess": (("rows", "head"), sink / uniform),
        "top": (("rows", "head"), both[..., skip:, :].mean(-2).amax(-1).mean(1)),
        "value_ratio": (("head",), (norms[:, 0] / norms.mean(1)).mean(0)),
    }
    return xr.Dataset(
        {name: (dims, value.numpy()) for name, (dims, value) in variables.items()}, coords={"rows": list(ROWS)}
    )
