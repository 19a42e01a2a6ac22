"""The residual block that every decoder here is made of, whatever mixes its tokens.

Shapes: B batch, T positions, D width.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.nn.utils import skip_init

from elegans.models.base import Sites


def linear(width_in: int, width_out: int, *, bias: bool = True) -> nn.Linear:
    """An `nn.Linear` without values: its owner's `reset_parameters` gives them, and no global generator is used."""
    return cast(nn.Linear, skip_init(nn.Linear, width_in, width_out, bias=bias))


def embedding(num: int, width: int) -> nn.Embedding:
    """An `nn.Embedding` without values, as in `linear`."""
    return cast(nn.Embedding, skip_init(nn.Embedding, num, width))


def dropped(rate: float) -> nn.Module:
    """Dropout, or nothing at all where the rate is zero."""
    return nn.Dropout(rate) if rate else nn.Identity()


class Mixer(nn.Module):
    """What moves information between positions: attention, a recurrence, a convolution.

    `forward` is the parallel form; feeding positions one by one to `step` gives the same. States are not changed in
    place. A mixer with heads has the site ``heads``.
    """

    def __init__(self, *sites: str) -> None:
        super().__init__()
        self.at = Sites(*sites)

    def reset_parameters(self, generator: torch.Generator, residual_std: float) -> None:
        """Draw all weights anew; `residual_std` is for the projection back to the residual stream."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What each position reads from itself and those before it."""
        raise NotImplementedError

    def init_state(self, batch_size: int) -> Any:
        """The state before the first position."""
        raise NotImplementedError

    def step(self, x: Float[Tensor, "B 1 D"], state: Any) -> tuple[Float[Tensor, "B 1 D"], Any]:
        """`forward` for one more position, and the state after it."""
        raise NotImplementedError


class MLP(nn.Module):
    r"""Two layers: :math:`y = W_2 \, \mathrm{GELU}(W_1 x)`, GELU in GPT-2's tanh form."""

    def __init__(self, width: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = linear(width, hidden)
        self.down = linear(hidden, width)
        self.drop = dropped(dropout)

    def reset_parameters(self, generator: torch.Generator, residual_std: float) -> None:
        """Draw all weights anew."""
        nn.init.normal_(self.up.weight, std=0.02, generator=generator)
        nn.init.normal_(self.down.weight, std=residual_std, generator=generator)
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Each position by itself."""
        return self.drop(self.down(gelu(self.up(x), approximate="tanh")))


class Block(nn.Module):
    r"""Pre-norm residual block.

    .. math:: m = x + \mathrm{mixer}(\mathrm{LN}(x)), \qquad y = m + \mathrm{mlp}(\mathrm{LN}(m))
    """

    def __init__(self, width: int, mixer: Mixer, mlp: MLP) -> None:
        super().__init__()
        self.at = Sites("in", "mixer", "mid", "mlp", "out")
        self.norm_mixer = nn.LayerNorm(width)
        self.mixer = mixer
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = mlp

    def reset_parameters(self, generator: torch.Generator, residual_std: float) -> None:
        """Draw all weights anew; `residual_std` is for the projections back to the residual stream."""
        self.norm_mixer.reset_parameters()
        self.mixer.reset_parameters(generator, residual_std)
        self.norm_mlp.reset_parameters()
        self.mlp.reset_parameters(generator, residual_std)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """The residual stream after this block."""
        x = self.at["in"](x)
        return self._add(x, self.mixer(self.norm_mixer(x)))

    def step(self, x: Float[Tensor, "B 1 D"], state: Any) -> tuple[Float[Tensor, "B 1 D"], Any]:
        """`forward` for one more position, and the mixer's state after it."""
        x = self.at["in"](x)
        mixed, state = self.mixer.step(self.norm_mixer(x), state)
        return self._add(x, mixed), state

    def _add(self, x: Float[Tensor, "B T D"], mixed: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        mid = self.at["mid"](x + self.at["mixer"](mixed))
        return self.at["out"](mid + self.at["mlp"](self.mlp(self.norm_mlp(mid))))
