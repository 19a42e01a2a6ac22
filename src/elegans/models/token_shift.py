"""Token shift: each position also sees the input of the one before it.

Shapes: B batch, T positions, D width.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def token_shift(
    x: Float[Tensor, "B T D"], mixtures: Iterable[Float[Tensor, "... D"]], last: Float[Tensor, "B D"] | None = None
) -> list[Float[Tensor, "B T D"]]:
    """For each mu of `mixtures`, mu times the input plus 1 - mu times the input one position earlier.

    `last` is the input before the first position, zero where None.
    """
    first = torch.zeros_like(x[:, :1]) if last is None else last[:, None]
    before = torch.cat([first, x[:, :-1]], dim=1)
    change = x - before
    return [torch.addcmul(before, change, mu) for mu in mixtures]


class TokenShift(nn.Module):
    r"""A learned mixture of the present and the previous input, per channel (Peng et al. 2023, arXiv 2305.13048).

    .. math:: x^p_t = \mu_p \odot x_t + (1 - \mu_p) \odot x_{t-1}, \qquad x_{-1} = 0

    for each p of `names`. The state is the last input, [B, D].

    Args:
        width: D.
        names: of what the mixtures are for, such as ``("q", "k", "v")``.
    """

    def __init__(self, width: int, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.mix = nn.ParameterDict({name: torch.empty(width) for name in names})

    def reset_parameters(self) -> None:
        """Channel c starts at mu = c / D, as in the first layer of RWKV-4: from the previous input to the present."""
        for mu in self.mix.values():
            with torch.no_grad():
                mu.copy_(torch.arange(len(mu)) / len(mu))

    def forward(self, x: Float[Tensor, "B T D"], last: Float[Tensor, "B D"] | None = None) -> list[Tensor]:
        """The mixtures in the order of `names`, [B, T, D] each; `last` is the input before the first, None for zero."""
        return token_shift(x, (self.mix[name] for name in self.names), last)
