"""A decoder-only transformer in the manner of GPT-2.

Shapes: B batch, T positions, D width, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.models.attention import Rotary, SelfAttention
from elegans.models.base import SequenceModel, Sites, require_positive
from elegans.models.block import MLP, Block, dropped, embedding, linear
from elegans.ops.rng import torch_rng


@dataclass(frozen=True)
class DecoderState:
    """How many tokens were fed, and the state of each block's mixer."""

    length: int
    mixers: tuple[Any, ...]


class GPT(SequenceModel):
    r"""Decoder-only pre-norm transformer (Radford et al. 2019): :math:`\mathrm{logits} = W_u \, \mathrm{LN}(x_L)`.

    Weights start as N(0, 0.02^2), those that write to the residual stream as N(0, 0.02^2 / (2 depth)), biases as 0.
    All draws have their own address, so `seed` alone fixes the weights and a deeper model starts with the token and
    position tables of a shallower one.

    Args:
        vocab: number of tokens V.
        width: D, divisible by `heads` (with rotary positions into even parts).
        depth: number of blocks.
        heads: attention heads per block.
        context: the longest sequence, in tokens, whatever the positions are.
        positions: ``learned`` table added to the input, ``rotary`` turning of queries and keys, or ``none`` (the causal
            mask alone tells positions apart).
        tied: unembed with the token table. The released code of arXiv 2405.04669 trains untied, as its source reads.
        mlp_ratio: hidden width of the MLP over `width`.
        dropout: rate on the input, in attention, and on what mixers and MLPs add; active in training mode only. It
            draws from torch's global generator, the only thing here that does.
        freeze_embeddings: leave the token table and the position table as they start. When `tied` the token table is
            also the unembedding, which is then frozen with it; otherwise the unembedding trains.
        seed: of the initial weights.
    """

    def __init__(
        self,
        *,
        vocab: int,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        context: int = 64,
        positions: Literal["learned", "rotary", "none"] = "learned",
        tied: bool = True,
        mlp_ratio: int = 4,
        dropout: float = 0.0,
        freeze_embeddings: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_positive(vocab=vocab, width=width, depth=depth, heads=heads, context=context, mlp_ratio=mlp_ratio)
        if positions not in ("learned", "rotary", "none"):
            raise ValueError(f"positions must be 'learned', 'rotary' or 'none', got {positions!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.vocab_size, self.context = vocab, context

        def block() -> Block:
            rotary = Rotary(width // heads, context) if positions == "rotary" else None
            mixer = SelfAttention(width, heads, rotary=rotary, dropout=dropout)
            return Block(width, mixer, MLP(width, mlp_ratio * width, dropout=dropout))

        self.at = Sites("embed", "final")
        self.token_table = embedding(vocab, width)
        self.position_table = embedding(context, width) if positions == "learned" else None
        self.drop = dropped(dropout)
        self.blocks = nn.ModuleList([block() for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.unembedding = None if tied else linear(width, vocab, bias=False)
        self.reset_parameters(seed)
        if freeze_embeddings:
            for table in (self.token_table, self.position_table):
                if table is not None:
                    table.requires_grad_(False)

    def reset_parameters(self, seed: int) -> None:
        """Draw all weights anew."""
        tables = {"tokens": self.token_table, "positions": self.position_table, "unembedding": self.unembedding}
        for name, table in tables.items():
            if table is not None:
                nn.init.normal_(table.weight, std=0.02, generator=torch_rng("decoder", seed, name))
        residual_std = 0.02 / math.sqrt(2 * len(self.blocks))
        for level, block in enumerate(self._blocks()):
            block.reset_parameters(torch_rng("decoder", seed, "block", level), residual_std)
        self.norm.reset_parameters()

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # pyright: ignore[reportReturnType]

    def _embed(self, tokens: Int[Tensor, "B T"], start: int) -> Float[Tensor, "B T D"]:
        end = start + tokens.shape[-1]
        if end > self.context:
            raise ValueError(f"the sequence has {end} tokens, but the context of this model is {self.context}")
        x = self.token_table(tokens)
        if self.position_table is not None:
            x = x + self.position_table.weight[start:end]
        return self.at["embed"](self.drop(x))

    def _unembed(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        return self.at["final"](self.norm(x)) @ self.output_embeddings().mT

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position. Raises `ValueError` for more tokens than the context."""
        x = self._embed(tokens, start=0)
        for block in self.blocks:
            x = block(x)
        return self._unembed(x)

    def init_state(self, batch_size: int) -> DecoderState:
        """No tokens seen, empty caches."""
        return DecoderState(0, tuple(block.mixer.init_state(batch_size) for block in self._blocks()))

    def step(self, tokens: Int[Tensor, " B"], state: DecoderState) -> tuple[Float[Tensor, "B V"], DecoderState]:
        """Logits after one more token per sequence, and the new state."""
        x = self._embed(tokens[:, None], start=state.length)
        mixers = []
        for block, mixer in zip(self._blocks(), state.mixers, strict=True):
            x, mixer = block.step(x, mixer)
            mixers.append(mixer)
        return self._unembed(x)[:, 0], DecoderState(state.length + 1, tuple(mixers))

    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The token table."""
        return self.token_table.weight

    def output_embeddings(self) -> Float[Tensor, "V D"]:
        """The rows that the last layer's output is compared with; the token table when tied."""
        return self.token_table.weight if self.unembedding is None else self.unembedding.weight
