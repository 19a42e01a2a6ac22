"""Information flow through attention: what edges carry towards an answer, and what is lost without them.

An edge leads from a key position to a query position. Shapes: B sequences, T positions, H heads.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from elegans.probes.gradients import slopes
from elegans.probes.metrics import Metric, as_array, judge
from elegans.probes.positions import Where, mask_of
from elegans.probes.record import patch, record, sites_of
from elegans.probes.streams import resume, streams
from elegans.tasks.base import evaluating


class Edges(NamedTuple):
    """All edges from some positions to some others."""

    keys: Where
    queries: Where


def saliency_flow(model: nn.Module, tokens: Int[Tensor, "B T"], metric: Metric) -> xr.DataArray:
    r"""How much each edge matters to the metric, :math:`I_l = |\sum_h A_{h,l} \odot \partial m / \partial A_{h,l}|`.

    The sum over heads is inside of the absolute value; the diagonal is zero. With the loss of the answer as metric this
    is the information flow of Wang et al. 2023 (arXiv 2305.14160). What flows into the prediction of a token enters the
    row of the position *before* it.

    Returns:
        Dimensions (layer, item, query, key), layers being those of softmax attention. Raises `ValueError` for a model
        without one.
    """
    found = slopes(model, tokens, metric, _maps(model, "weights"))
    layers = [_level(name) for name in found.activations]
    flow = torch.stack([(a * found.gradients[name]).sum(1).abs() for name, a in found.activations.items()])
    flow.diagonal(dim1=-2, dim2=-1).zero_()
    dims = ("layer", "item", "query", "key")
    return xr.DataArray(as_array(flow), {"layer": layers}, dims, name="flow")


def edge_flow(
    flow: xr.DataArray, groups: Mapping[str, Edges | tuple[Where, Where]], *, rest: str = "rest"
) -> xr.Dataset:
    """Flow by groups of edges; those in no group are in the group `rest`.

    Only edges from earlier to later positions count. Dimensions (group, layer, item):

    ========== ===================================================================================
    `mean`     over the edges of the group; NaN where it has none
    `share`    of all flow of the layer that is the group's
    `uniform`  of all edges that are the group's: its share if all edges carried alike
    ========== ===================================================================================

    >>> edge_flow(flow, {"text to label": (text_positions, 9), "label to answer": (9, -1)})  # doctest: +SKIP
    """
    shape = (flow.sizes["item"], flow.sizes["key"])
    causal = torch.ones(shape[1], shape[1], dtype=torch.bool).tril(-1).expand(shape[0], -1, -1)
    masks = {name: _edges(edges, shape) & causal for name, edges in groups.items()}
    taken = torch.stack([*masks.values()]).any(0) if masks else torch.zeros_like(causal)
    masks[rest] = causal & ~taken
    chosen = np.stack([mask.numpy() for mask in masks.values()]).astype(float)
    carried = np.einsum("lbqk,gbqk->glb", flow.transpose("layer", "item", "query", "key").to_numpy(), chosen)
    count = np.broadcast_to(chosen.sum((-1, -2))[:, None], carried.shape)
    total = flow.sum(("query", "key")).transpose("layer", "item").to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        measures = {"mean": carried / count, "share": carried / total, "uniform": count / causal[0].sum().item()}
    dims = ("group", "layer", "item")
    coords = {"group": list(masks), "layer": flow.layer.to_numpy()}
    return xr.Dataset({name: (dims, values) for name, values in measures.items()}, coords)


@contextmanager
def attention_knockout(
    model: nn.Module, *edges: Edges | tuple[Where, Where], layers: Iterable[int] | None = None
) -> Iterator[None]:
    """Inside, the given edges carry nothing: their scores are -inf before the softmax (Geva et al. 2023, arXiv 2304.14767).

    Args:
        edges: from the key positions to the query positions of each pair.
        layers: those of softmax attention to act on, None is all.

    Raises `ValueError` for a layer without softmax attention and, when the model is called, where a query has no key
    left to read.

    >>> with attention_knockout(model, ([1, 2], -1), layers=[0, 1]):  # doctest: +SKIP
    ...     model(tokens)
    """
    scores = {_level(name): name for name in _maps(model, "scores")}
    wanted = list(scores) if layers is None else list(layers)
    for layer in wanted:
        if layer not in scores:
            raise ValueError(f"layer {layer} has no softmax attention; layers with it: {', '.join(map(str, scores))}")

    def cut(x: Float[Tensor, "B H T S"]) -> Float[Tensor, "B H T S"]:
        if x.shape[-1] != x.shape[-2]:
            raise ValueError("edges are knocked out of whole sequences, not of portions")
        for pair in edges:
            gone = _edges(pair, (x.shape[0], x.shape[-1])).to(x.device)
            x = x.masked_fill(gone[:, None], -torch.inf)
        return x

    def check(x: Float[Tensor, "B H T S"]) -> Float[Tensor, "B H T S"]:
        if x.isnan().any():
            raise ValueError("a query has no key left to read; keep at least its own position")
        return x

    cuts = {scores[layer]: cut for layer in wanted}
    checks = {scores[layer].replace(".scores", ".weights"): check for layer in wanted}
    with patch(model, {**cuts, **checks}):
        yield


def knockout_effect(
    model: nn.Module,
    tokens: Int[Tensor, "B T"],
    groups: Mapping[str, Edges | tuple[Where, Where]],
    metric: Metric,
    *,
    window: int | None = 1,
) -> xr.DataArray:
    """The metric without each group of edges in `window` layers of softmax attention from each layer on; None is all.

    Returns:
        Dimensions (group, layer, item?), `layer` being the first of the window. Coordinate `base`: the metric with all
        edges.
    """
    tokens = tokens.to(next(model.parameters()).device)
    layers = [_level(name) for name in _maps(model, "scores")]
    starts = layers if window else layers[:1]
    entries = streams(model)
    with evaluating(model):
        with record(model, entries) as run:
            base = judge(metric, model(tokens))
        values = []
        for edges in groups.values():
            for first, start in enumerate(starts):
                some = layers[first : first + window] if window else layers
                with attention_knockout(model, edges, layers=some):
                    values.append(judge(metric, resume(model, run[entries[start]], start)))
    item = ("item",) * base.ndim
    found = as_array(torch.stack(values).unflatten(0, (len(groups), len(starts))))
    coords = {"group": list(groups), "layer": starts, "base": (item, as_array(base))}
    return xr.DataArray(found, coords, ("group", "layer", *item), name="metric")


def _maps(model: nn.Module, kind: str) -> list[str]:
    found = [name for name in sites_of(model) if name.endswith(f".mixer.{kind}")]
    if not found:
        raise ValueError(f"edges need a layer of softmax attention; this {type(model).__name__} has none")
    return found


def _level(name: str) -> int:
    return int(name.split(".")[1])


def _edges(edges: Edges | tuple[Where, Where], shape: tuple[int, int]) -> Bool[Tensor, "B T T"]:
    """[query, key]."""
    keys, queries = (mask_of(where, shape) for where in edges)
    return queries[:, :, None] & keys[:, None, :]
