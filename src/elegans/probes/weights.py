"""What stands in the weights: effective token-to-token weights and the geometry of the embeddings.

Shapes: V vocabulary, D width, N tokens.
"""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from elegans.models.base import SequenceModel


def effective_weights(model: SequenceModel, rows: Int[Tensor, " N"], columns: Int[Tensor, " M"]) -> xr.DataArray:
    """The block w(x, y) of a theory model's effective weights, x in `rows` and y in `columns`; unit: logits.

    `BilinearLM`: u_x^T Theta u_y. `OneLayerLM`: Y[x, y]. Dimensions `x` (N) and `y` (M). Source: Zhu et al. 2024
    (arXiv 2405.04669), Sections 3 and 4. Raises `NotImplementedError` for a model without such a matrix.
    """
    with torch.inference_mode():
        block = model.effective_weights()[rows][:, columns]
    return xr.DataArray(block.float().cpu().numpy(), dims=("x", "y"), name="effective_weight")


def embedding_cosines(table: SequenceModel | Float[Tensor, "V D"], tokens: Int[Tensor, " N"]) -> xr.DataArray:
    """Cosine of the angle between the input embeddings of `tokens`: dimensions `x` and `y` (N each), labelled by token.

    The theory of the reversal curse asks for nearly orthogonal ones (arXiv 2405.04669, Section 3).
    """
    with torch.inference_mode():
        vectors = (table if isinstance(table, Tensor) else table.input_embeddings())[tokens]
        unit = torch.nn.functional.normalize(vectors.double(), dim=-1)
        cosines = (unit @ unit.mT).cpu().numpy()
    names = tokens.cpu().numpy()
    return xr.DataArray(cosines, dims=("x", "y"), coords={"x": names, "y": names}, name="cosine")


def mean_cosine(cosines: xr.DataArray) -> float:
    """Mean absolute cosine between different tokens: 0 for orthogonal embeddings, sqrt(2 / (pi D)) for random ones.

    `cosines` is the square result of `embedding_cosines`, of at least two tokens.
    """
    values = np.abs(cosines.to_numpy())
    size = len(values)
    if size < 2:
        raise ValueError(f"a mean over different tokens needs at least 2 tokens, got {size}")
    return float((values.sum() - np.trace(values)) / (size * (size - 1)))
