"""The logit lens: what the model would say if it stopped after each block (nostalgebraist 2020).

Shapes: B sequences, T positions, P chosen positions, D width, V vocabulary.
"""

from collections.abc import Mapping

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.probes.metrics import as_array
from elegans.probes.positions import Positions, masks_of
from elegans.probes.record import record
from elegans.probes.streams import resume, streams
from elegans.tasks.base import evaluating


def logit_lens(
    model: nn.Module,
    tokens: Int[Tensor, "B T"],
    targets: Mapping[str, Int[Tensor, " B"]],
    *,
    positions: Positions = "each",
) -> xr.Dataset:
    r"""How near the residual stream is to saying each target, :math:`\mathrm{logits}_l = W_U \, \mathrm{norm}(h_l)`.

    The norm is the model's last one, the unembedding its own. Layer l = 0 ... L - 1 is the input of block l and layer L
    the output of the model, which is the only layer of a model without blocks.

    Args:
        targets: by name, one token to look for in each sequence.
        positions: single ones; see `Positions`. A position may differ by sequence.

    Returns:
        `rank` (0 is the largest logit; equal logits share the mean of their ranks), `reciprocal_rank` 1 / (1 + rank)
        and `probability`, all of dimensions (token, layer, position, item); the coordinate `site` names each layer's.

    >>> found = logit_lens(model, tokens, {"bridge": bridge})  # doctest: +SKIP
    >>> found.reciprocal_rank.sel(token="bridge").mean("item")  # the MRR, layer x position  # doctest: +SKIP
    """
    if not targets:
        raise ValueError("a lens needs at least one target")
    tokens = tokens.to(next(model.parameters()).device)
    labels, masks = masks_of(positions, (tokens.shape[0], tokens.shape[1]))
    if (masks.sum(-1) != 1).any():
        raise ValueError("a lens looks at single positions, not at groups of them")
    where = masks.int().argmax(-1).mT.to(tokens.device)
    wanted = torch.stack([target.to(tokens.device) for target in targets.values()], dim=-1)
    with evaluating(model):
        try:
            sites = streams(model)
        except ValueError:
            sites, layers = ["final"], [_chosen(model(tokens), where)]
        else:
            with record(model, sites) as seen:
                model(tokens)
            layers = [resume(model, _chosen(seen[site], where), len(sites) - 1) for site in sites]
        if not (wanted.min() >= 0 and wanted.max() < layers[0].shape[-1]):
            raise ValueError(f"targets must be tokens below {layers[0].shape[-1]}, got up to {int(wanted.max())}")
        found = as_array(torch.stack([_measures(logits, wanted) for logits in layers]).permute(1, 4, 0, 3, 2))
    dims = ("token", "layer", "position", "item")
    coords = {"token": list(targets), "layer": range(len(sites)), "position": labels, "site": ("layer", sites)}
    names = ("rank", "reciprocal_rank", "probability")
    return xr.Dataset({name: (dims, values) for name, values in zip(names, found, strict=True)}, coords)


def _chosen(x: Float[Tensor, "B T N"], where: Int[Tensor, "B P"]) -> Float[Tensor, "B P N"]:
    return x[torch.arange(len(x), device=x.device)[:, None], where]


def _measures(logits: Float[Tensor, "B P V"], wanted: Int[Tensor, "B W"]) -> Float[Tensor, "3 B P W"]:
    """Rank, reciprocal rank and probability of W tokens."""
    values = logits.gather(-1, wanted[:, None].expand(-1, logits.shape[1], -1))
    above = torch.stack([(logits > value[..., None]).sum(-1) for value in values.unbind(-1)], dim=-1)
    equal = torch.stack([(logits == value[..., None]).sum(-1) for value in values.unbind(-1)], dim=-1)
    rank = above + (equal - 1) / 2
    return torch.stack([rank, 1 / (1 + rank), (values - logits.logsumexp(-1, keepdim=True)).exp()])
