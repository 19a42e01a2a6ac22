"""The layout of vector tokens that hold an example (x, y), an estimate w, and a constant.

Source: Huang, Wang and Lee 2025 (arXiv 2502.21212). Shapes: *B prompts, n examples, k estimates, d dimensions, D = 2d + 2.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """Where the parts of a vector token (x, y, w, 1) stand among its D = 2d + 2 rows."""

    d: int

    @property
    def width(self) -> int:
        """D."""
        return 2 * self.d + 2

    @property
    def slices(self) -> dict[str, slice]:
        """The rows of each part."""
        d = self.d
        return {"x": slice(0, d), "y": slice(d, d + 1), "w": slice(d + 1, 2 * d + 1), "1": slice(2 * d + 1, 2 * d + 2)}

    def embed_examples(self, x: Float[Tensor, "*B n d"], y: Float[Tensor, "*B n"]) -> Float[Tensor, "*B n D"]:
        """Tokens (x_i, y_i, 0, 0)."""
        return torch.cat([x, y[..., None], torch.zeros_like(x), torch.zeros_like(y)[..., None]], dim=-1)

    def embed_weights(self, w: Float[Tensor, "*B k d"]) -> Float[Tensor, "*B k D"]:
        """Tokens (0, 0, w_i, 1)."""
        one = torch.ones_like(w[..., :1])
        return torch.cat([torch.zeros_like(w), torch.zeros_like(one), w, one], dim=-1)
