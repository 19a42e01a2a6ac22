"""A decoder whose layers mix tokens by attention of any kind, by a recurrence, or by turns."""

from collections.abc import Sequence
from typing import Literal, get_args

from elegans.models.attention import SelfAttention
from elegans.models.base import require_positive
from elegans.models.block import MLP, Block, Mixer, NormKind
from elegans.models.decoder import Decoder
from elegans.models.kernel_attention import LinearAttention, ReLUAttention
from elegans.models.mamba import MambaMixer
from elegans.models.positions import POSITIONS, ALiBi, HardALiBi, Positions, Rotary
from elegans.models.rwkv import TimeMixing
from elegans.models.sinks import SinkKind, make_sink

MixerKind = Literal["softmax", "linear", "relu", "mamba", "rwkv4"]
MIXERS: tuple[MixerKind, ...] = get_args(MixerKind)


class GPT(Decoder):
    r"""Decoder-only pre-norm transformer (Radford et al. 2019), with any mixer in any layer.

    Without changes it is GPT-2's architecture: softmax attention, learned positions, GELU. The defaults start as GPT-2
    does (see `Decoder`).

    Args:
        vocab: number of tokens V.
        width: D, divisible by `heads` (with rotary positions into even parts).
        depth: number of blocks.
        heads: attention heads per block.
        context: the longest sequence, in tokens, whatever the positions are.
        positions: ``learned`` or ``sinusoidal`` table added to the input, ``rotary`` turning of queries and keys, a
            bias on the scores by distance (``alibi``, ``hard-alibi``), or ``none`` (the causal mask alone tells
            positions apart). Mixers that have no scores ignore ``rotary``, ``alibi`` and ``hard-alibi``.
        mixers: what mixes tokens: one kind for all layers, or one per layer by turns. ``softmax``,
            ``linear``, ``relu``, ``mamba``, ``rwkv4`` (its time mixing).
        features: of linear attention: ``elu`` (elu + 1), or ``positive`` random features.
        sink: what a softmax head may read of nothing: ``none``, ``stablemask`` (the endless form, which can be cached),
            ``stablemask-finite`` (the form of training), ``learned``, ``softmax1``.
        gamma: decay of StableMask's pseudo scores: ``alibi`` slopes, one number, or one per head.
        shift: mix each input of softmax attention with that of the position before, as RWKV does.
        distinct: blocks with weights of their own; further ones share theirs, in turn. None is all.
        tied: unembed with the token table. The released code of arXiv 2405.04669 trains untied, as its source reads.
        mlp: ``gelu`` or ``swiglu``.
        mlp_ratio: hidden width of the MLP over `width`.
        mlp_hidden: hidden width of the MLP itself, in place of `mlp_ratio`.
        key_heads: heads of keys and values, fewer than `heads` where several queries share one; None is `heads`.
        norm: ``layer`` or ``rms``.
        norm_eps: added to the variance.
        bias: whether projections, MLPs and norms have one.
        rotary_base: the base of the rotary angles.
        embedding_norm: normalize the input of the first block.
        std: initial standard deviation of the blocks' matrices. GPT-2's 0.02 is made for width 768 and more; at width 64,
            0.08 learns several times faster.
        embedding_std: initial standard deviation of the token table and the learned position table.
        state_size: numbers per channel in the state of a ``mamba`` layer.
        dropout: rate on the input, in attention, and on what mixers and MLPs add; active in training mode only. It
            draws from torch's global generator, the only thing here that does.
        freeze_embeddings: leave the tables of the input as they start (see `Decoder`).
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
        positions: Positions = "learned",
        mixers: MixerKind | Sequence[MixerKind] = "softmax",
        features: Literal["elu", "positive"] = "elu",
        sink: SinkKind = "none",
        gamma: Literal["alibi"] | float | Sequence[float] = "alibi",
        shift: bool = False,
        distinct: int | None = None,
        tied: bool = True,
        mlp: Literal["gelu", "swiglu"] = "gelu",
        mlp_ratio: int = 4,
        mlp_hidden: int | None = None,
        key_heads: int | None = None,
        norm: NormKind = "layer",
        norm_eps: float = 1e-5,
        bias: bool = True,
        rotary_base: float = 10000.0,
        embedding_norm: bool = False,
        std: float = 0.02,
        embedding_std: float = 0.02,
        state_size: int = 16,
        dropout: float = 0.0,
        freeze_embeddings: bool = False,
        seed: int = 0,
    ) -> None:
        hidden = mlp_ratio * width if mlp_hidden is None else mlp_hidden
        require_positive(vocab=vocab, width=width, depth=depth, heads=heads, context=context)
        distinct = depth if distinct is None else distinct
        require_positive(
            mlp_ratio=mlp_ratio,
            mlp_hidden=hidden,
            key_heads=key_heads or heads,
            state_size=state_size,
            distinct=distinct,
        )
        if positions not in POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, got {positions!r}")
        if mlp not in ("gelu", "swiglu"):
            raise ValueError(f"mlp must be 'gelu' or 'swiglu', got {mlp!r}")
        if norm not in ("layer", "rms"):
            raise ValueError(f"norm must be 'layer' or 'rms', got {norm!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        kinds = (mixers,) if isinstance(mixers, str) else tuple(mixers)
        for kind in kinds or ("",):
            if kind not in MIXERS:
                raise ValueError(f"mixers must be of {', '.join(MIXERS)}, got {kind!r}")
        if distinct > depth:
            raise ValueError(f"distinct must be at most the depth, {depth}, got {distinct}")

        def rotary() -> Rotary | None:
            return Rotary(width // heads, context, rotary_base) if positions == "rotary" else None

        def mixer(kind: MixerKind, layer: int) -> Mixer:
            if kind == "mamba":
                return MambaMixer(width, state_size=state_size)
            if kind == "rwkv4":
                return TimeMixing(width, layer=layer, depth=depth)
            if kind == "linear":
                return LinearAttention(width, heads, features=features, bias=bias, dropout=dropout)
            if kind == "relu":
                return ReLUAttention(width, heads, rotary=rotary(), bias=bias, dropout=dropout)
            distance = {"alibi": ALiBi, "hard-alibi": HardALiBi}.get(positions)
            return SelfAttention(
                width,
                heads,
                rotary=rotary(),
                distance=distance(heads) if distance else None,
                sink=make_sink(sink, heads, gamma),
                key_heads=key_heads,
                bias=bias,
                dropout=dropout,
                shift=shift,
            )

        blocks = [
            Block(
                width,
                mixer(kinds[layer % len(kinds)], layer),
                MLP(width, hidden, kind=mlp, bias=bias, dropout=dropout),
                norm_kind=norm,
                bias=bias,
                norm_eps=norm_eps,
            )
            for layer in range(distinct)
        ]
        super().__init__(
            vocab=vocab,
            width=width,
            blocks=blocks,
            depth=depth,
            context=context,
            table=positions if positions in ("learned", "sinusoidal") else "none",
            norm_kind=norm,
            norm_bias=bias,
            norm_eps=norm_eps,
            embedding_norm=embedding_norm,
            tied=tied,
            std=std,
            embedding_std=embedding_std,
            dropout=dropout,
            freeze_embeddings=freeze_embeddings,
            seed=seed,
        )
