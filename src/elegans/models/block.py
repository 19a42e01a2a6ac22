"""The residual block that every decoder here is made of, whatever mixes its tokens.

Shapes: B batch, T positions, D width.
"""

from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, silu
from torch.nn.utils import skip_init

from elegans.models.base import Sites, num_bytes


def linear(width_in: int, width_out: int, *, bias: bool = True) -> nn.Linear:
    """An `nn.Linear` without values: its owner's `reset_parameters` gives them, and no global generator is used."""
    return cast(nn.Linear, skip_init(nn.Linear, width_in, width_out, bias=bias))


def embedding(num: int, width: int) -> nn.Embedding:
    """An `nn.Embedding` without values, as in `linear`."""
    return cast(nn.Embedding, skip_init(nn.Embedding, num, width))


def draw(layer: nn.Linear, std: float, generator: torch.Generator) -> None:
    """Weights from N(0, std^2), the bias zero."""
    nn.init.normal_(layer.weight, std=std, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def dropped(rate: float) -> nn.Module:
    """Dropout, or nothing at all where the rate is zero."""
    return nn.Dropout(rate) if rate else nn.Identity()


class Mixer(nn.Module):
    """What moves information between positions: attention, a recurrence, a convolution.

    `forward` is the parallel form. `extend` gives the same in portions: from a state over any number of further
    positions. States are nestings of tuples of tensors and are never changed in place. A mixer with heads has the site
    ``heads``.
    """

    undecayed: ClassVar[frozenset[str]] = frozenset()
    """Names of own parameters that weight decay must leave alone although they are no vectors."""

    def __init__(self, *sites: str) -> None:
        super().__init__()
        self.at = Sites(*sites)

    def reset_parameters(self, generator: torch.Generator, residual_std: float, std: float = 0.02) -> None:
        """Draw all weights anew, matrices with `std`, the projection back to the residual stream with `residual_std`."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What each position reads from itself and those before it."""
        return self.extend(x, self.init_state(len(x)))[0]

    def init_state(self, batch_size: int) -> Any:
        """The state before the first position."""
        raise NotImplementedError

    def extend(self, x: Float[Tensor, "B T D"], state: Any) -> tuple[Float[Tensor, "B T D"], Any]:
        """`forward` for T more positions, and the state after them."""
        raise NotImplementedError

    def state_bytes(self, num_tokens: int) -> int:
        """Bytes of the state of one sequence after `num_tokens` positions: by default the same for any number."""
        return num_bytes(self.init_state(1))


class MLP(nn.Module):
    r"""Two layers.

    ========== ==============================================================================================
    `kind`     y
    ========== ==============================================================================================
    ``gelu``   :math:`W_2 \, \mathrm{GELU}(W_1 x)`, GELU in GPT-2's tanh form
    ``swiglu`` :math:`W_2 (\mathrm{SiLU}(W_g x) \odot W_1 x)` (Shazeer 2020, arXiv 2002.05202)
    ========== ==============================================================================================
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        kind: Literal["gelu", "swiglu"] = "gelu",
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.up = linear(width, hidden, bias=bias)
        self.gate = linear(width, hidden, bias=bias) if kind == "swiglu" else None
        self.down = linear(hidden, width, bias=bias)
        self.drop = dropped(dropout)

    def reset_parameters(self, generator: torch.Generator, residual_std: float, std: float = 0.02) -> None:
        """Draw all weights anew."""
        draw(self.up, std, generator)
        draw(self.down, residual_std, generator)
        if self.gate is not None:
            draw(self.gate, std, generator)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Each position by itself."""
        up = self.up(x)
        hidden = gelu(up, approximate="tanh") if self.gate is None else silu(self.gate(x)) * up
        return self.drop(self.down(hidden))


NormKind = Literal["layer", "rms"]


def norm(kind: NormKind, width: int, *, bias: bool = True, eps: float = 1e-5) -> nn.LayerNorm | nn.RMSNorm:
    """A normalization of the last axis, as it starts: scale 1, shift 0."""
    return nn.LayerNorm(width, eps=eps, bias=bias) if kind == "layer" else nn.RMSNorm(width, eps=eps)


class Block(nn.Module):
    r"""Pre-norm residual block.

    .. math:: m = x + \mathrm{mixer}(\mathrm{norm}(x)), \qquad y = m + \mathrm{mlp}(\mathrm{norm}(m))

    Without an MLP it is the first half only.
    """

    def __init__(
        self,
        width: int,
        mixer: Mixer,
        mlp: MLP | None,
        *,
        norm_kind: NormKind = "layer",
        bias: bool = True,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.at = Sites("in", "mixer", *(("mid", "mlp") if mlp else ()), "out")
        self.norm_mixer = norm(norm_kind, width, bias=bias, eps=norm_eps)
        self.mixer = mixer
        self.norm_mlp = norm(norm_kind, width, bias=bias, eps=norm_eps) if mlp else None
        self.mlp = mlp

    def reset_parameters(self, generator: torch.Generator, residual_std: float, std: float = 0.02) -> None:
        """Draw all weights anew, matrices with `std`, projections back to the residual stream with `residual_std`."""
        for part in (self.norm_mixer, self.norm_mlp):
            if part is not None:
                part.reset_parameters()
        for part in (self.mixer, self.mlp):
            if part is not None:
                part.reset_parameters(generator, residual_std, std)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """The residual stream after this block."""
        x = self.at["in"](x)
        return self._add(x, self.mixer(self.norm_mixer(x)))

    def extend(self, x: Float[Tensor, "B T D"], state: Any) -> tuple[Float[Tensor, "B T D"], Any]:
        """`forward` for T more positions, and the mixer's state after them."""
        x = self.at["in"](x)
        mixed, state = self.mixer.extend(self.norm_mixer(x), state)
        return self._add(x, mixed), state

    def _add(self, x: Float[Tensor, "B T D"], mixed: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        x = x + self.at["mixer"](mixed)
        if self.mlp is not None and self.norm_mlp is not None:
            mid = self.at["mid"](x)
            x = mid + self.at["mlp"](self.mlp(self.norm_mlp(mid)))
        return self.at["out"](x)
