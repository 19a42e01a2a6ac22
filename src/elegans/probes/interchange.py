"""Interchange interventions: one run with a part of another run's activations (Geiger et al. 2021, arXiv 2106.02997).

Also known as activation patching or causal tracing. With the clean prompt as base and the corrupted one as source, the
source's activations break the answer (noising); with the roles exchanged they restore it (denoising).

Shapes: B sequences, T positions, P choices of positions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import xarray as xr
from jaxtyping import Bool, Int
from torch import Tensor, nn

from elegans.probes.metrics import Metric, as_array, judge
from elegans.probes.positions import Positions, masks_of
from elegans.probes.record import Names, record, sites_of
from elegans.probes.streams import level_of, streams
from elegans.probes.sweep import Cell, Sweep, mask_at, num_heads, pair
from elegans.tasks.base import evaluating


def interchange(
    model: nn.Module,
    base: Int[Tensor, "B T"],
    source: Int[Tensor, "B T"],
    metric: Metric,
    *,
    sites: Names = "blocks.*.in",
    positions: Positions = "each",
    heads: bool = False,
) -> xr.DataArray:
    """The metric of the run on `base` with the activation at one site and position taken from the run on `source`.

    Only what an exchange can reach is computed (see `elegans.probes.sweep.Sweep`).

    Args:
        base, source: sequence by sequence a pair of inputs. `resample` makes counterfactuals that change the answer.
        metric: of the logits, one number per sequence or one in all.
        sites: to sweep over. At attention scores and weights a position is that of the query.
        positions: to sweep over: each, all together, some, or groups by name, which may differ by sequence.
        heads: sweep over heads, at sites that have them; else all heads are exchanged at once.

    Returns:
        Dimensions (site, position, head?, item?), where `item` are the sequences. Coordinates: `layer` of each site;
        `base` and `source`, the metric of the two runs without exchange.
    """
    base, source = pair(model, base, source)
    chosen = list(sites_of(model, sites))
    if not chosen:
        raise ValueError("no site was chosen")
    labels, masks = masks_of(positions, (base.shape[0], base.shape[1]))
    masks = masks.to(base.device)
    with evaluating(model):
        sweep = Sweep(model, base)
        base_value = judge(metric, sweep.logits)
        with record(model, chosen) as source_run:
            source_value = judge(metric, model(source))
        cells, parts = [], []
        for site in chosen:
            some, axes = _cells(site, source_run[site], labels, masks, heads)
            parts.append((range(len(cells), len(cells) + len(some)), axes))
            cells += some
        values = base_value.new_empty(len(cells), *base_value.shape)
        for number, logits in sweep.run(cells):
            values[number] = judge(metric, logits)
        values = as_array(values)
    item = ("item",) * base_value.ndim
    arrays = [
        xr.DataArray(
            values[part.start : part.stop].reshape(*map(len, axes.values()), *values.shape[1:]), axes, (*axes, *item)
        )
        for part, axes in parts
    ]
    found = xr.concat(arrays, xr.DataArray(chosen, dims="site", name="site"), join="outer").rename("metric")
    return found.assign_coords(
        layer=("site", [_layer(site, len(sweep.entries) - 1) for site in chosen]),
        base=(item, as_array(base_value)),
        source=(item, as_array(source_value)),
    )


def interchange_residual(
    model: nn.Module,
    base: Int[Tensor, "B T"],
    source: Int[Tensor, "B T"],
    metric: Metric,
    *,
    positions: Positions = "each",
) -> xr.DataArray:
    """`interchange` of the residual stream: dimensions (layer, position, item?), layer l being the input of block l."""
    return _by_layer(interchange(model, base, source, metric, sites=streams(model)[:-1], positions=positions))


def interchange_mixers(
    model: nn.Module,
    base: Int[Tensor, "B T"],
    source: Int[Tensor, "B T"],
    metric: Metric,
    *,
    positions: Positions = "each",
) -> xr.DataArray:
    """`interchange` of what token mixers add to the residual stream: dimensions (layer, position, item?)."""
    return _by_layer(interchange(model, base, source, metric, sites="blocks.*.mixer", positions=positions))


def interchange_mlps(
    model: nn.Module,
    base: Int[Tensor, "B T"],
    source: Int[Tensor, "B T"],
    metric: Metric,
    *,
    positions: Positions = "each",
) -> xr.DataArray:
    """`interchange` of what MLPs add to the residual stream: dimensions (layer, position, item?)."""
    return _by_layer(interchange(model, base, source, metric, sites="blocks.*.mlp", positions=positions))


def interchange_heads(
    model: nn.Module,
    base: Int[Tensor, "B T"],
    source: Int[Tensor, "B T"],
    metric: Metric,
    *,
    positions: Positions = "together",
) -> xr.DataArray:
    """`interchange` of the output of single heads: dimensions (layer, position?, head, item?).

    By default a head is exchanged at all positions, and there is no dimension `position`.
    """
    sites = "blocks.*.mixer.heads"
    found = _by_layer(interchange(model, base, source, metric, sites=sites, positions=positions, heads=True))
    return found.isel(position=0, drop=True) if positions == "together" else found


def recovered(effect: xr.DataArray) -> xr.DataArray:
    """The share of the way from the base's metric to the source's that an exchange goes, of means over sequences.

    0 is no effect and 1 that of exchanging everything. Raises `ValueError` where the two runs do not differ.
    """
    mean = effect.mean("item") if "item" in effect.dims else effect
    low, high = (float(effect[run].mean()) for run in ("base", "source"))
    if low == high:
        raise ValueError(f"the metric is {low:g} on both runs, so there is nothing to recover")
    return ((mean - low) / (high - low)).rename("recovered")


def resample(
    tokens: Int[Tensor, "B T"],
    position: int,
    choices: Int[Tensor, " N"],
    answer: Callable[[Tensor], Tensor],
    rng: torch.Generator,
    *,
    tries: int = 1000,
) -> Int[Tensor, "B T"]:
    """Counterfactuals: `tokens` with the one at `position` drawn anew from `choices` until the true answer changes.

    `answer` maps tokens [N, T] to their answers [N]. Raises `ValueError` where no choice was found to change it.
    """
    right, new = answer(tokens), tokens.clone()
    left = torch.arange(len(tokens))
    for _ in range(tries):
        new[left, position] = choices[torch.randint(len(choices), left.shape, generator=rng)]
        left = left[answer(new[left]) == right[left]]
        if not len(left):
            return new
    raise ValueError(f"no token at position {position} was found to change the answer of {len(left)} sequences")


# ------------------------------------------------------------------------------------------------ cells


def _cells(
    site: str, new: Tensor, labels: list[int] | list[str], masks: Bool[Tensor, "P B T"], heads: bool
) -> tuple[list[Cell], dict[str, Sequence[Any]]]:
    """The cells of one site, and the axes that they run over in this order."""
    axes: dict[str, Sequence[Any]] = {"position": labels}
    choices: Sequence[int | None] = (None,)
    if heads:
        choices = axes["head"] = range(num_heads(site, new))
    return [Cell(site, new, mask_at(site, new, where, head)) for where in masks for head in choices], axes


def _layer(site: str, last: int) -> int:
    level = level_of(site)
    return level if level is not None else last if site == "final" else 0


def _by_layer(effect: xr.DataArray) -> xr.DataArray:
    return effect.swap_dims(site="layer")
