"""Which weights are tied to the task's structure, at which noise, at three scales.

*reparam* ties all weights to the form of the theory's solution, *reparam-w* frees the attention weights W, *origin*
frees all. The number in a name is the percentage of noise: the rate at which tau follows the trigger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Scale, UsageError, setting

HERE = "elegans.studies.in_context_recall.experiments"
NOISES = (0.0, 0.2, 0.5, 0.8)


@dataclass(frozen=True, kw_only=True)
class RecallConfig(Config):
    """One attention layer on sentences with a trigger; normalized gradient descent on fresh sentences."""

    n_tokens: int = setting(60, "vocabulary N; released code: 60", at_least=5)
    length: int = setting(256, "tokens of a sentence H; released code: 256", at_least=5)
    n_triggers: int = setting(5, "triggers Q; released code: 5", at_least=1)
    n_outputs: int = setting(4, "answers Y seen in training; released code: 4", at_least=1)
    alpha: float = setting(0.0, "rate of the noise token after the trigger", at_least=0, at_most=0.99)
    n_answer: int = setting(1, "times that the answer stands in a sentence", at_least=1)
    n_noise: int = setting(1, "times that the noise token stands in a noisy sentence", at_least=1)
    kind: Literal["linear", "relu", "softmax"] = setting("linear", "what becomes of attention scores")
    free: Literal["", "W", "V", "F", "WV", "WF", "VF", "WVF"] = setting("", "weights without constraint")
    train_value: bool = setting(False, "train the scale of the tied value weights")
    optimizer: Literal["normalized-tensor", "sgd"] = setting(
        "normalized-tensor", "every tensor's gradient scaled to norm 1, as in the released code, or plain"
    )
    lr: float = setting(0.1, "learning rate; released code: 0.1", above=0)
    schedule: Literal["constant", "linear"] = setting("constant", "learning rate over time; released code: constant")
    steps: int = setting(300, "updates; released code: 2000", at_least=1)
    batch_size: int = setting(64, "sentences per update; released code: 512", at_least=1)
    n_train: int = setting(0, "fixed training sentences, 0 for fresh ones", at_least=0)
    n_eval: int = setting(512, "test sentences of each kind; released code: 512", at_least=1)
    evaluations: int = setting(10, "measurements, evenly spaced over the steps", at_least=1)

    def check(self) -> None:
        """The tokens must include answers that training never gives, and the sentence must hold its bigrams."""
        least = self.n_triggers + self.n_outputs + 2
        if self.n_tokens < least:
            raise UsageError(f"n_tokens must be at least n_triggers + n_outputs + 2 = {least}, got {self.n_tokens}")
        bigrams = self.n_answer + (self.n_noise if self.alpha > 0 else 0)
        if self.length < 2 * bigrams + 1:
            raise UsageError(f"length must be at least {2 * bigrams + 1} for {bigrams} bigrams, got {self.length}")


def percent(alpha: float) -> str:
    """A noise rate as arms are named: 0.2 is ``20``."""
    return f"{100 * alpha:.0f}"


def arms(tied: RecallConfig, free: RecallConfig, short: RecallConfig, *, seeds_per_job: int) -> dict[str, Arm]:
    """All conditions: `tied` and `free` at full length, `short` for rates and sweeps on short sentences."""
    configs: dict[str, RecallConfig] = {}
    attention = free.replace(free="W", schedule="constant", steps=free.steps * 5 // 4)
    origin = free.replace(free="WVF", schedule="linear")
    for alpha in NOISES:
        at = percent(alpha)
        configs[f"linear-{at}"] = tied.replace(alpha=alpha)
        configs[f"relu-{at}"] = tied.replace(alpha=alpha, kind="relu")
        configs[f"softmax-{at}"] = tied.replace(alpha=alpha, kind="softmax", train_value=True)
        configs[f"reparam-w-{at}"] = attention.replace(alpha=alpha)
        configs[f"origin-{at}"] = origin.replace(alpha=alpha)
    configs["softmax-plain"] = tied.replace(kind="softmax")

    rate = short.replace(steps=max(tied.steps, 2), evaluations=max(tied.steps // 2, 2))
    configs |= {f"rate-{q}": rate.replace(n_triggers=q) for q in (1, 5, 10)}
    configs["rate-noisy"] = rate.replace(alpha=0.5)
    configs["rate-plain-gd"] = rate.replace(n_triggers=1, optimizer="sgd", lr=5.0)

    relu = tied.replace(kind="relu", n_train=2048)
    for alpha in NOISES[1:]:
        configs[f"finite-{percent(alpha)}"] = relu.replace(alpha=alpha)
    configs["finite-50-small"] = relu.replace(alpha=0.5, n_train=128)
    configs["finite-50-origin"] = origin.replace(kind="relu", n_train=2048, alpha=0.5)

    size = {"length": short.length}
    for outputs in (4, 16, 32, 48):
        configs[f"origin-answers-{outputs}"] = origin.replace(n_outputs=outputs, **size)
    configs["reparam-w-answers-48"] = attention.replace(n_outputs=48, **size)
    configs["reparam-w-50-short"] = attention.replace(alpha=0.5, **size)
    configs["origin-50-short"] = origin.replace(alpha=0.5, **size)
    configs["free-v-50"] = origin.replace(alpha=0.5, free="V", **size)
    configs["free-f-50"] = origin.replace(alpha=0.5, free="F", **size)
    configs["repeated-50"] = tied.replace(alpha=0.5, n_answer=3, n_noise=2)
    return {name: Arm(f"{HERE}:train", config, seeds_per_job=seeds_per_job) for name, config in configs.items()}


def preset(seeds_per_job: int, tied: dict[str, Any], free: dict[str, Any], short: dict[str, Any]) -> dict[str, Arm]:
    """The arms from the settings in which a scale differs from the defaults."""
    return arms(
        RecallConfig(**tied),
        RecallConfig(**free),
        RecallConfig(**short),
        seeds_per_job=seeds_per_job,
    )


SMALL: dict[str, Any] = {"length": 12, "batch_size": 8, "n_eval": 16, "steps": 6, "evaluations": 2}
ARMS: dict[Scale, dict[str, Arm]] = {
    "smoke": preset(8, SMALL, SMALL, SMALL),
    "laptop": preset(
        8,
        {"evaluations": 5},
        {"steps": 800, "batch_size": 128, "evaluations": 4},
        {"length": 32, "batch_size": 512},
    ),
    "paper": preset(
        64,
        {"steps": 2000, "batch_size": 512, "evaluations": 100},
        {"steps": 2000, "batch_size": 512, "evaluations": 100},
        {"length": 32, "batch_size": 512},
    ),
}
