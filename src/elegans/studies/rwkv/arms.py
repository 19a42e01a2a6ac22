"""Which networks are trained on what, at three scales.

RWKV-4 is compared with two transformers of its size: a plain one with rotary positions, and one whose attention has
RWKV's token shift (*shift attention*). The latter isolates state against attention. On four worlds:

- *topics*: documents with a hidden topic, local statistics and facts to remember, whose Bayes loss is known exactly;
- *markov*: a chain of order 1, where only the start matters;
- *recall*: pairs of keys and values, then all keys again (multi-query associative recall);
- *order*: pairs and one question, before or after them.

Peak learning rates are chosen by sweeps (arms ``sweep-...``) at one seed that is never reported, on a split of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Needs, Scale, UsageError, setting

HERE = "elegans.studies.rwkv.experiments"
TUNING_SEED = 100


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Config):
    """A network trained from scratch with AdamW (betas 0.9 and 0.98, clipped at norm 1) and a cosine to 10 %."""

    world: Literal["topics", "markov", "recall", "order"] = setting("topics", "what it is trained on")
    width: int = setting(64, "residual stream D; paper: 768 to 5120", at_least=1)
    depth: int = setting(2, "layers L; paper: 12 to 40", at_least=1)
    length: int = setting(64, "tokens per training sequence (topics, markov); paper: 1024", at_least=2)
    n_content: int = setting(40, "content tokens of the documents (topics)", at_least=2)
    n_names: int = setting(6, "names that facts are about (topics)", at_least=1)
    fact_rate: float = setting(0.25, "probability that a fact comes next (topics)", at_least=0, at_most=0.9)
    n_keys: int = setting(64, "keys, and values (recall, order)", at_least=2)
    pairs: tuple[int, ...] = setting((4, 8, 16), "numbers of pairs, by turns (recall, order)", at_least=1)
    orders: tuple[Literal["first", "last"], ...] = setting(("first", "last"), "place of the question, by turns (order)")
    steps: int = setting(500, "updates", at_least=1)
    batch_size: int = setting(32, "sequences per update", at_least=1)
    lr: float | None = setting(None, "peak learning rate; none takes the best of the arm's sweep", above=0)
    rates: tuple[float, ...] = setting((), "peak learning rates to choose from (sweeps)", above=0)
    warmup: int = setting(40, "updates over which the learning rate rises", at_least=0)
    weight_decay: float = setting(0.01, "AdamW's weight decay of matrices; released code: 0 by default", at_least=0)
    ema: float = setting(0.997, "decay of the running average of the weights, which is what is judged", above=0)
    n_eval: int = setting(256, "test sequences", at_least=2)
    evaluations: int = setting(5, "measurements, evenly spaced over the steps", at_least=1)

    def check(self) -> None:
        """No more pairs than keys."""
        if self.world in ("recall", "order") and max(self.pairs) > self.n_keys:
            raise UsageError(f"pairs must be at most n_keys = {self.n_keys}, got {max(self.pairs)}")


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(NetworkConfig):
    """RWKV-4, or whatever is asked for in its place."""

    model: str = setting("rwkv4", "a registered model, or 'package.module:Class'")
    embedding_init: Literal["tiny", "normal", "unit"] = setting("tiny", "start: within 1e-4, N(0, 0.02^2) or N(0, 1)")
    matrices: Literal["official", "orthogonal"] = setting("official", "start: many matrices zero, or all orthogonal")
    decay_init: Literal["official", "uniform"] = setting("official", "start: other decays in each layer, or the same")

    def asks_of_model(self) -> frozenset[str]:
        """The starts that this arm changes."""
        usual = RecurrentConfig()
        starts = ("embedding_init", "matrices", "decay_init")
        return frozenset(name for name in starts if getattr(self, name) != getattr(usual, name))


@dataclass(frozen=True, kw_only=True)
class AttentionConfig(NetworkConfig):
    """A transformer with rotary positions."""

    heads: int = setting(4, "attention heads", at_least=1)
    shift: bool = setting(False, "mix each input of attention with the one before, as RWKV does")
    embedding_std: float = setting(0.3, "start of the token table; GPT-2: 0.02", above=0)
    matrix_std: float = setting(0.07, "start of the matrices; GPT-2: 0.02, which is for width 768", above=0)

    def check(self) -> None:
        """Heads divide the width into even parts."""
        super().check()
        if self.width % (2 * self.heads):
            raise UsageError(f"width must be divisible by 2 heads, got width {self.width} and heads {self.heads}")


@dataclass(frozen=True, kw_only=True)
class FormsConfig(Config):
    """The parallel and the recurrent form of one network with random weights, in double precision."""

    model: str = setting("rwkv4", "a registered model, or 'package.module:Class'")
    vocab: int = setting(97, "tokens", at_least=2)
    width: int = setting(64, "residual stream D", at_least=1)
    depth: int = setting(4, "layers L", at_least=1)
    length: int = setting(256, "tokens per sequence", at_least=2)
    batch_size: int = setting(4, "sequences", at_least=1)


@dataclass(frozen=True, kw_only=True)
class CostConfig(Config):
    """CPU time, medians of interleaved rounds."""

    rounds: int = setting(5, "rounds; each measures everything once", at_least=1)
    batch_size: int = setting(1, "sequences at a time", at_least=1)


@dataclass(frozen=True, kw_only=True)
class DecodingConfig(CostConfig):
    """The next token after a long prompt."""

    batch_size: int = setting(4, "sequences at a time", at_least=1)
    vocab: int = setting(97, "tokens", at_least=2)
    width: int = setting(128, "residual stream D", at_least=1)
    depth: int = setting(2, "layers L", at_least=1)
    positions: tuple[int, ...] = setting((64, 256, 1024), "tokens that were read before", at_least=1)
    num_tokens: int = setting(8, "tokens decoded per measurement", at_least=1)


@dataclass(frozen=True, kw_only=True)
class RecurrentDecodingConfig(DecodingConfig):
    """The same of RWKV-4, or whatever is asked for in its place."""

    model: str = setting("rwkv4", "a registered model, or 'package.module:Class'")


@dataclass(frozen=True, kw_only=True)
class OperatorConfig(CostConfig):
    """What mixes the tokens, forward and backward: WKV, and attention with all its weights written out."""

    channels: int = setting(256, "channels C", at_least=1)
    heads: int = setting(4, "attention heads", at_least=1)
    lengths: tuple[int, ...] = setting((256, 512, 1024, 2048), "tokens per sequence T", at_least=2)


# ------------------------------------------------------------------------------------------------ arms


def trained(
    topics: NetworkConfig,
    recall: NetworkConfig,
    order: NetworkConfig,
    markov: NetworkConfig,
    *,
    narrow: tuple[int, int, int],
    attention: dict[str, Any],
    rates: dict[str, tuple[float, ...]],
    pair_lr: float,
    markov_lr: float,
) -> dict[str, Arm]:
    """Every network on every world it is asked about, and the sweeps that choose the learning rates."""

    def rwkv(base: NetworkConfig, **changes: Any) -> NetworkConfig:
        return RecurrentConfig(**{**vars(base), **changes})

    def shifted(base: NetworkConfig) -> NetworkConfig:
        return AttentionConfig(**{**vars(base), **attention, "shift": True})

    def plain(base: NetworkConfig) -> NetworkConfig:
        return AttentionConfig(**{**vars(base), **attention})

    narrowest, narrower, half = narrow
    cells = {  # by the sweep that chooses their rate; the first is what is swept
        "rwkv4": {
            "rwkv4": rwkv(topics),
            "rwkv4-uniform-decay": rwkv(topics, decay_init="uniform"),
            "rwkv4-narrowest": rwkv(topics, width=narrowest),
            "rwkv4-narrower": rwkv(topics, width=narrower),
            "rwkv4-narrow": rwkv(topics, width=half),
        },
        "transformer": {"transformer": plain(topics)},
        "shift-attention": {"shift-attention": shifted(topics)},
        "recall-rwkv4": {"recall-rwkv4": rwkv(recall)},
        "order-rwkv4": {"order-rwkv4": rwkv(order)},
    }
    arms: dict[str, Arm] = {}
    for swept, configs in cells.items():
        config = configs[swept].replace(rates=rates[swept])
        arms[f"sweep-{swept}"] = Arm(f"{HERE}:sweep", config, seed=TUNING_SEED)
        needs = {"rates": Needs(f"sweep-{swept}")}
        arms |= {name: Arm(f"{HERE}:train", config, needs) for name, config in configs.items()}
    markov = markov.replace(lr=markov_lr)
    fixed = {
        "recall-shift-attention": shifted(recall.replace(lr=pair_lr)),
        "order-shift-attention": shifted(order.replace(lr=pair_lr)),
        "init-official": rwkv(markov),
        "init-normal": rwkv(markov, embedding_init="normal"),
        "init-unit": rwkv(markov, embedding_init="unit"),
        "init-orthogonal": rwkv(markov, matrices="orthogonal"),
    }
    return arms | {name: Arm(f"{HERE}:train", config) for name, config in fixed.items()}


def costs(forms: FormsConfig, decoding: DecodingConfig, operators: OperatorConfig) -> dict[str, Arm]:
    """What needs no training: two forms of one network, the next token, and the operators that mix tokens."""
    return {
        "forms": Arm(f"{HERE}:forms", forms),
        "decoding-rwkv4": Arm(f"{HERE}:decoding", RecurrentDecodingConfig(**vars(decoding))),
        "decoding-transformer": Arm(f"{HERE}:decoding", decoding),
        "operators": Arm(f"{HERE}:operators", operators),
    }


LARGE, MEDIUM = (6e-3, 1.2e-2, 2.4e-2), (4e-3, 8e-3, 1.6e-2)
RATES: dict[str, tuple[float, ...]] = {
    "rwkv4": LARGE,
    "transformer": LARGE,
    "shift-attention": LARGE,
    "recall-rwkv4": MEDIUM,
    "order-rwkv4": MEDIUM,
}


def smoke() -> dict[str, Arm]:
    """Seconds: proves the plumbing, judges nothing."""
    small = NetworkConfig(width=16, steps=4, batch_size=4, length=16, n_eval=4, evaluations=2)
    pairs = small.replace(n_keys=4, pairs=(1, 2))
    return trained(
        small,
        pairs.replace(world="recall"),
        pairs.replace(world="order"),
        small.replace(world="markov"),
        narrow=(4, 8, 12),
        attention={"heads": 2},
        rates={name: rates[:1] for name, rates in RATES.items()},
        pair_lr=4e-3,
        markov_lr=3e-3,
    ) | costs(
        FormsConfig(vocab=8, width=8, depth=2, length=6, batch_size=2),
        DecodingConfig(vocab=8, width=16, positions=(4, 8), num_tokens=2, rounds=1),
        OperatorConfig(channels=16, lengths=(16, 32), rounds=1),
    )


def laptop() -> dict[str, Arm]:
    """Two CPU cores, about nine minutes for five seeds."""
    pairs = NetworkConfig(batch_size=64, n_eval=512)
    return trained(
        NetworkConfig(steps=400),
        pairs.replace(world="recall", n_keys=16, pairs=(2, 4, 8, 16), steps=300),
        pairs.replace(world="order", n_keys=8, pairs=(2, 4, 6, 8), steps=600),
        NetworkConfig(world="markov", steps=100, batch_size=16, n_eval=64, evaluations=20, warmup=20),
        narrow=(8, 16, 32),
        attention={},
        rates=RATES,
        pair_lr=4e-3,
        markov_lr=3e-3,
    ) | costs(FormsConfig(), DecodingConfig(), OperatorConfig())


def paper() -> dict[str, Arm]:
    """The smallest published size (169M: 12 layers of width 768, context 1024), for a GPU.

    The worlds stay generated: their Bayes loss and their facts are known, those of the Pile are not.
    """
    big = NetworkConfig(
        width=768,
        depth=12,
        length=1024,
        n_content=400,
        n_names=64,
        steps=20_000,
        warmup=500,
        weight_decay=0.0,
        n_eval=1024,
    )
    rates = (3e-4, 6e-4, 1.2e-3)
    return trained(
        big,
        big.replace(world="recall", n_keys=1024, pairs=(16, 64, 256), batch_size=64),
        big.replace(world="order", n_keys=256, pairs=(16, 64, 256), batch_size=64),
        big.replace(world="markov", steps=2000, evaluations=100),
        narrow=(96, 192, 384),
        attention={"heads": 12, "embedding_std": 0.02, "matrix_std": 0.02},
        rates={name: rates for name in RATES},
        pair_lr=6e-4,
        markov_lr=6e-4,
    ) | costs(
        FormsConfig(width=768, depth=12, length=1024),
        DecodingConfig(width=768, depth=12, positions=(64, 256, 1024, 4096, 16_384)),
        OperatorConfig(channels=768, heads=12, lengths=(256, 512, 1024, 2048, 4096, 8192)),
    )


ARMS: dict[Scale, dict[str, Arm]] = {"smoke": smoke(), "laptop": laptop(), "paper": paper()}
