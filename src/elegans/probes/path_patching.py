"""Path patching: the effect of one part of a model on the output along the direct path to another part.

Source: Wang et al. 2022 (arXiv 2211.00593); Goldowsky-Dill et al. 2023 (arXiv 2304.05969).
"""

import re
from collections.abc import Sequence

import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor, nn

from elegans.probes.metrics import Metric, as_array, judge
from elegans.probes.positions import Where, mask_of
from elegans.probes.record import Names, patch, record, sites_of
from elegans.probes.sweep import Cell, Sweep, mask_at, num_heads, pair
from elegans.tasks.base import evaluating

_HEAD = re.compile(r"\[(\*|\d+)\]$")


def path_patching(
    model: nn.Module,
    base: Int[Tensor, "B T"],
    source: Int[Tensor, "B T"],
    metric: Metric,
    *,
    senders: Sequence[str],
    receivers: Sequence[str],
    positions: Where | None = None,
    receiver_positions: Where | None = None,
    frozen: Names = lambda name: name.endswith((".mixer", ".mlp")),
) -> xr.DataArray:
    """The metric of the run on `base` where each receiver gets what each sender of the run on `source` sends it.

    1. On `base`, the sender takes its activation of the run on `source` while everything that is `frozen` keeps that
       of `base`, so that only direct paths carry the change. What comes to the receiver is recorded.
    2. On `base`, the receiver takes that activation, and all that follows is computed.

    Args:
        senders, receivers: sites or patterns; ``blocks.0.mixer.heads[3]`` is one head, ``blocks.*.mixer.heads[*]``
            each. The receiver ``final`` stands for the direct path to the logits.
        positions: of the senders; None is all.
        receiver_positions: of the receivers; None is all.
        frozen: by default what mixers and MLPs add to the residual stream; ``"blocks.*.mixer"`` lets MLPs react. What
            a sender is part of is never frozen.

    Returns:
        Dimensions (sender, receiver, item?). Coordinates `base` and `source`: the metric of the two runs.
    """
    base, source = pair(model, base, source)
    everywhere = torch.ones(base.shape[0], base.shape[1], dtype=torch.bool)
    at_sender, at_receiver = (
        (everywhere if where is None else mask_of(where, (base.shape[0], base.shape[1]))).to(base.device)
        for where in (positions, receiver_positions)
    )
    with evaluating(model):
        sweep = Sweep(model, base)
        base_value = judge(metric, sweep.logits)
        still_sites = set(sites_of(model, frozen))
        named = {site for name in (*senders, *receivers) for site in sites_of(model, [_HEAD.sub("", name)])}
        with record(model, [*still_sites, *named]) as base_run:
            model(base)
        with record(model, named) as source_run:
            source_value = judge(metric, model(source))
        from_parts, to_parts = (_parts(model, names, base_run) for names in (senders, receivers))
        kept = {name: base_run[name] for name in still_sites}
        cells = []
        for site, head in from_parts.values():
            mask = mask_at(site, base_run[site], at_sender, head)[..., None]
            sent = torch.where(mask, source_run[site], base_run[site])
            still = {name: value for name, value in kept.items() if not f"{site}.".startswith(f"{name}.")}
            with record(model, [site for site, _ in to_parts.values()]) as got, patch(model, {**still, site: sent}):
                model(base)
            cells += [Cell(to, got[to], mask_at(to, got[to], at_receiver, h)) for to, h in to_parts.values()]
        values = base_value.new_empty(len(cells), *base_value.shape)
        for number, logits in sweep.run(cells):
            values[number] = judge(metric, logits)
    item = ("item",) * base_value.ndim
    coords = {"sender": list(from_parts), "receiver": list(to_parts)}
    runs = {"base": (item, as_array(base_value)), "source": (item, as_array(source_value))}
    values = as_array(values.unflatten(0, (len(from_parts), len(to_parts))))
    return xr.DataArray(values, coords | runs, ("sender", "receiver", *item), name="metric")


def _parts(model: nn.Module, names: Sequence[str], run: dict[str, Tensor]) -> dict[str, tuple[str, int | None]]:
    """Sites and heads by label. Raises `ValueError` for those that do not exist."""
    parts: dict[str, tuple[str, int | None]] = {}
    for name in names:
        found = _HEAD.search(name)
        for site in sites_of(model, [_HEAD.sub("", name)]):
            if not found:
                parts[site] = (site, None)
            else:
                heads = range(num_heads(site, run[site])) if found[1] == "*" else [int(found[1])]
                parts |= {f"{site}[{head}]": (site, head) for head in heads}
    return parts
