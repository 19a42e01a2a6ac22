"""A bilinear next-token model: the smallest one with a reversal curse.

Shapes: B batch, T positions, D width, V vocabulary.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.models.base import SequenceModel, Sites, require_positive
from elegans.ops.rng import torch_rng


class BilinearLM(SequenceModel):
    r"""Fixed random embeddings and one trained matrix (Zhu et al. 2024, arXiv 2405.04669, Section 3).

    .. math:: \mathrm{logit}(y \mid x) = u_x^\top \Theta u_y, \qquad u_v \sim N(0, I_d / d) \text{ fixed}

    Each position predicts from its own token alone. With `symmetric`, :math:`\Theta = (S + S^\top) / 2` and S is
    trained, so that :math:`w(x, y) = w(y, x)`.

    The entries of the trained matrix start as N(0, `init_std`^2); the default 0 starts it at zero, with logits all 0.
    """

    embeddings: Tensor

    def __init__(
        self, *, vocab: int, width: int, symmetric: bool = False, init_std: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        require_positive(vocab=vocab, width=width)
        if init_std < 0:
            raise ValueError(f"init_std must be at least 0, got {init_std}")
        self.vocab_size, self.symmetric, self.init_std = vocab, symmetric, init_std
        embeddings = torch.randn(vocab, width, generator=torch_rng("bilinear", seed, "embeddings")) / width**0.5
        self.register_buffer("embeddings", embeddings)
        self.theta = nn.Parameter(torch.empty(width, width))
        self.at = Sites("embed", "final")
        self.reset_parameters(torch_rng("bilinear", seed, "theta"))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the trained matrix anew; the embeddings are fixed."""
        nn.init.normal_(self.theta, std=self.init_std, generator=generator)

    def _theta(self) -> Float[Tensor, "D D"]:
        return (self.theta + self.theta.mT) / 2 if self.symmetric else self.theta

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position; site ``final`` holds :math:`u_x^T Theta`."""
        u = self.at["embed"](self.embeddings[tokens])
        return self.at["final"](u @ self._theta()) @ self.embeddings.mT

    def init_state(self, batch_size: int) -> None:
        """No state: the past does not matter."""

    def extend(self, tokens: Int[Tensor, "B T"], state: None) -> tuple[Float[Tensor, "B T V"], None]:
        """Logits after each of T more tokens per sequence."""
        return self(tokens), None

    def state_bytes(self, num_tokens: int) -> int:
        """None."""
        return 0

    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The fixed embeddings u."""
        return self.embeddings

    def effective_weights(self) -> Float[Tensor, "V V"]:
        r"""The logits of all tokens after each token: :math:`w(x, y) = u_x^\top \Theta u_y`."""
        return self.embeddings @ self._theta() @ self.embeddings.mT
