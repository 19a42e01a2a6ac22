"""One attention layer whose key and query weights are merged into one matrix: the model of training-dynamics theory.

Shapes: *B batch dimensions, T tokens, Q queries (1 or T), D width, S active features of a token, K patterns.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from elegans.models.base import require_positive
from elegans.ops.rng import torch_rng

Kind = Literal["softmax", "linear", "relu"]
Queries = Literal["last", "sum", "all"]
Value = Literal["identity", "vector", "matrix"]


class MergedAttention(nn.Module):
    r"""Attention in merged weights.

    .. math::
        s_{qt} = x_t^\top W x_q / \lambda, \qquad
        a_{qt} = \mathrm{scale} \cdot \mathrm{kind}_t(s_{qt}), \qquad
        c_q = \sum_t a_{qt} x_t

    with temperature :math:`\lambda`; the output is c (``value="identity"``), :math:`v^\top c` (``"vector"``, trained v
    [D]) or :math:`V c` (``"matrix"``, trained V [out_width or D, D]). The query is the last real token, each token, or
    each token with the outputs summed (``queries="sum"``). ``linear`` is the identity and ``relu`` max(s, 0), both
    without normalization. With `patterns` P, :math:`W = \sum_k \mathrm{lam}_k P_k` and lam [K] is trained instead.

    A mask names the real tokens; every sequence has at least one. Others are neither keys nor queries: what
    ``queries="all"`` returns at them is zero.

    The ``_index`` methods take multi-hot tokens as the indices of their ones, ``index[..., t, :]``, with -1 for none,
    and compute the same numbers by gathering: D may then be large.

    All weights start at zero, or normally with standard deviation `init_std` (a pure function of `seed`).
    """

    def __init__(
        self,
        *,
        width: int,
        kind: Kind = "softmax",
        queries: Queries = "last",
        value: Value = "vector",
        out_width: int | None = None,
        temperature: float = 1.0,
        scale: float = 1.0,
        patterns: Float[Tensor, "K _ _"] | None = None,
        init_std: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_positive(width=width, out_width=width if out_width is None else out_width)
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if not init_std >= 0:
            raise ValueError(f"init_std must be at least 0, got {init_std}")
        if out_width is not None and value != "matrix":
            raise ValueError(f"out_width belongs to value='matrix', got value={value!r}")
        if patterns is not None and (patterns.ndim != 3 or patterns.shape[1:] != (width, width)):
            raise ValueError(f"patterns must have shape [K, {width}, {width}], got {list(patterns.shape)}")
        self.width, self.kind, self.queries, self.value = width, kind, queries, value
        self.temperature, self.scale = temperature, scale
        generator = torch_rng("merged-attention", seed)

        def start(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * init_std)

        if patterns is None:
            self.W = start(width, width)
        else:
            self.register_buffer("patterns", patterns.clone())
            self.lam = start(len(patterns))
        if value == "vector":
            self.v = start(width)
        elif value == "matrix":
            self.V = start(out_width or width, width)

    def key_query(self) -> Float[Tensor, "D D"]:
        """The effective W: row for the key's feature, column for the query's."""
        return torch.einsum("k,kij->ij", self.lam, self.patterns) if hasattr(self, "lam") else self.W

    # -------------------------------------------------------------------------------------------- dense tokens

    def weights(self, x: Float[Tensor, "*B T D"], mask: Bool[Tensor, "*B T"] | None = None) -> Float[Tensor, "*B Q T"]:
        """The weight a of each token for each query."""
        query = self._query(x, mask)
        return self._attend(query @ self.key_query().mT @ x.mT, mask)

    def context(self, x: Float[Tensor, "*B T D"], mask: Bool[Tensor, "*B T"] | None = None) -> Float[Tensor, "*B Q D"]:
        """The mixed tokens c of each query."""
        return self.weights(x, mask) @ x

    def forward(self, x: Float[Tensor, "*B T D"], mask: Bool[Tensor, "*B T"] | None = None) -> Float[Tensor, "..."]:
        """Outputs: [*B, T, ...] for ``queries="all"``, else [*B, ...], where ... is nothing for a vector value."""
        mix = self._mix(self.weights(x, mask))
        if self.value == "vector":
            return self._squeeze((mix @ (x @ self.v)[..., None])[..., 0], 0)
        return self._read(mix @ x)

    # -------------------------------------------------------------------------------------------- multi-hot tokens

    def weights_index(
        self, index: Int[Tensor, "*B T S"], mask: Bool[Tensor, "*B T"] | None = None
    ) -> Float[Tensor, "*B Q T"]:
        """`weights` of multi-hot tokens."""
        query = self._query(index, mask)
        key, query = index[..., None, :, :, None], query[..., :, None, None, :]  # [*B, Q, T, S, S] together
        address = key.clamp(min=0) * self.width + query.clamp(min=0)
        found = take(self.key_query().flatten(), address)
        return self._attend((found * ((key >= 0) & (query >= 0))).sum((-2, -1)), mask)

    def context_index(
        self, index: Int[Tensor, "*B T S"], mask: Bool[Tensor, "*B T"] | None = None
    ) -> Float[Tensor, "*B Q D"]:
        """`context` of multi-hot tokens."""
        return self._scatter(self.weights_index(index, mask), index)

    def forward_index(
        self, index: Int[Tensor, "*B T S"], mask: Bool[Tensor, "*B T"] | None = None
    ) -> Float[Tensor, "..."]:
        """`forward` of multi-hot tokens."""
        mix = self._mix(self.weights_index(index, mask))
        if self.value == "vector":
            values = (take(self.v, index.clamp(min=0)) * (index >= 0)).sum(-1)
            return self._squeeze((mix * values[..., None, :]).sum(-1), 0)
        return self._read(self._scatter(mix, index))

    # -------------------------------------------------------------------------------------------- shared parts

    def _query(self, x: Tensor, mask: Bool[Tensor, "*B T"] | None) -> Tensor:
        """The tokens that ask: [*B, Q, ...]."""
        if self.queries != "last":
            return x
        if mask is None:
            return x[..., -1:, :]
        return x.gather(-2, last(mask)[..., None].expand(*x.shape[:-2], 1, x.shape[-1]))

    def _attend(self, products: Float[Tensor, "*B Q T"], mask: Bool[Tensor, "*B T"] | None) -> Float[Tensor, "*B Q T"]:
        scores = products / self.temperature
        if self.kind == "softmax":
            if mask is not None:
                scores = scores.masked_fill(~mask[..., None, :], -math.inf)
            a = scores.softmax(-1)
        else:
            a = scores.relu() if self.kind == "relu" else scores
            if mask is not None:
                a = a * mask[..., None, :]
        if mask is not None and self.queries != "last":
            a = a * mask[..., :, None]
        return a * self.scale if self.scale != 1.0 else a

    def _mix(self, a: Float[Tensor, "*B Q T"]) -> Float[Tensor, "*B R T"]:
        """Values are linear in the mixed tokens, so summing the queries' weights first gives the same output."""
        return a.sum(-2, keepdim=True) if self.queries == "sum" else a

    def _scatter(self, a: Float[Tensor, "*B R T"], index: Int[Tensor, "*B T S"]) -> Float[Tensor, "*B R D"]:
        parts = a[..., None] * (index >= 0)[..., None, :, :]
        at = index.clamp(min=0)[..., None, :, :].expand(parts.shape).flatten(-2)
        return parts.new_zeros(*parts.shape[:-2], self.width).scatter_add(-1, at, parts.flatten(-2))

    def _read(self, c: Float[Tensor, "*B R D"]) -> Float[Tensor, "..."]:
        return self._squeeze(c @ self.V.mT if self.value == "matrix" else c, 1)

    def _squeeze(self, y: Tensor, trailing: int) -> Tensor:
        return y if self.queries == "all" else y.squeeze(-1 - trailing)


def last(mask: Bool[Tensor, "*B T"]) -> Int[Tensor, "*B 1"]:
    """The position of the last real token."""
    places = torch.arange(mask.shape[-1], device=mask.device)
    return (mask * places).amax(-1, keepdim=True)


def take(table: Float[Tensor, " V"], index: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """``table[index]`` with a fast backward pass: one scatter-add instead of a sort."""
    return table.index_select(0, index.flatten()).view(index.shape)
