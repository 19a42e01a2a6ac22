"""Two published one-layer models, as settings of `MergedAttention`.

Shapes: *B batch dimensions, T symbols, C classes, G groups, F features of a group.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from elegans.models.base import require_positive
from elegans.models.merged import MergedAttention


class StringClassifier(MergedAttention):
    r"""Which class a string belongs to, by one head that asks from its last symbol.

    Huang, Liang and Yang 2025 (arXiv 2505.00926): every symbol w at every position l has its own direction
    :math:`E_l^w`, and :math:`T(X) = u^\top X \,\mathrm{softmax}(X^\top W x_L / \lambda)`; the answer is class 0 where
    T >= 0 and class 1 elsewhere. With more classes, u becomes a matrix and the answer is the largest entry. The
    parameter u is called `v` (`V`). Strings shorter than T end in -1.
    """

    def __init__(
        self,
        *,
        num_symbols: int = 2,
        max_length: int,
        num_classes: int = 2,
        temperature: float = 1.0,
        init_std: float = 0.0,
        seed: int = 0,
    ) -> None:
        require_positive(num_symbols=num_symbols, max_length=max_length, num_classes=num_classes)
        super().__init__(
            width=num_symbols * max_length,
            value="vector" if num_classes == 2 else "matrix",
            out_width=None if num_classes == 2 else num_classes,
            temperature=temperature,
            init_std=init_std,
            seed=seed,
        )
        self.num_symbols = num_symbols

    def forward(self, words: Int[Tensor, "*B T"]) -> Float[Tensor, "..."]:
        """T [*B], or the scores of all classes [*B, C]."""
        return self.forward_index(self.features(words), words >= 0)

    def attention(self, words: Int[Tensor, "*B T"]) -> Float[Tensor, "*B T"]:
        """The weight of each symbol."""
        return self.weights_index(self.features(words), words >= 0)[..., 0, :]

    def mixed(self, words: Int[Tensor, "*B T"]) -> Float[Tensor, "*B D"]:
        """The attention output v_n, which the read-out sees."""
        return self.context_index(self.features(words), words >= 0)[..., 0, :]

    def predict(self, words: Int[Tensor, "*B T"]) -> Int[Tensor, "*B"]:
        """The most likely class, 0 in a tie."""
        scores = self(words)
        return (scores < 0).long() if self.value == "vector" else scores.argmax(-1)

    def features(self, words: Int[Tensor, "*B T"]) -> Int[Tensor, "*B T 1"]:
        """The index of E_l^w for each symbol, -1 for padding."""
        places = torch.arange(words.shape[-1], device=words.device) * self.num_symbols
        return torch.where(words >= 0, places + words, -1)[..., None]


class GroupClassifier(MergedAttention):
    r"""The sign of a label from groups of features, by one head whose every token asks.

    Zhang, Meng and Cao 2025 (arXiv 2504.08638): tokens :math:`z_j = [x_j ; p_j]` with orthogonal sine positions, and
    :math:`f = \sum_j v^\top Z \,\mathrm{softmax}(Z^\top W z_j)`. With ``positions="added"`` tokens are x_j + p_j, which
    needs at least as many features as groups.
    """

    positions: Tensor

    def __init__(
        self, *, features: int, groups: int, positions: Literal["concatenated", "added"] = "concatenated", seed: int = 0
    ) -> None:
        require_positive(features=features, groups=groups)
        if positions == "added" and features < groups:
            raise ValueError(f"added positions need features >= groups, got features={features} and groups={groups}")
        joined = positions == "concatenated"
        super().__init__(width=features + groups if joined else features, queries="sum", seed=seed)
        table = sine_positions(groups)
        self.register_buffer("positions", table if joined else torch.nn.functional.pad(table, (0, features - groups)))
        self.joined, self.num_features = joined, features

    def forward(self, x: Float[Tensor, "*B G F"]) -> Float[Tensor, "*B"]:
        """f, whose sign is the label."""
        return super().forward(self.tokens(x))

    def attention(self, x: Float[Tensor, "*B G F"]) -> Float[Tensor, "*B G G"]:
        """The weight of each group (last axis) for each query: S transposed."""
        return self.weights(self.tokens(x))

    def tokens(self, x: Float[Tensor, "*B G F"]) -> Float[Tensor, "*B G D"]:
        """z_j: features with their position."""
        if not self.joined:
            return x + self.positions
        return torch.cat([x, self.positions.expand(*x.shape[:-1], -1)], dim=-1)


def sine_positions(groups: int) -> Float[Tensor, "G G"]:
    """Row j holds p_j[i] = sin(i j pi / (G + 1)), i and j from 1; the rows are orthogonal with norm^2 (G + 1) / 2."""
    number = torch.arange(1, groups + 1, dtype=torch.double)
    return torch.sin(number[:, None] * number * math.pi / (groups + 1)).float()
