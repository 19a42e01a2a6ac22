"""What a metric owes to each activation, to first order; exact where the model is linear.

Shapes: B sequences, T positions, P choices of positions, D width, V vocabulary.
"""

from typing import Any

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.models.rwkv import RWKV4
from elegans.probes.gradients import slopes
from elegans.probes.metrics import Metric, as_array, logit_difference, logit_of
from elegans.probes.positions import Positions, masks_of
from elegans.probes.record import Names, patch, record
from elegans.probes.streams import streams
from elegans.probes.sweep import is_map, num_heads, pair
from elegans.tasks.base import evaluating


def attribution_patching(
    model: nn.Module,
    base: Int[Tensor, "B T"],
    source: Int[Tensor, "B T"],
    metric: Metric,
    *,
    sites: Names = "blocks.*.in",
    positions: Positions = "each",
    heads: bool = False,
) -> xr.DataArray:
    r"""What `interchange` would change, to first order.

    .. math:: m_{exchanged} - m_{base} \approx (h_{source} - h_{base}) \cdot \partial m / \partial h_{base}

    Two runs and one gradient for all sites, positions and heads (Nanda 2023; Syed et al. 2023, arXiv 2310.10348).
    Arguments as in `elegans.probes.interchange.interchange`. Dimensions (site, position, head?, item?); a metric of one
    number in all gives no `item`, and counts the sequences together.
    """
    base, source = pair(model, base, source)
    value, activations, gradients = slopes(model, base, metric, sites)
    with evaluating(model), record(model, sites) as source_run:
        model(source)
    labels, masks = masks_of(positions, (base.shape[0], base.shape[1]))
    masks = masks.to(value.device, value.dtype)
    parts = []
    for site, old in activations.items():
        # Scores are -inf on both runs where a key is hidden.
        change = torch.where(source_run[site] == old, 0.0, source_run[site] - old)
        share = (change * gradients[site]).sum(-1)
        coords: dict[str, Any] = {"position": labels}
        if share.ndim == 3:
            share = share if is_map(site) else share.mT
            share = share if heads else share.sum(1)
        if heads:
            coords["head"] = range(num_heads(site, old))
            found = torch.einsum("pbt,bht->phb", masks, share)
        else:
            found = torch.einsum("pbt,bt->pb", masks, share)
        item = ("item",) * value.ndim
        parts.append(xr.DataArray(as_array(found if item else found.sum(-1)), coords, (*coords, *item)))
    names = list(activations)
    return xr.concat(parts, xr.DataArray(names, dims="site", name="site"), join="outer").rename("attribution")


def direct_logit_attribution(
    model: nn.Module,
    tokens: Int[Tensor, "B T"],
    answer: Int[Tensor, " B"],
    wrong: Int[Tensor, " B"] | None = None,
    *,
    position: int | Int[Tensor, " B"] = -1,
    heads: bool = False,
) -> xr.DataArray:
    r"""What each part of the model adds by itself to the logit of the answer, or to its lead over a wrong answer.

    The last residual stream x is the sum of the embeddings and of what mixers and MLPs add. With the scale of the last
    norm as it is, the logits are linear in x, so the contributions and ``norm.bias`` sum to the logit (difference).

    Args:
        position: where the answer is said; one, or one per sequence.
        heads: split what a mixer adds into its heads, ``blocks.0.mixer.heads[2]``, and the bias of its projection,
            ``blocks.0.mixer.bias``. Mixers without heads stay whole.

    Returns:
        Dimensions (component, item), in logits. Raises `ValueError` for a model without blocks, and for one whose last
        norm is neither a layer norm nor an RMS norm.
    """
    last = streams(model)[-1]
    norm = _last_norm(model)

    lead = logit_of(answer, position) if wrong is None else logit_difference(answer, wrong, position)
    added = [name for name in model.sites() if name.endswith((".mixer", ".mlp"))]  # pyright: ignore[reportCallIssue]
    added.sort(key=lambda name: (int(name.split(".")[1]), name.endswith(".mlp")))
    value, run, gradients = slopes(model, tokens, lead, ["embed", "final", last, *added])
    towards, bias = _through_norm(norm, run[last], run["final"], gradients["final"])
    parts = {name: (run[name] * towards).sum((1, 2)) for name in ["embed", *added]}
    if heads:
        parts = _split(model, tokens, towards, parts)
    parts["norm.bias"] = bias
    values = torch.stack(list(parts.values()))
    if not torch.allclose(values.sum(0), value, rtol=1e-3, atol=1e-3 * float(values.abs().max())):
        raise ValueError(f"the residual stream of {type(model).__name__} is not the sum of what blocks add to it")
    return xr.DataArray(as_array(values), {"component": list(parts)}, ("component", "item"), name="logit")


def _split(
    model: nn.Module, tokens: Tensor, towards: Float[Tensor, "B T D"], parts: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Contributions with those of mixers split into heads, by the gradient through the projection after the heads."""
    with_heads = {f"{name}.heads": name for name in parts if f"{name}.heads" in model.sites()}  # pyright: ignore
    if not with_heads:
        return parts
    # Each mixer's output is recorded before it is cut off from what follows, so no head counts for later mixers.
    mixers = list(with_heads.values())
    with record(model, mixers) as seen, patch(model, dict.fromkeys(mixers, Tensor.detach)):

        def alignment(_: Tensor) -> Tensor:
            return torch.stack([(seen[mixer] * towards).sum() for mixer in mixers]).sum()

        _, run, gradients = slopes(model, tokens, alignment, list(with_heads))
    shares = {mixer: (run[site] * gradients[site]).sum((1, 3)) for site, mixer in with_heads.items()}
    split = {}
    for name, whole in parts.items():
        if name not in shares:
            split[name] = whole
            continue
        split |= {f"{name}.heads[{head}]": share for head, share in enumerate(shares[name].unbind(-1))}
        split[f"{name}.bias"] = whole - shares[name].sum(-1)
    return split


def _last_norm(model: nn.Module) -> nn.Module:
    return model.ln_out if isinstance(model, RWKV4) else model.norm  # pyright: ignore


def _through_norm(
    norm: nn.Module, x: Float[Tensor, "B T D"], y: Float[Tensor, "B T D"], towards: Float[Tensor, "B T D"]
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, " B"]]:
    """A direction after the norm as one before it, with the norm's scale as it is at x, and what its bias adds."""
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    weight, bias = (z if z is None else z.detach() for z in (weight, bias))
    centered = isinstance(norm, nn.LayerNorm)

    def unscaled(z: Tensor, transpose: bool = False) -> Tensor:
        """Weight and, in a layer norm, subtraction of the mean; transposed in the other order."""
        for step in ("weight", "center") if transpose else ("center", "weight"):
            if step == "weight" and weight is not None:
                z = z * weight
            if step == "center" and centered:
                z = z - z.mean(-1, keepdim=True)
        return z

    own, target = unscaled(x), y if bias is None else y - bias
    scale = (own * target).sum(-1, keepdim=True) / (own * own).sum(-1, keepdim=True)
    if not torch.allclose(own * scale, target, rtol=1e-3, atol=1e-4):
        raise ValueError(f"the last norm, {type(norm).__name__}, is neither a layer norm nor an RMS norm")
    shift = towards.new_zeros(len(x)) if bias is None else (towards * bias).sum((1, 2))
    return unscaled(towards, transpose=True) * scale, shift
