"""How far does a circuit move? The effects of a model's components in two settings, compared.

A setting is anything that changes how a model comes to the same answer: examples in front of the question, or weights
that were trained further. The measures are ours: the paper that speaks of a circuit shift (Yin et al. 2024, arXiv
2410.04691) has released no code for it.

Shapes: B pairs, T positions.
"""

import numpy as np
import xarray as xr
from jaxtyping import Int
from torch import Tensor, nn

from elegans.probes.interchange import interchange_heads, interchange_mlps
from elegans.probes.metrics import Metric
from elegans.probes.positions import Where

MEASURES = ("total variation", "cosine", "Jaccard")


def component_effects(
    model: nn.Module,
    clean: Int[Tensor, "B T"],
    corrupt: Int[Tensor, "B T"],
    metric: Metric,
    *,
    where: Where | None = None,
) -> xr.DataArray:
    """The metric of the corrupt run with the output of one component taken from the clean one (denoising).

    Components are all heads and all MLPs. Where both runs begin with the same tokens, an exchange there changes nothing in
    a causal model, so all positions together are those of what differs.

    Args:
        model: with sites, see `elegans.probes.record`.
        clean, corrupt: pair by pair one question and another one with another answer.
        metric: of the logits, one number per pair: high where the clean answer is given.
        where: the positions to exchange; by default all.

    Returns:
        Dimensions (component, item), with the metric of the runs without exchange as the coordinates ``base`` (corrupt)
        and ``source`` (clean). Batches can be concatenated along ``item``; `elegans.probes.recovered` then gives the
        effects I_c = (mean metric - corrupt) / (clean - corrupt).
    """
    positions = "together" if where is None else {"exchanged": where}
    parts: dict[str, xr.DataArray] = {}
    for interchange in (interchange_heads, interchange_mlps):
        effects = interchange(model, corrupt, clean, metric, positions=positions)
        effects = effects.isel(position=0, drop=True) if "position" in effects.dims else effects
        for effect in effects.transpose("layer", ...):
            site = str(effect.site.item())
            rows = {f"{site}[{i}]": row for i, row in enumerate(effect)} if "head" in effect.dims else {site: effect}
            parts |= {name: row.drop_vars(("layer", "head", "site"), errors="ignore") for name, row in rows.items()}
    return xr.concat(parts.values(), xr.DataArray(list(parts), dims="component", name="component"), coords="minimal")


def circuit_shift(before: xr.DataArray, after: xr.DataArray, *, top: int = 5) -> xr.DataArray:
    """Three distances between effects I_c with a dimension ``component``: 0 is the same circuit, 1 is as far as it goes.

    =============== ==================================================================
    total variation half the sum of |p_c - q_c|, where p_c = |I_c| / sum |I_c|
    cosine          1 - the cosine between the two I, up to 2 where signs differ
    Jaccard         1 - the share in common of the `top` components by |I_c|
    =============== ==================================================================

    Other dimensions are kept and broadcast; the result has one more, ``measure``. Effects of all 0 or with a missing one
    have no distance (not a number). Raises `ValueError` for other components, or fewer than `top`.
    """
    if not np.array_equal(before.component.values, after.component.values):
        raise ValueError("the two settings have different components, so no distance")
    if not 1 <= top <= before.sizes["component"]:
        raise ValueError(f"top must be between 1 and {before.sizes['component']}, the components, got {top}")
    u, v = (_complete(effects) for effects in (before, after))
    p, q = (abs(x) / abs(x).sum("component", skipna=False) for x in (u, v))
    lengths = [np.sqrt((x**2).sum("component", skipna=False)) for x in (u, v)]
    cosine = (u * v).sum("component", skipna=False) / (lengths[0] * lengths[1])
    common = (_largest(u, top) * _largest(v, top)).sum("component", skipna=False)
    found = [
        abs(p - q).sum("component", skipna=False) / 2,
        1 - cosine,
        1 - common / (2 * top - common),
    ]
    return xr.concat(found, xr.DataArray(list(MEASURES), dims="measure", name="measure"), coords="minimal").rename(
        "shift"
    )


def _complete(effects: xr.DataArray) -> xr.DataArray:
    """Without numbers where all effects are 0 or one is missing."""
    return effects.where(abs(effects).sum("component", skipna=False) > 0)


def _largest(effects: xr.DataArray, top: int) -> xr.DataArray:
    """1 at the components of the `top` largest magnitudes, else 0; of equal ones the first counts."""

    def mark(values: np.ndarray) -> np.ndarray:
        order = np.argsort(-abs(values), axis=-1, kind="stable")[..., :top]
        marks = np.zeros(values.shape)
        np.put_along_axis(marks, order, 1.0, axis=-1)
        return marks

    marked = xr.apply_ufunc(mark, effects, input_core_dims=[["component"]], output_core_dims=[["component"]])
    return marked.where(effects.notnull())
