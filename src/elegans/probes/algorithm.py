"""Which algorithm does a reasoner run? Its iterates beside a reference's, its weights up to gauge, its errors over steps.

Shapes: B prompts, k1 iterates (the start and k steps), d dimensions.
"""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from elegans.models.weight_prediction import LinearSelfAttention


def error_over_steps(
    path: Float[Tensor, "B k1 d"], target: Float[Tensor, "B #k1 d"], *, cap: float = 1e6
) -> xr.Dataset:
    """Squared distance to `target` along a path, averaged over prompts; one target per prompt, or one per step.

    A prompt whose distance passes `cap`, or is not a number, counts as `cap`, so the mean stays finite: `error`
    and the share of such prompts, `diverged`, along `thoughts` (0 ... k).
    """
    distance = (path.double() - target.double()).square().sum(-1).nan_to_num(nan=cap, posinf=cap).clamp(max=cap)
    return xr.Dataset(
        {
            "error": ("thoughts", distance.mean(0).cpu().numpy()),
            "diverged": ("thoughts", (distance >= cap).double().mean(0).cpu().numpy()),
        },
        coords={"thoughts": np.arange(path.shape[1])},
    )


def agreement(path: Float[Tensor, "B k1 d"], reference: Float[Tensor, "B k1 d"], *, cap: float = 1e6) -> xr.DataArray:
    """Mean squared distance between a model's iterates and a reference algorithm's, step by step, capped as above.

    Where the reference itself grows, use the distance over the reference's squared norm: `relative_agreement`.
    """
    return error_over_steps(path, reference, cap=cap).error.rename("distance")


def relative_agreement(path: Float[Tensor, "B k1 d"], reference: Float[Tensor, "B k1 d"]) -> xr.DataArray:
    """`agreement` over the reference's mean squared norm, per step; 0 where both are zero."""
    distance = (path.double() - reference.double()).square().sum(-1).mean(0)
    size = reference.double().square().sum(-1).mean(0)
    ratio = torch.where(size > 0, distance / size, distance).nan_to_num(nan=1e6, posinf=1e6).clamp(max=1e6)
    return xr.DataArray(
        ratio.cpu().numpy(), dims="thoughts", coords={"thoughts": np.arange(path.shape[1])}, name="relative_distance"
    )


def gauge_products(layer: LinearSelfAttention) -> dict[str, Float[Tensor, "d d"]]:
    r"""What the weights do, free of gauge.

    Scaling V[w, x] by c and W[x, w], W[y, 1] by 1 / c changes nothing, so only products mean something:
    ``label`` = V[w, x] W[y, 1] (eta I for gradient descent: minus the step on the labels) and ``state`` =
    V[w, x] W[x, w] (-eta I: the pull of the present estimate).
    """
    at, V, W = layer.blocks.slices, layer.attention.V.detach(), layer.attention.key_query().detach()
    write = V[at["w"], at["x"]]
    return {"label": write * W[at["y"], at["1"]], "state": write @ W[at["x"], at["w"]]}


def useless_share(layer: LinearSelfAttention) -> dict[str, float]:
    """The share of the norm of V and of W that stands outside the blocks of the gradient-descent solution."""
    at = layer.blocks.slices
    used = {"V": [("w", "x")], "W": [("x", "w"), ("y", "1")]}
    weights = {"V": layer.attention.V.detach(), "W": layer.attention.key_query().detach()}
    shares = {}
    for name, weight in weights.items():
        rest = weight.clone()
        for row, column in used[name]:
            rest[at[row], at[column]] = 0
        shares[name] = (rest.norm() / weight.norm()).item()
    return shares
