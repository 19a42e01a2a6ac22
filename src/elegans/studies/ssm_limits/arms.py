"""What is stored, copied and computed, by which models, at three scales.

Two families at matched parameters: transformers, the `reference`, and state space models, the `model` in question, which
``--model`` replaces. Both get the learning rate of a sweep on seed 100, scored on the split ``select``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Needs, Scale, UsageError, setting

HERE = "elegans.studies.ssm_limits.experiments"
SWEEP_SEED = 100
SOLVED = 0.97
"""The token accuracy at which a lagged sum counts as solved; soft packing of two bits into one number stays below."""


# ------------------------------------------------------------------------------------------------ without training


@dataclass(frozen=True, kw_only=True)
class CapacityConfig(Config):
    """COPY of T random pairs through a selective scan without decay, with N numbers per value coordinate."""

    lengths: tuple[int, ...] = setting((32, 128, 512), "pairs T", at_least=16)
    ratios: tuple[float, ...] = setting((0.0625, 0.125, 0.25, 0.5, 1.0, 2.0), "state size over pairs, N / T", above=0)
    fixed: int = setting(16, "the state size of the comparison at fixed N, with softmax attention too", at_least=1)
    symbols: int = setting(16, "alphabet of the values", at_least=2)
    repetitions: int = setting(
        8, "independent draws per cell at the largest T; as many pairs in all at others", at_least=1
    )

    def check(self) -> None:
        """Lengths are compared with one another."""
        if len(self.lengths) < 2 or list(self.lengths) != sorted(set(self.lengths)):
            raise UsageError(f"lengths must be at least two increasing numbers, got {self.lengths}")


@dataclass(frozen=True, kw_only=True)
class SlotsConfig(Config):
    """Lagged sums solved by overwriting one of E slots at each step, by construction."""

    lags: tuple[int, ...] = setting((2, 4, 8, 32), "locality m, in pairs", at_least=2)
    lengths: tuple[int, ...] = setting((64, 256, 1024), "pairs T; above every lag", at_least=4)
    n_eval: int = setting(16, "sequences per cell", at_least=1)

    def check(self) -> None:
        """A lag fits into a sequence."""
        if max(self.lags) >= min(self.lengths):
            raise UsageError(f"lags must be below lengths, got {self.lags} and {self.lengths}")


@dataclass(frozen=True, kw_only=True)
class CostConfig(Config):
    """What decoding costs by counting, and what the states of two built models hold."""

    model: str = setting("mamba", "a registered model, or 'package.module:Class'")
    reference: str = setting("gpt", "the same, of the transformer")
    width: int = setting(64, "residual stream", at_least=1)
    depth: int = setting(3, "layers of the model", at_least=1)
    reference_depth: int = setting(2, "layers of the transformer", at_least=1)
    lengths: tuple[int, ...] = setting((64, 256, 1024, 4096), "tokens T", at_least=2)
    state_size: int = setting(16, "state size N where it is fixed", at_least=1)
    lag: int = setting(16, "locality m where there is one", at_least=1)


# ------------------------------------------------------------------------------------------------ trained


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """What all trained arms share: AdamW, betas 0.9 and 0.98, warm-up, a line down to a tenth, gradients clipped at 1."""

    width: int = setting(64, "residual stream", at_least=1)
    depth: int = setting(2, "blocks: three of Mamba have as many parameters as two of the transformer", at_least=1)
    embedding_std: float = setting(0.1, "initial standard deviation of the embeddings", above=0)
    steps: int = setting(600, "updates at most", at_least=1)
    batch_size: int = setting(64, "sequences per update", at_least=1)
    warmup: int = setting(50, "updates of linear increase of the learning rate", at_least=0)
    rates: tuple[float, ...] = setting((), "learning rates that a sweep tries; not used by other arms", above=0)
    weight_decay: float = setting(0.1, "AdamW's weight decay of matrices", at_least=0)
    stop: float = setting(0.99, "training ends at this score on `select`: characters, or exact outputs", above=0)
    n_eval: int = setting(256, "sequences in `select` and in `test`", at_least=1)
    evaluate_every: int = setting(50, "updates between measurements", at_least=1)


@dataclass(frozen=True, kw_only=True)
class CopyConfig(TrainConfig):
    """A random string, a separator, its copy; the copy is scored (Jelassi et al. 2024, arXiv 2402.01032)."""

    alphabet: int = setting(16, "characters; Jelassi et al.: 26", at_least=2)
    min_length: int = setting(
        2, "shortest training string; without short ones state space models hardly begin", at_least=1
    )
    max_length: int = setting(12, "longest training string, at which learning is followed", at_least=1)
    lengths: tuple[int, ...] = setting((2, 4, 6, 8, 10, 12, 16, 24), "string lengths tested at the end", at_least=1)
    shuffled: bool = setting(False, "the copy is of another string: the control that nobody can learn")
    layout: Literal["rows", "packed"] = setting("rows", "one example per sequence, or several; Jelassi et al.: packed")
    context_length: int = setting(220, "tokens of a packed sequence; Jelassi et al.: 220", at_least=1)
    batch_size: int = setting(32, "sequences per update", at_least=1)

    def check(self) -> None:
        """Training lengths are a range, and the longest is tested."""
        if self.min_length > self.max_length:
            raise UsageError(f"min_length must be at most max_length, got {self.min_length} and {self.max_length}")


@dataclass(frozen=True, kw_only=True)
class ChainConfig(TrainConfig):
    """A dynamic program, with its table written out before the answer (``cot``) or without (``direct``)."""

    task: Literal["prefix-sum", "lis", "arithmetic", "equations", "edit-distance"] = setting(
        "prefix-sum", "the program; Feng et al. (arXiv 2305.15408): the last four"
    )
    n: int = setting(16, "its size: summands, values, operators, variables, letters", at_least=2)
    modulus: int = setting(5, "of prefix sums, arithmetic and equations; Feng et al.: 11", at_least=2)
    n_values: int = setting(20, "values of the numbers of the increasing subsequence", at_least=2)
    planted: bool = setting(False, "increasing runs hidden in the numbers, as in Feng et al.")
    view: Literal["cot", "direct"] = setting("cot", "with the chain of thought, or the answer alone")


@dataclass(frozen=True, kw_only=True)
class Transformer(Config):
    """The model for comparison, which ``--model`` leaves alone; ``--set 'ARM.config.reference=NAME'`` replaces it."""

    reference: str = setting("gpt", "a registered model, or 'package.module:Class'")
    heads: int = setting(4, "attention heads", at_least=1)
    positions: Literal["learned", "sinusoidal", "rotary", "alibi", "hard-alibi", "none"] = setting(
        "learned", "position encoding"
    )
    std: float = setting(0.08, "initial standard deviation of the blocks' matrices; GPT-2: 0.02, at width 768", above=0)


@dataclass(frozen=True, kw_only=True)
class StateSpace(Config):
    """The model in question."""

    model: str = setting("mamba", "a registered model, or 'package.module:Class'")
    state_size: int = setting(16, "numbers per channel in the state, N", at_least=1)

    def asks_of_model(self) -> frozenset[str]:
        """An unusual size of the state needs one to change."""
        return frozenset({"state_size"} if self.state_size != 16 else ())


@dataclass(frozen=True, kw_only=True)
class TransformerCopy(CopyConfig, Transformer):
    """A transformer that copies."""


@dataclass(frozen=True, kw_only=True)
class StateSpaceCopy(CopyConfig, StateSpace):
    """A state space model that copies."""

    depth: int = setting(3, "blocks", at_least=1)


@dataclass(frozen=True, kw_only=True)
class TransformerChain(ChainConfig, Transformer):
    """A transformer that computes a dynamic program."""


@dataclass(frozen=True, kw_only=True)
class StateSpaceChain(ChainConfig, StateSpace):
    """A state space model that computes a dynamic program."""

    depth: int = setting(3, "blocks", at_least=1)


@dataclass(frozen=True, kw_only=True)
class LocalConfig(Config):
    """One layer with one state number per channel on lagged sums; its inner width E is the state.

    Step sizes, B and C are read from the block, so that a small E narrows the memory and not also its addresses.
    """

    model: str = setting("mamba", "a registered model, or 'package.module:Class'")
    lag: int = setting(2, "locality m, in pairs", at_least=1)
    length: int = setting(32, "pairs T", at_least=2)
    states: tuple[int, ...] = setting((1, 2, 4, 8), "inner widths E", at_least=1)
    width: int = setting(32, "residual stream", at_least=1)
    dt_rank: int = setting(8, "rank of the step sizes", at_least=1)
    dt_min: float = setting(0.01, "smallest step size at the start; Mamba: 0.001", above=0)
    dt_max: float = setting(0.1, "largest step size at the start", above=0)
    std: float = setting(0.18, "initial standard deviation of the MLP's matrices", above=0)
    embedding_std: float = setting(
        0.5, "initial standard deviation of the embeddings; with 0.1 few starts learn", above=0
    )
    starts: int = setting(3, "starts at most; the best on `select` counts", at_least=1)
    steps: int = setting(1000, "updates at most", at_least=1)
    batch_size: int = setting(64, "sequences per update", at_least=1)
    lr: float = setting(0.01, "AdamW's learning rate, along a line down to a tenth", above=0)
    stop: float = setting(0.99, "training ends at this token accuracy on `select`, and no other start follows", above=0)
    n_eval: int = setting(256, "sequences in `select` and in `test`", at_least=1)
    evaluate_every: int = setting(100, "updates between looks at `select`", at_least=1)

    def check(self) -> None:
        """The lag fits into the sequence."""
        if self.lag >= self.length:
            raise UsageError(f"lag must be below length, got {self.lag} and {self.length}")

    def asks_of_model(self) -> frozenset[str]:
        """The state must be the inner width alone."""
        return frozenset({"inner", "state_size", "conv", "addressing"})


# ------------------------------------------------------------------------------------------------ arms

Changes = Mapping[str, Any]
Family = tuple[TrainConfig, Mapping[str, TrainConfig]]
"""What a sweep trains, and the arms that take the rate it finds."""

ENCODINGS: dict[str, Changes] = {
    "alibi": {"positions": "alibi"},
    "rotary": {"positions": "rotary"},
    "learned": {"positions": "learned"},
    "no-positions": {"positions": "none"},
    "hard-alibi": {"positions": "hard-alibi", "heads": 8},
}
"""Transformers that copy. Half of the heads of hard ALiBi see windows of 1, 2, ... tokens only, so it gets more heads."""


def copying(
    transformer: TransformerCopy, ssm: StateSpaceCopy, *, sweep: Changes, short: Changes, small_state: int
) -> dict[str, Arm]:
    """Copying long and short strings, by encoding of positions and by size of the state, with the sweeps of the rates."""
    alibi = transformer.replace(positions="alibi")
    families: dict[str, Family] = {
        "transformer": (
            alibi,
            {f"copy-{name}": transformer.replace(**changes) for name, changes in ENCODINGS.items()}
            | {"copy-alibi-shuffled": alibi.replace(shuffled=True), "copy-alibi-short": alibi.replace(**short)},
        ),
        "ssm": (
            ssm,
            {
                "copy-ssm": ssm,
                "copy-ssm-short": ssm.replace(**short),
                "copy-ssm-small-state": ssm.replace(state_size=small_state),
                "copy-ssm-short-small-state": ssm.replace(state_size=small_state, **short),
            },
        ),
    }
    return _with_sweeps("copy", families, sweep)


def chains(
    transformer: TransformerChain,
    ssm: StateSpaceChain,
    *,
    sweep: Changes,
    prefix: Mapping[str, Changes],
    lis: Mapping[str, Changes],
) -> dict[str, Arm]:
    """Two dynamic programs, long and short, with the chain and without."""
    direct = {"view": "direct", "stop": 2.0}
    programs = {f"prefix-{size}": {"task": "prefix-sum", **changes} for size, changes in prefix.items()}
    programs |= {f"lis-{size}": {"task": "lis", **changes} for size, changes in lis.items()}
    with_chain = ("prefix-long", "prefix-medium", "prefix-short", "lis-long", "lis-short")
    at_once = ("prefix-long", "lis-long", "lis-short")
    of_ssm = ("prefix-medium", "prefix-short", "lis-long")
    families: dict[str, Family] = {
        "transformer": (
            transformer.replace(**programs["lis-long"]),
            {f"{name}-cot": transformer.replace(**programs[name]) for name in with_chain}
            | {f"{name}-direct": transformer.replace(**(programs[name] | direct)) for name in at_once},
        ),
        "ssm": (
            ssm.replace(**programs["lis-long"]),
            {f"{name}-cot-ssm": ssm.replace(**programs[name]) for name in of_ssm},
        ),
    }
    return _with_sweeps("chain", families, sweep)


def _with_sweeps(experiment: str, families: Mapping[str, Family], sweep: Changes) -> dict[str, Arm]:
    """Per family the sweep of its base, and the arms that take the rate it finds."""
    found: dict[str, Arm] = {}
    for family, (base, configs) in families.items():
        rates = f"rates-{experiment}-{family}"
        found[rates] = Arm(f"{HERE}:{experiment}_rates", base.replace(**sweep), seed=SWEEP_SEED)
        needs = {"rates": Needs(rates)}
        found |= {name: Arm(f"{HERE}:{experiment}", config, needs=needs) for name, config in configs.items()}
    return found


def locality(base: LocalConfig, *, lags: tuple[int, int, int], lengths: tuple[int, int]) -> dict[str, Arm]:
    """Three lags at one length, and the middle lag at two more."""
    configs = {f"local-lag{place}": base.replace(lag=lag) for place, lag in zip("123", lags, strict=True)}
    middle = base.replace(lag=lags[1])
    configs |= {
        f"local-{name}": middle.replace(length=n) for name, n in zip(("shorter", "longer"), lengths, strict=True)
    }
    return {name: Arm(f"{HERE}:local", config) for name, config in configs.items()}


def untrained(capacity: CapacityConfig, slots: SlotsConfig, cost: CostConfig) -> dict[str, Arm]:
    """What constructions hold, and what decoding costs."""
    configs = {"capacity": capacity, "slots": slots, "cost": cost}
    return {name: Arm(f"{HERE}:{name}", config) for name, config in configs.items()}


def smoke() -> dict[str, Arm]:
    """Seconds: proves the plumbing, judges nothing."""
    tiny: dict[str, Any] = {"width": 8, "steps": 3, "batch_size": 4, "n_eval": 8, "evaluate_every": 2}
    heads = {"heads": 2, **tiny}
    strings = {"max_length": 6, "lengths": (4, 6)}
    sweep = {"rates": (0.001, 0.002), "steps": 2}
    return (
        untrained(
            CapacityConfig(lengths=(16, 32), ratios=(0.125, 0.5, 1.0, 2.0), repetitions=1),
            SlotsConfig(lags=(2, 4), lengths=(8, 16), n_eval=4),
            CostConfig(width=8, depth=1, reference_depth=1, lengths=(8, 32)),
        )
        | copying(
            TransformerCopy(**strings, **heads),
            StateSpaceCopy(**strings, **tiny),
            sweep=sweep,
            short={"max_length": 4, "lengths": (2, 4)},
            small_state=1,
        )
        | chains(
            TransformerChain(**heads),
            StateSpaceChain(**tiny),
            sweep=sweep,
            prefix={"long": {"n": 6}, "medium": {"n": 5}, "short": {"n": 4}},
            lis={"long": {"n": 5}, "short": {"n": 4}},
        )
        | locality(
            LocalConfig(length=8, states=(1, 2), width=8, steps=3, batch_size=4, n_eval=8, evaluate_every=2),
            lags=(1, 2, 4),
            lengths=(6, 12),
        )
    )


def laptop() -> dict[str, Arm]:
    """Two CPU cores, about twenty minutes for five seeds."""
    sweep = {"rates": (0.004, 0.008, 0.016), "steps": 400, "evaluate_every": 400}
    return (
        untrained(CapacityConfig(), SlotsConfig(), CostConfig())
        | copying(
            TransformerCopy(steps=500),
            StateSpaceCopy(steps=1000, evaluate_every=100),
            sweep=sweep,
            short={"max_length": 6, "steps": 500, "evaluate_every": 50},
            small_state=1,
        )
        | chains(
            TransformerChain(),
            StateSpaceChain(),
            sweep=sweep,
            prefix={"long": {"n": 16}, "medium": {"n": 10, "steps": 400}, "short": {"n": 6, "steps": 400}},
            lis={"long": {"n": 10, "steps": 1000, "evaluate_every": 100}, "short": {"n": 4, "steps": 400}},
        )
        | locality(LocalConfig(), lags=(1, 2, 4), lengths=(12, 48))
    )


def paper() -> dict[str, Arm]:
    """The sizes of the works that the paper builds on: Jelassi et al. for copying, Feng et al. for chains. For a GPU."""
    strings: dict[str, Any] = {
        "alphabet": 26,
        "max_length": 300,
        "lengths": (50, 100, 200, 300, 500, 1000),
        "layout": "packed",
        "context_length": 1300,
        "width": 1024,
        "embedding_std": 0.02,
        "steps": 100_000,
        "warmup": 100,
        "evaluate_every": 1000,
    }
    dp: dict[str, Any] = {
        "width": 256,
        "embedding_std": 0.02,
        "steps": 195_000,
        "batch_size": 512,
        "warmup": 9750,
        "weight_decay": 0.01,
        "n_eval": 4096,
        "evaluate_every": 1950,
    }
    return (
        untrained(
            CapacityConfig(lengths=(128, 512, 2048), repetitions=4),
            SlotsConfig(lags=(8, 32, 128), lengths=(256, 1024, 4096)),
            CostConfig(width=1024, depth=24, reference_depth=12),
        )
        | copying(
            TransformerCopy(depth=12, heads=16, std=0.02, **strings),
            StateSpaceCopy(depth=24, **strings),
            sweep={"rates": (1e-5,)},
            short={"max_length": 50, "lengths": (10, 20, 30, 40, 50, 100)},
            small_state=1,
        )
        | chains(
            TransformerChain(depth=3, positions="sinusoidal", std=0.02, **dp),
            StateSpaceChain(depth=5, **dp),
            sweep={"rates": (1e-4,)},
            prefix={
                "long": {"n": 100, "modulus": 11},
                "medium": {"n": 80, "modulus": 11},
                "short": {"n": 50, "modulus": 11},
            },
            lis={
                "long": {"n": 100, "n_values": 149, "planted": True},
                "short": {"n": 50, "n_values": 199, "planted": True},
            },
        )
        | locality(
            LocalConfig(length=128, states=(1, 2, 4, 8, 16, 32), steps=20_000, batch_size=256, evaluate_every=500),
            lags=(2, 4, 8),
            lengths=(64, 256),
        )
    )


ARMS: dict[Scale, dict[str, Arm]] = {"smoke": smoke(), "laptop": laptop(), "paper": paper()}
