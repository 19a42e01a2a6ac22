"""Which models are trained on which facts, at three scales.

A *pair* is (A, B); some pairs are trained in both directions, the held ones in one. A *triple* is (A, B, C); some are
trained with their conclusion A ~> C, the held ones with the links A -> B and B -> C only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Scale, UsageError, setting

HERE = "elegans.studies.reversal_curse.experiments"


@dataclass(frozen=True, kw_only=True)
class TheoryConfig(Config):
    """What the two models of the theory share. They are trained by full-batch gradient descent."""

    n_pairs: int = setting(30, "pairs or triples (prototype scale; the theorems hold for any number)", at_least=2)
    n_both: int = setting(20, "pairs trained in both directions, or triples trained with their conclusion", at_least=1)
    symmetric: bool = setting(False, "tie each weight to its mirror image: the control that knows the reverse")
    steps: int = setting(400, "gradient steps", at_least=1)
    evaluations: int = setting(40, "measurements, evenly spaced over the steps", at_least=1)

    def check(self) -> None:
        """Some pairs must be held."""
        if self.n_both >= self.n_pairs:
            raise UsageError(f"n_both must be below n_pairs, got {self.n_both} of {self.n_pairs}")


@dataclass(frozen=True, kw_only=True)
class BilinearConfig(TheoryConfig):
    """Section 3: fixed random embeddings, one trained matrix."""

    width: int = setting(512, "embedding dimension d", at_least=1)
    init_std: float = setting(
        0.0, "standard deviation of the initial matrix; the theorem asks for a small one", at_least=0
    )
    lr: float = setting(20.0, "learning rate on the mean loss", above=0)


@dataclass(frozen=True, kw_only=True)
class OneLayerConfig(TheoryConfig):
    """Section 4: one attention layer in the weights Y (read-out) and Z (attention)."""

    task: Literal["reversal", "chain"] = setting("reversal", "pairs in two directions, or triples with a conclusion")
    steps: int = setting(600, "gradient steps", at_least=1)
    lr_Y: float = setting(1.0, "learning rate of Y on the loss summed over facts", above=0)
    lr_Z: float = setting(0.1, "learning rate of Z on the loss summed over facts", above=0)


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(Config):
    """Multi-layer experiments: a decoder-only transformer from scratch, loss on the answer's tokens."""

    model: str = setting("gpt", "a registered model, or 'package.module:Class'")
    width: int = setting(64, "residual stream; paper: 768", at_least=1)
    depth: int = setting(2, "layers; paper: 12, 24, 48", at_least=1)
    heads: int = setting(4, "attention heads; paper: 12", at_least=1)
    positions: Literal["learned", "rotary", "none"] = setting("learned", "position encoding; paper: all three")
    tied: bool = setting(False, "share token table and unembedding; the released runs do not, in effect")
    freeze_embeddings: bool = setting(False, "leave the input tables as they start")
    dropout: float = setting(0.0, "dropout rate; released code: 0.1", at_least=0, at_most=0.9)
    steps: int = setting(600, "updates", at_least=1)
    batch_size: int = setting(64, "items per update; paper: 64", at_least=1)
    lr: float = setting(1e-3, "AdamW's learning rate; released code: 0.01", above=0)
    weight_decay: float = setting(0.01, "AdamW's weight decay of matrices; released code: 0.01", at_least=0)
    evaluations: int = setting(12, "measurements, evenly spaced over the steps", at_least=1)

    def check(self) -> None:
        """Heads divide the width."""
        if self.width % self.heads:
            raise UsageError(f"width must be divisible by heads, got width {self.width} and heads {self.heads}")

    def asks_of_model(self) -> frozenset[str]:
        """The conditions that this arm changes."""
        usual = TransformerConfig()
        conditions = ("positions", "tied", "freeze_embeddings")
        return frozenset(name for name in conditions if getattr(self, name) != getattr(usual, name))


@dataclass(frozen=True, kw_only=True)
class ReversalConfig(TransformerConfig):
    """Pairs of random words; 70 % trained in both directions."""

    n_symbols: int = setting(50, "tokens in each of the two alphabets; paper: 200", at_least=2)
    n_pairs: int = setting(50, "pairs of words; paper: 200 to 400", at_least=2)
    n_both: int = setting(35, "pairs trained in both directions; paper: 70 %", at_least=1)
    word_size: int = setting(1, "tokens per word; paper: 1, 2, 3", at_least=1, at_most=8)
    add_reverse: bool = setting(False, "train the missing direction too: the control that must know it")
    identity: bool = setting(False, "train 'A = A' and 'B = B' as well (identity bridge, arXiv 2602.02470)")

    def check(self) -> None:
        """Some pairs must be held, and there must be enough words."""
        super().check()
        if self.n_both >= self.n_pairs:
            raise UsageError(f"n_both must be below n_pairs, got {self.n_both} of {self.n_pairs}")
        if self.n_pairs > self.n_symbols**self.word_size:
            words = self.n_symbols**self.word_size
            raise UsageError(f"n_pairs must be at most n_symbols ** word_size = {words}, got {self.n_pairs}")


@dataclass(frozen=True, kw_only=True)
class ChainConfig(TransformerConfig):
    """Triples of random words, or of related ones."""

    n_symbols: int = setting(50, "tokens in each of the three alphabets, or index tokens of related words", at_least=2)
    n_triples: int = setting(50, "triples", at_least=2)
    n_full: int = setting(35, "triples trained with their conclusion; paper: 70 %", at_least=1)
    related_tokens: bool = setting(
        False, "words (A, i), (B, i), (C, i) that share a token: the conclusion can be copied"
    )

    def check(self) -> None:
        """Some triples must be held, and there must be enough words."""
        super().check()
        if not self.n_full < self.n_triples <= self.n_symbols:
            raise UsageError(
                "sizes must be n_full < n_triples <= n_symbols, "
                f"got n_full={self.n_full}, n_triples={self.n_triples}, n_symbols={self.n_symbols}"
            )


@dataclass(frozen=True, kw_only=True)
class InContextConfig(TransformerConfig):
    """`x -> y <=> y <- x` in one sequence; the last token is scored."""

    n_x: int = setting(100, "x tokens; released code: 100", at_least=2)
    n_y: int = setting(10, "y tokens; released code: 10", at_least=2)
    n_train_y: int = setting(7, "y tokens trained with each x; released code: 7", at_least=1)

    def check(self) -> None:
        """Some y must be held for each x."""
        super().check()
        if self.n_train_y >= self.n_y:
            raise UsageError(f"n_train_y must be below n_y, got {self.n_train_y} of {self.n_y}")


# ------------------------------------------------------------------------------------------------ arms


def theory(widths: tuple[int, int, int], seeds_per_job: int, **sizes: Any) -> dict[str, Arm]:
    """The bilinear model at three widths and the one-layer model, each also with symmetric weights."""
    arms: dict[str, Arm] = {}
    for suffix, symmetric in (("", False), ("-symmetric", True)):
        for name, width in zip(("narrow", "medium", "wide"), widths, strict=True):
            config = BilinearConfig(width=width, symmetric=symmetric, **sizes)
            arms[f"bilinear-{name}{suffix}"] = Arm(f"{HERE}:bilinear", config, seeds_per_job=seeds_per_job)
        for task in ("reversal", "chain"):
            config = OneLayerConfig(task=task, symmetric=symmetric, **{"steps": 600, **sizes})
            arms[f"one-layer-{task}{suffix}"] = Arm(f"{HERE}:one_layer", config, seeds_per_job=seeds_per_job)
    return arms


def transformers(
    pairs: ReversalConfig,
    triples: ChainConfig,
    related: ChainConfig,
    in_context: InContextConfig,
    *,
    depths: tuple[int, int],
    words: Mapping[int, Mapping[str, Any]],
) -> dict[str, Arm]:
    """A reference transformer, a shallower and a deeper one, one change at a time, chains, and the controls."""
    cells: dict[str, Config] = {
        "gpt": pairs,
        "gpt-shallow": pairs.replace(depth=depths[0]),
        "gpt-deep": pairs.replace(depth=depths[1]),
        "gpt-tied": pairs.replace(tied=True),
        "gpt-frozen": pairs.replace(freeze_embeddings=True),
        "gpt-decay": pairs.replace(weight_decay=1.0),
        "gpt-rotary": pairs.replace(positions="rotary"),
        "gpt-no-positions": pairs.replace(positions="none"),
    }
    cells |= {f"gpt-words{size}": pairs.replace(word_size=size, **sizes) for size, sizes in words.items()}
    cells |= {
        "gpt-identity": pairs.replace(identity=True),
        "gpt-reverse-added": pairs.replace(add_reverse=True),
        "gpt-in-context": in_context,
        "gpt-chain": triples,
        "gpt-chain-related": related,
    }
    experiments = {ReversalConfig: "reversal", ChainConfig: "chain", InContextConfig: "in_context"}
    return {name: Arm(f"{HERE}:{experiments[type(config)]}", config) for name, config in cells.items()}


def smoke() -> dict[str, Arm]:
    """Seconds: proves the plumbing, judges nothing."""
    small: dict[str, Any] = {"width": 16, "heads": 2, "steps": 6, "evaluations": 2}
    pairs = ReversalConfig(n_symbols=8, n_pairs=8, n_both=5, **small)
    triples = ChainConfig(n_symbols=8, n_triples=8, n_full=5, **small)
    return theory((8, 16, 32), 8, n_pairs=6, n_both=4, steps=6, evaluations=2) | transformers(
        pairs,
        triples,
        triples.replace(related_tokens=True),
        InContextConfig(n_x=6, n_y=4, n_train_y=3, **small),
        depths=(1, 4),
        words={2: {}, 3: {}},
    )


def laptop() -> dict[str, Arm]:
    """Two CPU cores, under four minutes."""
    return theory((32, 128, 512), 8) | transformers(
        ReversalConfig(),
        ChainConfig(steps=500),
        ChainConfig(related_tokens=True, n_symbols=150, n_triples=150, n_full=100, steps=800),
        InContextConfig(n_x=30, steps=600),
        depths=(1, 4),
        words={2: {"n_pairs": 50}, 3: {"n_pairs": 50}},
    )


def paper() -> dict[str, Arm]:
    """The published sizes: 3000 epochs of batches of 64, for a GPU."""
    big: dict[str, Any] = {"width": 768, "depth": 24, "heads": 12, "dropout": 0.1, "lr": 0.01, "evaluations": 100}
    pairs = ReversalConfig(n_symbols=200, n_pairs=200, n_both=140, steps=18_000, **big)
    return theory((128, 512, 2048), 64) | transformers(
        pairs,
        ChainConfig(n_symbols=200, n_triples=200, n_full=140, steps=27_000, **big),
        ChainConfig(related_tokens=True, n_symbols=600, n_triples=550, n_full=500, steps=75_000, **big),
        InContextConfig(steps=33_000, **big),
        depths=(12, 48),
        words={
            2: {"n_pairs": 400, "n_both": 280, "steps": 36_000},
            3: {"n_pairs": 150, "n_both": 100, "steps": 12_000},
        },
    )


ARMS: dict[Scale, dict[str, Arm]] = {"smoke": smoke(), "laptop": laptop(), "paper": paper()}
