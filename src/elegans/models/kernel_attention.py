"""Attention whose weights are not a softmax: a product of features (linear attention), or a ReLU.

Shapes: B batch, T positions, D width, H heads, K head width, R random directions, F features.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import elu

from elegans.models.attention import Cache, HeadedMixer
from elegans.models.base import require_positive
from elegans.models.positions import Rotary
from elegans.ops.feature_maps import orthogonal_directions, positive_random
from elegans.ops.linear_attention import LinearState, causal_linear_attention
from elegans.ops.relu_attention import relu_attention


class LinearAttention(HeadedMixer):
    r"""Linear attention with a state of constant size, F (K + 1) numbers per head.

    .. math:: o_t = \frac{\sum_{s \le t} a_{ts} v_s}{\sum_{s \le t} a_{ts}}, \qquad a_{ts} = \phi_q(q_t) \cdot \phi_k(k_s)

    ============ =====================================================================================================
    `features`   maps
    ============ =====================================================================================================
    ``elu``      elu(x) + 1 for both (Katharopoulos et al. 2020, arXiv 2006.16236); F = K
    ``positive`` F = R positive random features, which estimate softmax attention (Choromanski et al. 2020, arXiv
                 2009.14794): for queries and keys scaled by K^(-1/4), :math:`\phi_k = \exp(W k - |k|^2 / 2) / \sqrt R` and
                 :math:`\phi_q = \mathrm{softmax}(W q)`, the same map up to a factor per query, which cancels
    ============ =====================================================================================================

    The R directions W (by default 2 K) are orthogonal in blocks, drawn with the weights, common to the heads, and then
    fixed. No maximum over keys is taken, for it would look ahead; :math:`w \cdot k - |k|^2 / 2 \le |w|^2 / 2` anyway.
    """

    directions: Tensor | None

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        features: Literal["elu", "positive"] = "elu",
        num_directions: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, heads, bias=bias, dropout=dropout)
        if features not in ("elu", "positive"):
            raise ValueError(f"features must be 'elu' or 'positive', got {features!r}")
        if features == "elu" and num_directions is not None:
            raise ValueError("only 'positive' features have directions, got num_directions for 'elu'")
        num = 2 * self.head_width if num_directions is None else num_directions
        require_positive(num_directions=num)
        self.num_features = self.head_width if features == "elu" else num
        self.register_buffer("directions", None if features == "elu" else torch.empty(num, self.head_width))

    def reset_parameters(self, generator: torch.Generator, residual_std: float, std: float = 0.02) -> None:
        """Draw all weights and the directions anew."""
        super().reset_parameters(generator, residual_std, std)
        if self.directions is not None:
            self.directions.copy_(orthogonal_directions(len(self.directions), self.head_width, generator))

    def _features(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        if self.directions is None:
            return elu(q) + 1, elu(k) + 1
        q, k = (x * self.head_width**-0.25 for x in (q, k))
        k_features = positive_random(k.flatten(0, -2), self.directions, stabilize=False)
        return (q @ self.directions.mT).softmax(-1), k_features.unflatten(0, k.shape[:-1])

    def init_state(self, batch_size: int) -> LinearState:
        """Empty sums."""
        weight = self.project_in.weight
        kv = torch.zeros(
            (batch_size, self.heads, self.num_features, self.head_width),
            dtype=torch.promote_types(weight.dtype, torch.float32),
            device=weight.device,
        )
        return LinearState(kv, torch.zeros_like(kv[..., 0]))

    def extend(self, x: Float[Tensor, "B T D"], state: LinearState) -> tuple[Float[Tensor, "B T D"], LinearState]:
        """`forward` for T more positions, and the sums after them."""
        q, k, v = self.project(x)
        out, state = causal_linear_attention(*self._features(q, k), v, state)
        return self.merge(out), state


class ReLUAttention(HeadedMixer):
    r"""Causal attention with ReLU weights (Wortsman et al. 2023, arXiv 2309.08586), with or without rotary positions.

    .. math:: o_t = \frac 1 t \sum_{s \le t} \max(0, q_t \cdot k_s / \sqrt K) \, v_s, \qquad t = 1, 2, \dots
    """

    def __init__(
        self, width: int, heads: int, *, rotary: Rotary | None = None, bias: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__(width, heads, bias=bias, dropout=dropout)
        self.rotary = rotary

    def init_state(self, batch_size: int) -> Cache:
        """An empty cache."""
        empty = self.project_in.weight.new_empty(batch_size, 0, self.heads, self.head_width)
        return Cache(empty, empty)

    def extend(self, x: Float[Tensor, "B T D"], state: Cache) -> tuple[Float[Tensor, "B T D"], Cache]:
        """`forward` for T more positions, and the cache with them."""
        q, k, v = self.project(x)
        if self.rotary is not None:
            start = state.keys.shape[1]
            q, k = self.rotary(q, start), self.rotary(k, start)
        state = Cache(torch.cat([state.keys, k], dim=1), torch.cat([state.values, v], dim=1))
        return self.merge(relu_attention(q, state.keys, state.values)), state

    def state_bytes(self, num_tokens: int) -> int:
        """Bytes of the keys and values of `num_tokens` positions."""
        weight = self.project_in.weight
        return 2 * num_tokens * weight.shape[1] * weight.element_size()
