"""The one-layer transformer of training-dynamics theory, in its reparametrized weights.

Shapes: B batch, T positions, V vocabulary.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.models.base import SequenceModel, Sites, require_positive


class OneLayerLM(SequenceModel):
    r"""Attention over one-hot tokens followed by a linear read-out.

    Zhu et al. 2024 (arXiv 2405.04669, Section 4), after Tian et al. 2023 (arXiv 2305.16380). With embeddings U,
    :math:`Y = U W_V^\top U^\top` and :math:`Z = U W_Q W_K^\top U^\top / \sqrt d` are trained directly, from zero:

    .. math::
        b_s = \mathrm{softmax}_{s \le t}(Z[x_t, x_s]), \qquad
        f_t = \frac{\sum_s b_s e_{x_s}}{\lVert \sum_s b_s e_{x_s} \rVert_2}, \qquad
        \mathrm{logits}_t = f_t^\top Y

    Position t is a query over itself and the tokens before it; there are no position encodings. With `symmetric`,
    :math:`Y = (S + S^\top) / 2` and S is the trained parameter. Nothing is random, so `seed` changes nothing.
    """

    def __init__(self, *, vocab: int, symmetric: bool = False, seed: int = 0) -> None:
        super().__init__()
        require_positive(vocab=vocab)
        self.vocab_size, self.symmetric = vocab, symmetric
        self.Y = nn.Parameter(torch.zeros(vocab, vocab))
        self.Z = nn.Parameter(torch.zeros(vocab, vocab))
        self.at = Sites("final")

    def attention(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T T"]:
        """Weight of each earlier position (last axis) for each query position; zero for later ones."""
        scores = self.Z[tokens[..., :, None], tokens[..., None, :]]
        length = tokens.shape[-1]
        later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        return scores.masked_fill(later, -math.inf).softmax(-1)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position; site ``final`` holds f, of width V."""
        one_hot = (tokens[..., None] == torch.arange(self.vocab_size, device=tokens.device)).to(self.Y.dtype)
        mixed = self.attention(tokens) @ one_hot
        final = self.at["final"](mixed / mixed.norm(dim=-1, keepdim=True))
        return final @ self.effective_weights()

    def init_state(self, batch_size: int) -> Int[Tensor, "B 0"]:
        """The tokens seen so far: none."""
        return torch.empty(batch_size, 0, dtype=torch.long, device=self.Y.device)

    def extend(
        self, tokens: Int[Tensor, "B T"], state: Int[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T V"], Int[Tensor, "B N"]]:
        """Logits after each of T more tokens per sequence, and the tokens seen."""
        seen = torch.cat([state, tokens], dim=1)
        return self(seen)[:, state.shape[1] :], seen

    def state_bytes(self, num_tokens: int) -> int:
        """Bytes of the tokens seen, as 64-bit integers."""
        return 8 * num_tokens

    def effective_weights(self) -> Float[Tensor, "V V"]:
        """Y, made symmetric where the model is: row x holds what token x adds to each logit at full attention."""
        return (self.Y + self.Y.mT) / 2 if self.symmetric else self.Y
