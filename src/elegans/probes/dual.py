"""How far is a self-supervised dual model from the attention layer that it explains?

Source: Ren and Liu 2024 (arXiv 2310.13220). Shapes: P prompts, L tokens, D width.
"""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from elegans.models.icl_dual import ContrastiveAttention, DualModel
from elegans.ops.feature_maps import FeatureMap


def relative_error(found: Float[Tensor, "*B K"], wanted: Float[Tensor, "... K"]) -> Float[Tensor, "*B"]:
    """|found - wanted| / |wanted|."""
    return (found - wanted).norm(dim=-1) / wanted.norm(dim=-1)


def dual_error(
    layer: ContrastiveAttention,
    prompts: Float[Tensor, "P L D"],
    feature_map: FeatureMap,
    *,
    explains: ContrastiveAttention | None = None,
    eta: float = 1.0,
    lr: float | None = None,
    normalize: bool = True,
    query_start: bool = True,
) -> xr.DataArray:
    """The relative error of one gradient step of the layer's dual model against attention, over ``prompt`` (P).

    The attention is the layer's own, or that of `explains`. The other settings are those of `DualModel`.
    """
    errors = []
    for prompt in prompts:
        model = DualModel(layer, prompt, feature_map, normalize=normalize, query_start=query_start)
        found = model.output(model.step(model.W_0, eta=eta, lr=lr))
        errors.append(float(relative_error(found, (explains or layer)(prompt).detach())))
    return xr.DataArray(errors, dims="prompt")


def dual_path(
    layer: ContrastiveAttention,
    prompts: Float[Tensor, "P L D"],
    feature_map: FeatureMap,
    steps: int,
    *,
    lr: float = 1.0,
) -> xr.Dataset:
    """What several gradient steps do, over ``prompt`` (P) and ``gd_step`` (0 ... steps), with eta = 1.

    - `to_attention`: relative distance from f_k to the attention output h';
    - `off_line`: distance from f_k to the line f_0 + k lr (h' - f_0) on which a linear loss keeps it, over |h'|;
    - `to_fixed_point`: relative distance to `DualModel.fixed_point`; only with regularization.
    """
    columns: dict[str, list[np.ndarray]] = {}
    time = torch.arange(steps + 1, dtype=prompts.dtype)[:, None] * lr
    for prompt in prompts:
        model, attention = DualModel(layer, prompt, feature_map), layer(prompt).detach()
        path = model.outputs(steps, lr=lr)
        line = path[0] + time * (attention - path[0])
        found = {
            "to_attention": relative_error(path, attention),
            "off_line": (path - line).norm(dim=-1) / attention.norm(),
        }
        if layer.alpha > 0:
            found["to_fixed_point"] = relative_error(path, model.fixed_point())
        for name, values in found.items():
            columns.setdefault(name, []).append(values.numpy())
    data = {name: (("prompt", "gd_step"), np.stack(rows)) for name, rows in columns.items()}
    return xr.Dataset(data, coords={"gd_step": np.arange(steps + 1)})


def kernel_matrices(points: Float[Tensor, "n d"], maps: dict[str, FeatureMap]) -> xr.DataArray:
    """The normalized kernel that each map gives for all pairs of points: each row sums to 1, as attention does."""
    matrices = []
    for feature_map in maps.values():
        features = feature_map(points)
        kernel = features @ features.mT
        matrices.append((kernel / kernel.sum(-1, keepdim=True)).numpy())
    place = np.arange(len(points))
    return xr.DataArray(
        np.stack(matrices),
        dims=("map", "query", "key"),
        coords={"map": list(maps), "query": place, "key": place},
    )
