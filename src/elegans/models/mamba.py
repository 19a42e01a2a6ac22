"""Mamba: a mixer with a selective state space, and the language model made of it.

Shapes: B batch, T positions, D width, E inner width (channels), N state size per channel, K length of the convolution,
R rank of the step sizes.
"""

import math
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from elegans.models.base import require_positive
from elegans.models.block import MLP, Block, Mixer, NormKind, linear
from elegans.models.decoder import Decoder
from elegans.ops.selective_scan import selective_scan


class MambaState(NamedTuple):
    """What `MambaMixer` keeps of the positions so far, however many they are."""

    tail: Tensor  # [B K-1 E], the last inputs of the convolution; [B 0 E] without one
    hidden: Tensor  # [B E N]


class MambaMixer(Mixer):
    r"""A gated selective state space layer (Gu & Dao 2023, arXiv 2312.00752), parameters named as in its released code.

    .. math::
        [u_t; z_t] = W_{in} x_t, \qquad u_t \leftarrow \mathrm{SiLU}(\mathrm{conv}(u)_t), \qquad
        [r_t; B_t; C_t] = W_x u_t, \qquad \Delta_t = \mathrm{softplus}(W_\Delta r_t + b_\Delta) \\
        h_t = e^{\Delta_t A} \odot h_{t-1} + (\Delta_t u_t) B_t^\top, \qquad
        y_t = W_{out} \big( (h_t C_t + D \odot u_t) \odot \mathrm{SiLU}(z_t) \big)

    with :math:`A = -e^{A_{log}}` and a causal convolution of each channel by itself.

    Args:
        width: D.
        state_size: N.
        conv: K; 0 leaves the convolution out.
        expand: E over D.
        inner: E itself, in place of `expand`.
        dt_rank: R, by default D / 16 rounded up.
        dt_min, dt_max: range of the step sizes at the start, where the projection adds nothing to the bias.
        addressing: whether step sizes, B and C are read from the E ``inner`` channels u_t, as published, or from the
            input x_t of the ``block``, so that a small E narrows the memory and not also its addresses.

    Raises `ValueError` for sizes below 1 and for an empty range of step sizes.
    """

    # The bias of `dt_proj` and D are vectors, which are never decayed.
    undecayed: ClassVar[frozenset[str]] = frozenset({"A_log"})

    def __init__(
        self,
        width: int,
        *,
        state_size: int = 16,
        conv: int = 4,
        expand: int = 2,
        inner: int | None = None,
        dt_rank: int | None = None,
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
        addressing: Literal["inner", "block"] = "inner",
    ) -> None:
        super().__init__()
        inner = expand * width if inner is None else inner
        dt_rank = math.ceil(width / 16) if dt_rank is None else dt_rank
        require_positive(width=width, state_size=state_size, inner=inner, dt_rank=dt_rank)
        if conv < 0:
            raise ValueError(f"conv must be at least 0, got {conv}")
        if not 0 < dt_min <= dt_max:
            raise ValueError(f"dt_min and dt_max must be a range above 0, got {dt_min} and {dt_max}")
        if addressing not in ("inner", "block"):
            raise ValueError(f"addressing must be 'inner' or 'block', got {addressing!r}")
        self.dt_range, self.addressing = (dt_min, dt_max), addressing
        self.in_proj = linear(width, 2 * inner, bias=False)
        self.conv1d = cast(nn.Conv1d, skip_init(nn.Conv1d, inner, inner, conv, groups=inner)) if conv else None
        self.x_proj = linear(inner if addressing == "inner" else width, dt_rank + 2 * state_size, bias=False)
        self.dt_proj = linear(dt_rank, inner)
        self.A_log = nn.Parameter(torch.empty(inner, state_size))
        self.D = nn.Parameter(torch.empty(inner))
        self.out_proj = linear(inner, width, bias=False)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator, residual_std: float, std: float = 0.02) -> None:
        r"""Draw all weights anew, by the rules of the released code.

        Matrices are uniform in :math:`\pm 1 / \sqrt{\mathrm{fan\,in}}`, the last one of them divided by the root of the
        number of layers, which is read off `residual_std`, taken to be :math:`\mathrm{std} / \sqrt{2\,\mathrm{layers}}`.
        :math:`A_{log} = \log(1 \dots N)` and D = 1. The bias of the step sizes puts them log-uniformly into their range.
        """

        def fill(tensor: Tensor, bound: float) -> None:
            nn.init.uniform_(tensor, -bound, bound, generator=generator)

        for layer in (self.in_proj, self.x_proj, self.dt_proj, self.out_proj):
            fill(layer.weight, layer.in_features**-0.5)
        self.out_proj.weight *= residual_std * math.sqrt(2) / std
        if self.conv1d is not None and self.conv1d.bias is not None:
            for parameter in (self.conv1d.weight, self.conv1d.bias):
                fill(parameter, self.conv1d.kernel_size[0] ** -0.5)
        low, high = self.dt_range
        nn.init.uniform_(self.dt_proj.bias, math.log(low), math.log(high), generator=generator)
        dt = self.dt_proj.bias.exp().clamp(min=1e-4)
        self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
        self.A_log.copy_(torch.arange(1, self.A_log.shape[1] + 1).log().expand_as(self.A_log))
        nn.init.ones_(self.D)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What each position reads from itself and those before it."""
        return self._mix(x, None)[0]

    def init_state(self, batch_size: int) -> MambaState:
        """No positions seen: zeros."""
        inner, state_size = self.A_log.shape
        length = self.conv1d.kernel_size[0] - 1 if self.conv1d is not None else 0
        zeros = self.A_log.new_zeros
        return MambaState(zeros(batch_size, length, inner), zeros(batch_size, inner, state_size))

    def extend(self, x: Float[Tensor, "B T D"], state: MambaState) -> tuple[Float[Tensor, "B T D"], MambaState]:
        """`forward` for T more positions, and the state after them."""
        return self._mix(x, state)

    def _mix(self, x: Tensor, state: MambaState | None) -> tuple[Tensor, MambaState]:
        u, z = self.in_proj(x).chunk(2, dim=-1)
        u, tail = self._convolve(u, state.tail if state else None)
        u = F.silu(u)
        rank, state_size = self.dt_proj.in_features, self.A_log.shape[1]
        source = u if self.addressing == "inner" else x
        r, B, C = self.x_proj(source).split([rank, state_size, state_size], dim=-1)
        dt = F.softplus(self.dt_proj(r))
        y, hidden = selective_scan(u, dt, -self.A_log.exp(), B, C, self.D, state.hidden if state else None)
        return self.out_proj(y * F.silu(z)), MambaState(tail, hidden)

    def _convolve(self, u: Float[Tensor, "B T E"], tail: Tensor | None) -> tuple[Float[Tensor, "B T E"], Tensor]:
        """K shifts weighted per channel, which a CPU does faster than a grouped convolution, and the new tail."""
        if self.conv1d is None or self.conv1d.bias is None:
            return u, u[:, :0]
        weight, y = self.conv1d.weight, self.conv1d.bias
        num, length = u.shape[1], weight.shape[-1]
        padded = F.pad(u, (0, 0, length - 1, 0)) if tail is None else torch.cat([tail, u], dim=1)
        for shift, w in enumerate(weight[:, 0].unbind(-1)):
            y = torch.addcmul(y, padded[:, shift : shift + num], w)
        return y, padded[:, num:].clone()


class Mamba(Decoder):
    r"""A stack of selective state space layers (Gu & Dao 2023, arXiv 2312.00752), as a language model.

    Each block adds :math:`\mathrm{mixer}(\mathrm{norm}(x))`; with `mlp_ratio` an MLP follows, as in a transformer.

    Args:
        vocab: number of tokens V.
        width: D.
        depth: number of blocks. Two have about as many parameters as one block of a transformer.
        state_size, conv, expand, inner, dt_rank, dt_min, dt_max, addressing: of each `MambaMixer`.
        mlp_ratio: hidden width of the MLP over `width`; 0 is none.
        learned_positions: add a table of so many positions to the input, the longest sequence then; 0 is none.
        norm: ``rms`` or ``layer``.
        norm_eps: added to the variance.
        tied: unembed with the token table.
        std: initial standard deviation of the MLPs' matrices.
        embedding_std: initial standard deviation of the tables.
        freeze_embeddings: leave the tables of the input as they start (see `Decoder`).
        seed: of the initial weights.
    """

    def __init__(
        self,
        *,
        vocab: int,
        width: int = 64,
        depth: int = 2,
        state_size: int = 16,
        conv: int = 4,
        expand: int = 2,
        inner: int | None = None,
        dt_rank: int | None = None,
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
        addressing: Literal["inner", "block"] = "inner",
        mlp_ratio: int = 0,
        learned_positions: int = 0,
        norm: NormKind = "rms",
        norm_eps: float = 1e-5,
        tied: bool = True,
        std: float = 0.02,
        embedding_std: float = 0.02,
        freeze_embeddings: bool = False,
        seed: int = 0,
    ) -> None:
        require_positive(vocab=vocab, width=width, depth=depth)

        def mixer() -> MambaMixer:
            return MambaMixer(
                width,
                state_size=state_size,
                conv=conv,
                expand=expand,
                inner=inner,
                dt_rank=dt_rank,
                dt_min=dt_min,
                dt_max=dt_max,
                addressing=addressing,
            )

        def mlp() -> MLP | None:
            return MLP(width, mlp_ratio * width) if mlp_ratio else None

        super().__init__(
            vocab=vocab,
            width=width,
            blocks=[Block(width, mixer(), mlp(), norm_kind=norm, norm_eps=norm_eps) for _ in range(depth)],
            context=learned_positions or None,
            table="learned" if learned_positions else "none",
            norm_kind=norm,
            norm_eps=norm_eps,
            tied=tied,
            std=std,
            embedding_std=embedding_std,
            freeze_embeddings=freeze_embeddings,
            seed=seed,
        )
