"""Which mask and which positions, at three scales.

*Causal* is plain causal attention, whose weights sum to 1. *StableMask* gives part of each row to pseudo scores that fall
with the column, so that a row keeps the more the later it stands. Three controls break the sum, or the symmetry of
positions, without any decay: a *learned sink* (one trained logit per head), *softmax1* (a fixed logit of 0) and a token
that marks the beginning of the sequence (*BOS*).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Needs, Scale, UsageError, setting

HERE = "elegans.studies.stablemask.experiments"
TUNING_SEED = 100

# ------------------------------------------------------------------------------------------------ without training


@dataclass(frozen=True, kw_only=True)
class FormsConfig(Config):
    """StableMask's two forms, finite and endless, on random or constant scores in float64."""

    batch_size: int = setting(2, "sequences", at_least=1)
    length: int = setting(64, "positions", at_least=2)
    heads: int = setting(
        4, "attention heads; head h decays at the rate 2^(-8 h / heads) of the released code", at_least=1
    )
    head_width: int = setting(16, "numbers per head", at_least=1)


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(Config):
    """Untrained transformers of every mask read a sequence and its first half."""

    width: int = setting(64, "residual stream", at_least=1)
    depth: int = setting(2, "layers", at_least=1)
    heads: int = setting(4, "attention heads", at_least=1)
    vocab: int = setting(64, "tokens", at_least=2)
    batch_size: int = setting(4, "sequences", at_least=1)
    length: int = setting(128, "positions of the whole sequence; the prefix is its first half", at_least=2)


@dataclass(frozen=True, kw_only=True)
class CostConfig(Config):
    """Time of one attention, forward and backward, measured turn by turn in one process."""

    lengths: tuple[int, ...] = setting((256, 512, 1024), "positions", at_least=2)
    num_tokens: int = setting(1024, "tokens per call: sequences times positions", at_least=2)
    heads: int = setting(8, "attention heads", at_least=1)
    head_width: int = setting(32, "numbers per head", at_least=1)
    rounds: int = setting(9, "measurements of each form; medians of their ratios are reported", at_least=1)

    def check(self) -> None:
        """A sequence fits into a call."""
        if max(self.lengths, default=0) > self.num_tokens or not self.lengths:
            raise UsageError(f"lengths must be up to num_tokens = {self.num_tokens}, got {self.lengths}")


# ------------------------------------------------------------------------------------------------ trained decoders


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(Config):
    """A decoder in the style of the released code: pre-norm RMSNorm, no biases, untied head.

    AdamW with betas 0.9 and 0.98, gradients clipped to norm 1, the rate falling along a cosine to a tenth of its peak.
    """

    model: str = setting("gpt", "a registered model, or 'package.module:Class'")
    width: int = setting(64, "residual stream; released script: 768", at_least=1)
    depth: int = setting(2, "layers; released script: 12", at_least=1)
    heads: int = setting(4, "attention heads; released script: 12", at_least=1)
    mlp: Literal["gelu", "swiglu"] = setting("gelu", "activation of the MLP; released code: swiglu")
    mlp_hidden: int | None = setting(
        None, "hidden width of the MLP, none for 4 widths; released script: 2048", at_least=1
    )
    positions: Literal["rotary", "alibi", "none"] = setting("rotary", "relative positions, or none")
    sink: Literal["none", "stablemask", "stablemask-finite", "learned", "softmax1"] = setting(
        "none", "where a row's mass may go besides its keys; stablemask is the endless form"
    )
    steps: int = setting(400, "updates", at_least=1)
    batch_size: int = setting(32, "sequences per update", at_least=1)
    warmup: int = setting(40, "updates over which the learning rate rises; released script: 4000", at_least=0)
    weight_decay: float = setting(0.01, "AdamW's weight decay of matrices; released script: 0.1", at_least=0)

    def check(self) -> None:
        """Heads divide the width."""
        if self.width % self.heads:
            raise UsageError(f"width must be divisible by heads, got width {self.width} and heads {self.heads}")

    def asks_of_model(self) -> frozenset[str]:
        """The positions and the mask, where they are not the usual ones."""
        usual = {"positions": "rotary", "sink": "none"}
        return frozenset(name for name, value in usual.items() if getattr(self, name) != value)


@dataclass(frozen=True, kw_only=True)
class PositionConfig(DecoderConfig):
    """Constant input: say at each place its number, and in a second training whether it is even."""

    n_positions: int = setting(64, "places", at_least=2)
    bos: bool = setting(False, "begin with a token of its own")
    batch_size: int = setting(1, "sequences per update; all are the same", at_least=1)
    lr: float = setting(3e-3, "peak learning rate", above=0)


@dataclass(frozen=True, kw_only=True)
class BackcopyConfig(DecoderConfig):
    """Bigram-Backcopy (arXiv 2410.13835) in one head: looking back is of use after a trigger only."""

    depth: int = setting(1, "layers", at_least=1)
    heads: int = setting(1, "attention heads; one cannot leave the work to another", at_least=1)
    n_tokens: int = setting(48, "tokens, the one of the beginning and the triggers among them", at_least=4)
    n_triggers: int = setting(3, "tokens after which the token before comes again", at_least=1)
    length: int = setting(64, "positions", at_least=10)
    n_eval: int = setting(256, "test sequences", at_least=2)
    steps: int = setting(700, "updates", at_least=1)
    batch_size: int = setting(16, "sequences per update", at_least=1)
    lr: float = setting(1e-2, "peak learning rate", above=0)
    evaluations: int = setting(7, "measurements, evenly spaced over the steps", at_least=1)


@dataclass(frozen=True, kw_only=True)
class TextConfig(DecoderConfig):
    """Language modeling by characters; the learning rate is the one that the sweep of the same model chose."""

    text: str = setting("python-help", "the help texts of this Python, 'generated', or the path of a text file")
    contexts: tuple[int, ...] = setting(
        (64, 256, 1024),
        "test windows in characters, each a multiple of the one before; the first is trained",
        at_least=2,
    )
    ema: float = setting(0.997, "decay of the average of the weights, which is what is tested", above=0, at_most=0.9999)
    n_maps: int = setting(64, "test windows whose attention is mapped", at_least=1)

    def check(self) -> None:
        """The training context and a longer one, even and dividing the longest."""
        super().check()
        longest = max(self.contexts, default=0)
        if len(self.contexts) < 2 or any(c % 2 or longest % c for c in self.contexts):
            raise UsageError(f"contexts must be two or more even numbers that divide the longest, got {self.contexts}")


@dataclass(frozen=True, kw_only=True)
class RatesConfig(TextConfig):
    """The same training at several learning rates, at a seed that is not reported, scored on a split of its own."""

    rates: tuple[float, ...] = setting((6e-3, 1.2e-2, 2.4e-2), "peak learning rates; released script: 5e-4", above=0)


# ------------------------------------------------------------------------------------------------ arms

PLACES: Mapping[str, Mapping[str, Any]] = {
    "causal-rope": {},
    "causal-alibi": {"positions": "alibi"},
    "causal-nope": {"positions": "none"},
    "stablemask": {"sink": "stablemask"},
    "stablemask-finite": {"sink": "stablemask-finite"},
    "learned-sink": {"sink": "learned"},
    "softmax1": {"sink": "softmax1"},
    "bos": {"bos": True},
}
MASKS: Mapping[str, Mapping[str, Any]] = {
    "causal": {},
    "stablemask": {"sink": "stablemask"},
    "learned-sink": {"sink": "learned"},
}
TEXTS: Mapping[str, Mapping[str, Any]] = {
    "rope-causal": {},
    "rope-stablemask": {"sink": "stablemask"},
    "alibi-causal": {"positions": "alibi"},
    "alibi-stablemask": {"positions": "alibi", "sink": "stablemask"},
    "alibi-learned-sink": {"positions": "alibi", "sink": "learned"},
}


def arms(
    forms: FormsConfig,
    prefix: PrefixConfig,
    cost: CostConfig,
    place: PositionConfig,
    backcopy: BackcopyConfig,
    text: RatesConfig,
) -> dict[str, Arm]:
    """What needs no training, the two small tasks, and the text models, each after a sweep of its learning rate."""
    reported = TextConfig(**{name: value for name, value in vars(text).items() if name != "rates"})
    return (
        {
            "exactness": Arm(f"{HERE}:exactness", forms),
            "row-mass": Arm(f"{HERE}:row_masses", forms),
            "prefix": Arm(f"{HERE}:prefix", prefix),
            "cost": Arm(f"{HERE}:cost", cost),
        }
        | {f"position-{name}": Arm(f"{HERE}:position", place.replace(**change)) for name, change in PLACES.items()}
        | {f"backcopy-{name}": Arm(f"{HERE}:backcopy", backcopy.replace(**change)) for name, change in MASKS.items()}
        | {
            f"rates-{name}": Arm(f"{HERE}:sweep", text.replace(**change), seed=TUNING_SEED)
            for name, change in TEXTS.items()
        }
        | {
            f"text-{name}": Arm(f"{HERE}:text", reported.replace(**change), {"rates": Needs(f"rates-{name}")})
            for name, change in TEXTS.items()
        }
    )


def smoke() -> dict[str, Arm]:
    """Seconds: proves the plumbing, judges nothing."""
    small: dict[str, Any] = {"width": 16, "steps": 3}
    return arms(
        FormsConfig(length=8),
        PrefixConfig(width=16, length=8),
        CostConfig(lengths=(16,), num_tokens=16, heads=2, head_width=8, rounds=2),
        PositionConfig(n_positions=8, **small),
        BackcopyConfig(length=16, n_eval=8, evaluations=2, **small),
        RatesConfig(contexts=(16, 64), batch_size=4, rates=(3e-3, 1.2e-2), n_maps=2, **small),
    )


def laptop() -> dict[str, Arm]:
    """Two CPU cores, about eight minutes for five seeds."""
    return arms(FormsConfig(), PrefixConfig(), CostConfig(), PositionConfig(), BackcopyConfig(), RatesConfig())


def paper() -> dict[str, Arm]:
    """Text at the size of the released script; the small tasks longer. For a GPU, and a text of your own."""
    size: dict[str, Any] = {"width": 768, "depth": 12, "heads": 12, "mlp": "swiglu", "mlp_hidden": 2048}
    return arms(
        FormsConfig(length=512, heads=12, head_width=64),
        PrefixConfig(width=768, depth=12, heads=12, vocab=50_257, length=1024),
        CostConfig(lengths=(512, 1024, 2048, 4096), num_tokens=16_384, heads=12, head_width=64),
        PositionConfig(n_positions=512, width=256, depth=4, heads=8, steps=4000, lr=1e-3),
        BackcopyConfig(length=256, n_eval=1024, steps=20_000, batch_size=64),
        RatesConfig(
            contexts=(512, 2048, 8192),
            steps=200_000,
            warmup=4000,
            weight_decay=0.1,
            ema=0.999,
            rates=(2.5e-4, 5e-4, 1e-3),
            **size,
        ),
    )


ARMS: dict[Scale, dict[str, Arm]] = {"smoke": smoke(), "laptop": laptop(), "paper": paper()}
