"""How long the channels of a recurrence remember.

Shapes: L layers, C channels.
"""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn


def decays(model: nn.Module) -> list[Float[Tensor, " C"]]:
    """The logarithms of the rates of decay, ``time_decay``, of each layer of RWKV-4's time mixing; none elsewhere."""
    return [p.detach() for name, p in model.named_parameters() if name.rpartition(".")[2] == "time_decay"]


def decay_spectrum(model: nn.Module) -> xr.DataArray:
    """What one position later is left of a channel's past, e^-d, dimensions (layer, channel), ascending in each layer.

    d = exp(time_decay), of the layers with RWKV-4's time mixing. Raises `ValueError` for a model without. Source: Peng et
    al. 2023 (arXiv 2305.13048).
    """
    if not decays(model):
        raise ValueError(f"{type(model).__name__} has no decays")
    factors = torch.stack(decays(model)).double().exp().neg().exp().sort(dim=-1).values
    layers, channels = factors.shape
    return xr.DataArray(
        factors.cpu().numpy(),
        dims=("layer", "channel"),
        coords={"layer": np.arange(1, layers + 1), "channel": np.arange(channels)},
        name="decay",
    )
