"""Which strings are learned, how long, at three scales.

All arms are gradient descent on every string at once, from zero unless `init_std` says otherwise, so most of them are
deterministic: one training stands for all seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Scale, UsageError, setting

HERE = "elegans.studies.regular_languages.experiments"
SEEDS_PER_JOB = 8


@dataclass(frozen=True, kw_only=True)
class DescentConfig(Config):
    """One head with temperature lambda, descending in two phases: up to step t_0 the step of W is lambda times larger."""

    temperature: float = setting(2.0, "lambda, divides the attention scores; paper: 2", above=0)
    lr: float = setting(0.1, "step size eta on the loss summed over lengths; paper: 0.1", above=0)
    boundary: int = setting(100, "t_0, steps of the first phase; paper: 100", at_least=1)
    steps: int = setting(20_000, "gradient steps in all", at_least=2)
    init_std: float = setting(
        0.0, "standard deviation of the initial weights; paper: 0, as its curves imply", at_least=0
    )
    attention: Literal["trained", "frozen"] = setting("trained", "frozen: W stays as it starts")
    evaluations: int = setting(70, "measurements, evenly spaced in log steps", at_least=2)

    def check(self) -> None:
        """Both phases exist."""
        if self.boundary >= self.steps:
            raise UsageError(f"boundary must be below steps, got boundary {self.boundary} and {self.steps} steps")


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(DescentConfig):
    """All strings up to a length, with one class per string."""

    label: Literal["ends", "sum"] = setting("ends", "first plus last symbol (even pairs), or the sum (parity check)")
    order: int = setting(2, "size of the alphabet and modulus of the sums", at_least=2, at_most=8)
    max_length: int = setting(6, "length of the longest strings; paper: 6", at_least=3, at_most=12)


@dataclass(frozen=True, kw_only=True)
class ChainConfig(DescentConfig):
    """Parity check, trained step by step on its chain of thought."""

    length: int = setting(4, "L_0, length of the input; paper: 4", at_least=2, at_most=10)
    short: int = setting(3, "even pairs of lengths 1 to this are trained too; 3 is all that agree", at_least=0)

    def check(self) -> None:
        """Longer short strings would have two labels."""
        super().check()
        if self.short >= self.length:
            raise UsageError(f"short must be below length, got short {self.short} and length {self.length}")


@dataclass(frozen=True, kw_only=True)
class SampledConfig(DescentConfig):
    """Even pairs on random strings too many to see all; the test strings are new."""

    max_length: int = setting(20, "length of the longest strings", at_least=3)
    per_length: int = setting(64, "strings of each length", at_least=1)
    steps: int = setting(1200, "gradient steps in all", at_least=2)
    evaluations: int = setting(12, "measurements, evenly spaced in log steps", at_least=2)


def arms(
    short: dict[str, Any], descent: dict[str, Any], sampled: dict[str, Any], order3: dict[str, Any]
) -> dict[str, Arm]:
    """Even pairs and its variants, parity check taught in three ways, and two steps beyond the paper.

    `descent` sets the steps of the long arms, `short` those of the arms that are over sooner.
    """
    even = LanguageConfig(**descent)
    quick = even.replace(**short)
    chain = ChainConfig(**descent)
    configs: dict[str, tuple[str, Config]] = {
        "even-pairs": ("language", even),
        "even-pairs-frozen": ("language", quick.replace(attention="frozen")),
        "even-pairs-warm": ("language", even.replace(temperature=8.0, boundary=min(1000, even.steps // 2))),
        "parity-direct": ("language", quick.replace(label="sum")),
        "parity-chain": ("chain", chain),
        "parity-chain-one": ("chain", chain.replace(**short, short=1)),
        "parity-chain-bare": ("chain", chain.replace(**short, short=0)),
        "parity-chain-bare-random": ("chain", chain.replace(**short, short=0, init_std=0.1)),
        "even-pairs-sampled": ("sampled", SampledConfig(**sampled)),
        "cyclic-3": ("language", LanguageConfig(order=3, label="ends", **order3)),
    }
    return {
        name: Arm(f"{HERE}:{experiment}", config, seeds_per_job=SEEDS_PER_JOB)
        for name, (experiment, config) in configs.items()
    }


ARMS: dict[Scale, dict[str, Arm]] = {
    "smoke": arms(
        {"steps": 30},
        {"steps": 60, "boundary": 10, "evaluations": 8},
        {"steps": 20, "boundary": 10, "max_length": 6, "per_length": 8, "evaluations": 3},
        {"steps": 30, "boundary": 10, "max_length": 3, "evaluations": 4},
    ),
    "laptop": arms({"steps": 6000, "evaluations": 50}, {}, {}, {"steps": 6000, "max_length": 4, "evaluations": 40}),
    "paper": arms(
        {"steps": 20_000},
        {"steps": 60_000},
        {"max_length": 40, "per_length": 256, "steps": 3000},
        {"steps": 20_000, "max_length": 5},
    ),
}
