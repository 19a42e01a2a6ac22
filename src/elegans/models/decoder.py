"""What all decoders share: tokens in, a stack of blocks, logits out.

Shapes: B batch, T positions, D width, V vocabulary.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.models.base import SequenceModel, Sites
from elegans.models.block import Block, NormKind, dropped, embedding, linear, norm
from elegans.models.positions import sinusoidal_table
from elegans.ops.rng import torch_rng


@dataclass(frozen=True)
class DecoderState:
    """How many tokens were fed, and the state of each block's mixer."""

    length: int
    mixers: tuple[Any, ...]


class Decoder(SequenceModel):
    r"""Embedding, blocks, norm, unembedding: :math:`\mathrm{logits} = W_u \, \mathrm{norm}(x_L)`.

    Subclasses choose the blocks. Weights start as N(0, std^2), those that write to the residual stream as
    N(0, std^2 / (2 depth)), biases as 0; a mixer may know better. All draws have their own address, so `seed` alone
    fixes the weights and a deeper model starts with the token and position tables of a shallower one.

    Args:
        vocab: number of tokens V.
        width: D.
        blocks: applied in this order, again and again up to `depth` applications (arXiv 1807.03819).
        depth: how many blocks are applied; None is each once.
        context: the longest sequence, in tokens; None is any length.
        table: positions added to the input: ``learned``, ``sinusoidal`` or ``none``.
        norm_kind, norm_bias, norm_eps: the norm before the unembedding.
        embedding_norm: normalize the input of the first block.
        tied: unembed with the token table.
        std: initial standard deviation of the blocks' matrices; 0.02 is GPT-2's, made for width 768 and more.
        embedding_std: initial standard deviation of the token table and the learned position table.
        dropout: rate on the input.
        freeze_embeddings: leave the token table and the position table as they start. When `tied` the token table is
            also the unembedding, which is then frozen with it; otherwise the unembedding trains.
        seed: of the initial weights.
    """

    sinusoids: Tensor | None

    def __init__(
        self,
        *,
        vocab: int,
        width: int,
        blocks: Sequence[Block],
        depth: int | None = None,
        context: int | None,
        table: str = "none",
        norm_kind: NormKind = "layer",
        norm_bias: bool = True,
        norm_eps: float = 1e-5,
        embedding_norm: bool = False,
        tied: bool = True,
        std: float = 0.02,
        embedding_std: float = 0.02,
        dropout: float = 0.0,
        freeze_embeddings: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.vocab_size, self.context = vocab, context
        self.std, self.embedding_std = std, embedding_std
        self.at = Sites("embed", "final")
        self.token_table = embedding(vocab, width)
        self.position_table = embedding(context, width) if table == "learned" and context else None
        sinusoids = sinusoidal_table(context, width) if table == "sinusoidal" and context else None
        self.register_buffer("sinusoids", sinusoids, persistent=False)
        self.embedding_norm = norm(norm_kind, width, bias=norm_bias, eps=norm_eps) if embedding_norm else None
        self.drop = dropped(dropout)
        twins = [_twin(blocks[level % len(blocks)]) for level in range(len(blocks), depth or len(blocks))]
        self.blocks = nn.ModuleList([*blocks, *twins])
        self.distinct = len(blocks)
        if twins:
            self.register_state_dict_post_hook(_drop_twins)
            self.register_load_state_dict_pre_hook(_restore_twins)
        self.norm = norm(norm_kind, width, bias=norm_bias, eps=norm_eps)
        self.unembedding = None if tied else linear(width, vocab, bias=False)
        self.reset_parameters(seed)
        if freeze_embeddings:
            for table_ in (self.token_table, self.position_table):
                if table_ is not None:
                    table_.requires_grad_(False)

    def reset_parameters(self, seed: int) -> None:
        """Draw all weights anew."""
        tables = {"tokens": self.token_table, "positions": self.position_table, "unembedding": self.unembedding}
        for name, table in tables.items():
            if table is not None:
                std = 0.02 if name == "unembedding" else self.embedding_std
                nn.init.normal_(table.weight, std=std, generator=torch_rng("decoder", seed, name))
        residual_std = self.std / math.sqrt(2 * len(self.blocks))
        for level, block in enumerate(self._blocks()[: self.distinct]):
            block.reset_parameters(torch_rng("decoder", seed, "block", level), residual_std, self.std)
        for part in (self.norm, self.embedding_norm):
            if part is not None:
                part.reset_parameters()

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # pyright: ignore[reportReturnType]

    def _embed(self, tokens: Int[Tensor, "B T"], start: int) -> Float[Tensor, "B T D"]:
        end = start + tokens.shape[-1]
        if self.context is not None and end > self.context:
            raise ValueError(f"the sequence has {end} tokens, but the context of this model is {self.context}")
        x = self.token_table(tokens)
        if self.position_table is not None:
            x = x + self.position_table.weight[start:end]
        if self.sinusoids is not None:
            x = x + self.sinusoids[start:end]
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
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
        """No tokens seen."""
        return DecoderState(0, tuple(block.mixer.init_state(batch_size) for block in self._blocks()))

    def extend(self, tokens: Int[Tensor, "B T"], state: DecoderState) -> tuple[Float[Tensor, "B T V"], DecoderState]:
        """Logits after each of T more tokens per sequence, and the new state."""
        x = self._embed(tokens, start=state.length)
        mixers = []
        for block, mixer in zip(self._blocks(), state.mixers, strict=True):
            x, mixer = block.extend(x, mixer)
            mixers.append(mixer)
        return self._unembed(x), DecoderState(state.length + tokens.shape[1], tuple(mixers))

    def state_bytes(self, num_tokens: int) -> int:
        """Bytes of all mixers' states of one sequence after `num_tokens` tokens."""
        return sum(block.mixer.state_bytes(num_tokens) for block in self._blocks())

    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The token table."""
        return self.token_table.weight

    def output_embeddings(self) -> Float[Tensor, "V D"]:
        """The rows that the last layer's output is compared with; the token table when tied."""
        return self.token_table.weight if self.unembedding is None else self.unembedding.weight


# ------------------------------------------------------------------------------------------------ shared weights


def _twin(block: Block) -> Block:
    """A block with the same parameters and its own sites."""
    shared: dict[int, Tensor] = {id(p): p for p in block.parameters()}
    return copy.deepcopy(block, shared)


def _original(name: str, prefix: str, distinct: int) -> str | None:
    """The key under which the tensor of a twin is stored, None if `name` is no twin's."""
    head = f"{prefix}blocks."
    level, _, rest = name.removeprefix(head).partition(".")
    return f"{head}{int(level) % distinct}.{rest}" if name.startswith(head) and int(level) >= distinct else None


def _drop_twins(model: Decoder, state: dict[str, Tensor], prefix: str, local_metadata: Any) -> None:
    """Store every tensor once."""
    for name in list(state):
        if _original(name, prefix, model.distinct):
            del state[name]


def _restore_twins(model: Decoder, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Give the twins what was stored once."""
    for name, _tensor in [*model.named_parameters(remove_duplicate=False)]:
        source = _original(prefix + name, prefix, model.distinct)
        if source in state:
            state[prefix + name] = state[source]
