"""Which supervision, from which start, at three scales.

*Process* supervision shows every step of gradient descent (chain of thought), *direct* asks for the answer in one step,
*outcome* judges the answer after the model's own thoughts, and *loop* the answer after several passes through the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Scale, UsageError, setting

HERE = "elegans.studies.gd_cot.experiments"


@dataclass(frozen=True, kw_only=True)
class WeightPredictionConfig(Config):
    """One layer of linear self-attention on prompts of n examples in d dimensions."""

    d: int = setting(10, "dimensions", at_least=1)
    n: int = setting(20, "examples in a prompt", at_least=1)
    eta: float = setting(0.4, "step size of the gradient descent that is shown", above=0)
    supervision: Literal["process", "direct", "outcome", "loop"] = setting("process", "what the loss looks at")
    thoughts: int = setting(10, "thoughts in training (process, outcome) or loops (loop); direct takes 1", at_least=1)
    init: Literal["theory", "random"] = setting("theory", "start: the theorem's sparse blocks, or all entries random")
    sigma: float = setting(0.05, "scale of the initial weights", above=0)
    steps: int = setting(500, "updates", at_least=1)
    batch_size: int = setting(128, "fresh prompts per update", at_least=1)
    lr: float = setting(3e-3, "Adam's learning rate", above=0)
    schedule: Literal["constant", "linear"] = setting(
        "constant", "learning rate over time; where the loss cannot reach zero it must fall for the weights to settle"
    )
    clip: float | None = setting(None, "bound on the gradient's norm; roll-outs of its own need one", above=0)
    warmup: int = setting(0, "updates over which the learning rate rises", at_least=0)
    n_eval: int = setting(2048, "test prompts per distribution", at_least=2)
    test_thoughts: int = setting(40, "thoughts, or loops, at test time", at_least=1)
    evaluations: int = setting(8, "measurements, log-spaced over the steps", at_least=1)

    def check(self) -> None:
        """A direct answer is one step."""
        if self.supervision == "direct" and self.thoughts != 1:
            raise UsageError(f"thoughts must be 1 with direct supervision, got {self.thoughts}")


def arms(base: WeightPredictionConfig, *, short: int, long: int, seeds_per_job: int) -> dict[str, Arm]:
    """Every supervision, those that train from a random start from both; `short` and `long` are numbers of updates."""
    direct = base.replace(supervision="direct", thoughts=1, schedule="linear")
    outcome = base.replace(supervision="outcome", thoughts=5, schedule="linear", clip=0.1, warmup=short * 2 // 5)
    loop = base.replace(supervision="loop", steps=short, schedule="linear", clip=1.0)
    configs = {
        "cot": base.replace(steps=short),
        "cot-random": base.replace(init="random", steps=long),
        "direct": direct.replace(steps=short),
        "direct-long": direct.replace(steps=long),
        "direct-random": direct.replace(init="random", steps=long),
        "outcome": outcome.replace(steps=short),
        "loop-1": loop.replace(thoughts=1),
        "loop-2": loop.replace(thoughts=2),
        "loop-4": loop.replace(thoughts=4),
    }
    return {name: Arm(f"{HERE}:train", config, seeds_per_job=seeds_per_job) for name, config in configs.items()}


SMALL: dict[str, Any] = {"d": 3, "n": 6, "batch_size": 16, "n_eval": 32, "test_thoughts": 16, "evaluations": 2}
ARMS: dict[Scale, dict[str, Arm]] = {
    "smoke": arms(WeightPredictionConfig(**SMALL), short=6, long=12, seeds_per_job=8),
    "laptop": arms(WeightPredictionConfig(), short=500, long=1500, seeds_per_job=8),
    "paper": arms(
        WeightPredictionConfig(lr=1e-3, batch_size=1000, thoughts=20, evaluations=20, n_eval=16_384),
        short=5000,
        long=15_000,
        seeds_per_job=64,
    ),
}
