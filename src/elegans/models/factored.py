"""A decoder for a vocabulary of many words made of few facts.

Shapes: V words, K factors of a word at most, F factors, W words that are predicted, B batch, T positions, D width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from elegans.models.gpt import GPT


class SummedEmbedding(nn.Module):
    """The vector of a word is the sum of the vectors of its factors; factor 0 is nothing and adds nothing."""

    factors: Tensor

    def __init__(self, weight: nn.Parameter, factors: Int[Tensor, "V K"]) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("factors", factors, persistent=False)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The vectors of words."""
        factors = self.factors[tokens]
        summed = F.embedding_bag(factors.flatten(0, -2), self.weight, mode="sum", padding_idx=0)
        return summed.view(*tokens.shape, -1)


class Factored(GPT):
    r"""A `GPT` that reads V words made of F factors, :math:`x_w = \sum_k e_{f_k(w)}`, and predicts the first W of them.

    Each of the first W words is a factor of its own, with the same number, so the table of factors unembeds them.

    Args:
        vocab: number of words V.
        factors: [V, K] the factors of each word, 0 where it has fewer than K.
        outputs: W; logits have this many columns.
        seed: of the initial weights.
        config: of `GPT`, which must stay tied.

    Raises `ValueError` for factors of another number of words, or first words that are not factors of their own.
    """

    def __init__(
        self, *, vocab: int, factors: Sequence[Sequence[int]], outputs: int, seed: int = 0, **config: Any
    ) -> None:
        table = torch.tensor(factors)
        own = torch.zeros(outputs, table.shape[-1], dtype=torch.long)
        own[:, 0] = torch.arange(outputs)
        if len(table) != vocab or outputs > vocab or not torch.equal(table[:outputs], own):
            raise ValueError(
                f"need factors for each of {vocab} words, the first {outputs} of them factors of their own"
            )
        super().__init__(vocab=int(table.max()) + 1, seed=seed, **config)
        if self.unembedding is not None:
            raise ValueError("the words that are predicted share the table of factors; the model must be tied")
        self.vocab_size, self.outputs = vocab, outputs
        self.token_table = SummedEmbedding(self.token_table.weight, table)

    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The vectors of all words."""
        return self.token_table(torch.arange(self.vocab_size, device=self.token_table.weight.device)[None])[0]

    def output_embeddings(self) -> Float[Tensor, "W D"]:
        """The vectors of the words that are predicted."""
        return self.token_table.weight[: self.outputs]
