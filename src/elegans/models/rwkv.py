"""RWKV-4 (Peng et al. 2023, arXiv 2305.13048), a recurrent network that trains in parallel over positions.

Parameters have the names and shapes of the released code (BlinkDL/RWKV-LM, RWKV-v4), so its checkpoints load with
``load_state_dict(torch.load(path, weights_only=True))``. Where paper and code differ, this follows the code.

Shapes: B batch, T positions, D width, A attention width, V vocabulary.
"""

import math
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.models.base import SequenceModel, Sites, num_bytes, require_positive
from elegans.models.block import Mixer, embedding, linear
from elegans.models.token_shift import token_shift
from elegans.ops.rng import torch_rng
from elegans.ops.wkv import WKVState, wkv

EmbeddingInit = Literal["tiny", "normal", "unit"]
MatrixInit = Literal["official", "orthogonal"]
DecayInit = Literal["official", "uniform"]


class TimeMixingState(NamedTuple):
    """The last input, [B, D], and the sums of the WKV operator, [B, A] each."""

    last: Tensor
    sums: WKVState


class BlockState(NamedTuple):
    """What one block keeps of the past: 2 D + 3 A numbers per sequence."""

    att: TimeMixingState
    ffn: Tensor


class TimeMixing(Mixer):
    r"""The mixer of RWKV-4, with x^p the token shift of x by its own mu_p.

    .. math::
        r, k, v = W_r x^r, W_k x^k, W_v x^v, \qquad y = W_o (\sigma(r) \odot \mathrm{wkv}(k, v))

    In layer l of L, with :math:`s_c = c / D`, :math:`\rho = l / (L - 1)` (0 for L = 1) and :math:`\lambda = 1 - l / L`,
    channel c starts as

    ============================== =================================================
    ``time_decay``, log of rate    :math:`-5 + 8 (c / (A - 1))^{0.7 + 1.3 \rho}`
    ``time_first``, bonus          :math:`\ln 0.3 + ((c + 1) \bmod 3 - 1) / 2`
    ``time_mix_k``                 :math:`s^\lambda`
    ``time_mix_v``                 :math:`s^\lambda + 0.3 \rho`
    ``time_mix_r``                 :math:`s^{\lambda / 2}`
    ============================== =================================================

    and all matrices are zero but the orthogonal W_v.

    Args:
        width: D.
        layer, depth: l and L.
        attention_width: A, D where None.
        matrices: ``orthogonal`` starts none of them at zero.
        decay_init: ``uniform`` gives each layer the decays of the middle of the network, :math:`\rho = 1/2`.
    """

    undecayed = frozenset({"time_mix_k", "time_mix_v", "time_mix_r"})

    def __init__(
        self,
        width: int,
        *,
        layer: int,
        depth: int,
        attention_width: int | None = None,
        matrices: MatrixInit = "official",
        decay_init: DecayInit = "official",
    ) -> None:
        super().__init__()
        attention_width = attention_width or width
        self.layer, self.depth, self.decay_init = layer, depth, decay_init
        self.matrices: MatrixInit = matrices
        self.time_decay, self.time_first = (nn.Parameter(torch.empty(attention_width)) for _ in range(2))
        self.time_mix_k, self.time_mix_v, self.time_mix_r = (nn.Parameter(torch.empty(1, 1, width)) for _ in range(3))
        self.key, self.value, self.receptance = (linear(width, attention_width, bias=False) for _ in range(3))
        self.output = linear(attention_width, width, bias=False)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator, residual_std: float = 0.0, std: float = 0.02) -> None:
        """Draw all weights anew; the start of RWKV-4 has no use for standard deviations."""
        depth_fraction = self.layer / max(self.depth - 1, 1)
        width, remaining = self.time_mix_k.shape[-1], 1 - self.layer / self.depth
        channels, positions = torch.arange(len(self.time_decay)), torch.arange(width) / width
        power = 0.7 + 1.3 * (depth_fraction if self.decay_init == "official" else 0.5)
        self.time_decay.copy_(-5 + 8 * (channels / max(len(channels) - 1, 1)) ** power)
        self.time_first.copy_(math.log(0.3) + 0.5 * ((channels + 1) % 3 - 1))
        self.time_mix_k.copy_(positions**remaining)
        self.time_mix_v.copy_(positions**remaining + 0.3 * depth_fraction)
        self.time_mix_r.copy_(positions ** (0.5 * remaining))
        _orthogonal(self.value, generator)
        for layer in (self.key, self.receptance, self.output):
            _start(layer, self.matrices, generator)

    def init_state(self, batch_size: int) -> TimeMixingState:
        """Nothing seen."""
        last = self.time_mix_k.new_zeros(batch_size, self.time_mix_k.shape[-1])
        return TimeMixingState(last, WKVState.start(batch_size, self.time_decay.detach()))

    def extend(
        self, x: Float[Tensor, "B T D"], state: TimeMixingState
    ) -> tuple[Float[Tensor, "B T D"], TimeMixingState]:
        """What T more positions read from themselves and those before, and the state after them."""
        x_k, x_v, x_r = token_shift(x, (self.time_mix_k, self.time_mix_v, self.time_mix_r), state.last)
        averages, sums = wkv(self.time_decay, self.time_first, self.key(x_k), self.value(x_v), state.sums)
        y = self.output(self.receptance(x_r).sigmoid() * averages)
        return y, TimeMixingState(x[:, -1].clone(), sums)


class ChannelMixing(nn.Module):
    r"""The MLP of RWKV-4, which also sees the position before: :math:`\sigma(W_r x^r) W_v \max(W_k x^k, 0)^2`.

    Both mixtures start as ``time_mix_k`` of `TimeMixing`; W_k starts orthogonal, W_r and W_v zero.
    """

    undecayed = frozenset({"time_mix_k", "time_mix_r"})

    def __init__(self, width: int, hidden: int, *, layer: int, depth: int, matrices: MatrixInit = "official") -> None:
        super().__init__()
        self.layer, self.depth = layer, depth
        self.matrices: MatrixInit = matrices
        self.time_mix_k, self.time_mix_r = (nn.Parameter(torch.empty(1, 1, width)) for _ in range(2))
        self.key = linear(width, hidden, bias=False)
        self.receptance = linear(width, width, bias=False)
        self.value = linear(hidden, width, bias=False)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all weights anew."""
        width = self.time_mix_k.shape[-1]
        for mu in (self.time_mix_k, self.time_mix_r):
            mu.copy_((torch.arange(width) / width) ** (1 - self.layer / self.depth))
        _orthogonal(self.key, generator)
        for layer in (self.receptance, self.value):
            _start(layer, self.matrices, generator)

    def extend(
        self, x: Float[Tensor, "B T D"], last: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B D"]]:
        """The output at T more positions, and the last input, which is the state."""
        x_k, x_r = token_shift(x, (self.time_mix_k, self.time_mix_r), last)
        y = self.receptance(x_r).sigmoid() * self.value(self.key(x_k).relu().square())
        return y, x[:, -1].clone()


class RWKVBlock(nn.Module):
    """x + att(ln1(x)), then x + ffn(ln2(x)); the first block also owns ln0, which normalizes the embeddings."""

    def __init__(self, width: int, hidden: int, *, layer: int, depth: int, matrices: MatrixInit, **time_mixing: Any):
        super().__init__()
        self.at = Sites("in", "mixer", "mid", "mlp", "out")
        self.ln0 = nn.LayerNorm(width) if layer == 0 else None
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.att = TimeMixing(width, layer=layer, depth=depth, matrices=matrices, **time_mixing)
        self.ffn = ChannelMixing(width, hidden, layer=layer, depth=depth, matrices=matrices)

    def init_state(self, batch_size: int) -> BlockState:
        """Nothing seen."""
        att = self.att.init_state(batch_size)
        return BlockState(att, att.last)

    def extend(self, x: Float[Tensor, "B T D"], state: BlockState) -> tuple[Float[Tensor, "B T D"], BlockState]:
        """The residual stream after this block at T more positions, and the state after them."""
        x = self.at["in"](x)
        mixed, att = self.att.extend(self.ln1(x), state.att)
        x = self.at["mid"](x + self.at["mixer"](mixed))
        added, ffn = self.ffn.extend(self.ln2(x), state.ffn)
        return self.at["out"](x + self.at["mlp"](added)), BlockState(att, ffn)


class RWKV4(SequenceModel):
    r"""RWKV-4 as a language model: embeddings, ln0, blocks, ln_out, untied head.

    It has :math:`2 V D + 13 D^2 L + D (11 L + 4)` parameters (A = D, MLP 4 D) and a state of 5 L D numbers, whatever the
    length. All draws have their own address, so `seed` alone fixes the weights.

    Args:
        vocab: number of tokens V.
        width: D.
        depth: number of blocks L.
        attention_width: A, `width` where None.
        mlp_width: hidden width of the channel mixing, 4 D where None.
        l2_wrap: in training mode, add to the gradient of each position's largest logit 1e-4 / (B T) times that logit, as
            the released training code does. It acts on the backward pass alone and on all positions.
        embedding_init: ``tiny`` is uniform within 1e-4, as in the paper; ``normal`` is N(0, 0.02^2), ``unit`` N(0, 1).
        matrices: ``official`` starts those that write to the residual stream, and the gates and keys, at zero (see
            `TimeMixing`, `ChannelMixing`); ``orthogonal`` none.
        decay_init: ``official`` spreads the decays differently in each layer; ``uniform`` alike (see `TimeMixing`).
        freeze_embeddings: leave the token table as it starts.
        seed: of the initial weights.
    """

    def __init__(
        self,
        *,
        vocab: int,
        width: int = 64,
        depth: int = 2,
        attention_width: int | None = None,
        mlp_width: int | None = None,
        l2_wrap: bool = True,
        embedding_init: EmbeddingInit = "tiny",
        matrices: MatrixInit = "official",
        decay_init: DecayInit = "official",
        freeze_embeddings: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        attention_width = width if attention_width is None else attention_width
        mlp_width = 4 * width if mlp_width is None else mlp_width
        require_positive(vocab=vocab, width=width, depth=depth, attention_width=attention_width, mlp_width=mlp_width)
        choices = {"embedding_init": EmbeddingInit, "matrices": MatrixInit, "decay_init": DecayInit}
        for name, given in {"embedding_init": embedding_init, "matrices": matrices, "decay_init": decay_init}.items():
            if given not in get_args(choices[name]):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices[name]))}, got {given!r}")
        self.vocab_size, self.l2_wrap, self.embedding_init = vocab, l2_wrap, embedding_init
        self.at = Sites("embed", "final")
        self.emb = embedding(vocab, width)
        shared: dict[str, Any] = {"attention_width": attention_width, "matrices": matrices, "decay_init": decay_init}
        self.blocks = nn.ModuleList(
            [RWKVBlock(width, mlp_width, layer=layer, depth=depth, **shared) for layer in range(depth)]
        )
        self.ln_out = nn.LayerNorm(width)
        self.head = linear(width, vocab, bias=False)
        self.reset_parameters(seed)
        self.emb.weight.requires_grad_(not freeze_embeddings)

    def reset_parameters(self, seed: int) -> None:
        """Draw all weights anew."""
        generator = torch_rng("rwkv4", seed, "embedding")
        if self.embedding_init == "tiny":
            nn.init.uniform_(self.emb.weight, -1e-4, 1e-4, generator=generator)
        else:
            nn.init.normal_(self.emb.weight, std=0.02 if self.embedding_init == "normal" else 1.0, generator=generator)
        _orthogonal(self.head, torch_rng("rwkv4", seed, "head"), scale=0.5)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        for layer, block in enumerate(self._blocks()):
            block.att.reset_parameters(torch_rng("rwkv4", seed, "block", layer, "att"))
            block.ffn.reset_parameters(torch_rng("rwkv4", seed, "block", layer, "ffn"))

    def _blocks(self) -> list[RWKVBlock]:
        return list(self.blocks)  # pyright: ignore[reportReturnType]

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position."""
        logits = self.extend(tokens, self.init_state(len(tokens)))[0]
        return _L2Wrap.apply(logits) if self.l2_wrap and self.training else logits

    def init_state(self, batch_size: int) -> tuple[BlockState, ...]:
        """Nothing seen."""
        return tuple(block.init_state(batch_size) for block in self._blocks())

    def extend(
        self, tokens: Int[Tensor, "B T"], state: tuple[BlockState, ...]
    ) -> tuple[Float[Tensor, "B T V"], tuple[BlockState, ...]]:
        """Logits after each of T more tokens per sequence, and the new state."""
        blocks, states = self._blocks(), []
        assert blocks[0].ln0 is not None
        x = self.at["embed"](blocks[0].ln0(self.emb(tokens)))
        for block, old in zip(blocks, state, strict=True):
            x, new = block.extend(x, old)
            states.append(new)
        return self.head(self.at["final"](self.ln_out(x))), tuple(states)

    def state_bytes(self, num_tokens: int) -> int:
        """Bytes of the state of one sequence, the same after any number of tokens."""
        return num_bytes(self.init_state(1))

    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The token table."""
        return self.emb.weight

    def output_embeddings(self) -> Float[Tensor, "V D"]:
        """The rows that the last layer's output is compared with."""
        return self.head.weight

    def undecayed(self) -> set[str]:
        """All vectors, the mixtures of the token shift and the embeddings."""
        return super().undecayed() | {"emb.weight"}

    def lr_scales(self) -> dict[str, float]:
        """The layerwise learning rates of the released v4neo code, as factors: time_decay 2, time_first 3."""
        factors = {"time_decay": 2.0, "time_first": 3.0}
        leaves = {name: name.rpartition(".")[2] for name, _ in self.named_parameters()}
        return {name: factors[leaf] for name, leaf in leaves.items() if leaf in factors}


class _L2Wrap(torch.autograd.Function):
    """The identity; its gradient pulls the largest logit of each position towards zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor) -> Tensor:
        return logits.view_as(logits)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (logits,) = ctx.saved_tensors
        largest, token = logits.max(dim=-1, keepdim=True)
        return g.scatter_add(-1, token, largest * (1e-4 / logits.shape[:-1].numel()))


def _orthogonal(layer: nn.Linear, generator: torch.Generator, scale: float = 1.0) -> None:
    """Orthogonal rows or columns, with gain sqrt(rows / columns) where there are more rows."""
    rows, columns = layer.weight.shape
    nn.init.orthogonal_(layer.weight, gain=scale * math.sqrt(max(rows / columns, 1)), generator=generator)


def _start(layer: nn.Linear, matrices: MatrixInit, generator: torch.Generator) -> None:
    """The start of the matrices that the released code zeroes."""
    if matrices == "official":
        nn.init.zeros_(layer.weight)
    else:
        _orthogonal(layer, generator)
