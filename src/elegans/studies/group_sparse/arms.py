"""Which models are trained on which groups, at three scales.

Every arm is a stack of seeds. A transformer is first trained on one relevant group; some then learn a second task, with
a new direction in the same or in another group, item by item.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Scale, UsageError, setting

HERE = "elegans.studies.group_sparse.experiments"
SEEDS_PER_JOB = 8


@dataclass(frozen=True, kw_only=True)
class GroupConfig(Config):
    """The data that all arms share."""

    features: int = setting(8, "d, features of a group", at_least=1)
    groups: int = setting(16, "D, number of groups", at_least=2)
    sigma: float = setting(1.0, "standard deviation of a feature", above=0)
    test_size: int = setting(4000, "test items of the first task", at_least=10)
    second_test_size: int = setting(1000, "test items of each second task", at_least=10)


@dataclass(frozen=True, kw_only=True)
class LearnConfig(GroupConfig):
    """Joint gradient descent of attention W and read-out v from zero, on new batches of antithetic pairs."""

    first_margin: float = setting(0.0, "gamma of the first task; paper: 0", at_least=0)
    relevant: int = setting(1, "number of groups that decide the label; paper: 1", at_least=1)
    positions: Literal["concatenated", "added"] = setting(
        "concatenated", "how a token holds its group; paper: concatenated"
    )
    step_size: float = setting(0.85, "eta in units of 16 / (D (D + 1)), above which the mechanism is unstable", above=0)
    attention: Literal["trained", "frozen"] = setting("trained", "frozen: W stays zero, every group counts alike")
    batch_size: int = setting(200, "items per step, antithetic pairs; paper: the whole distribution", at_least=2)
    steps: int = setting(3000, "gradient steps", at_least=1)
    evaluations: int = setting(24, "measurements, evenly spaced in log steps", at_least=2)

    @property
    def lr(self) -> float:
        """Eta."""
        return self.step_size * 16 / (self.groups * (self.groups + 1))

    def check(self) -> None:
        """Pairs are even; relevant groups exist; added positions need room."""
        if self.batch_size % 2:
            raise UsageError(f"batch_size must be even, got {self.batch_size}")
        if self.relevant > self.groups:
            raise UsageError(f"relevant must be at most groups = {self.groups}, got {self.relevant}")
        if self.positions == "added" and self.features < self.groups:
            raise UsageError(f"added positions need features >= groups, got {self.features} and {self.groups}")


@dataclass(frozen=True, kw_only=True)
class TransferConfig(LearnConfig):
    """Then one pass over n items of a second task, W and v both moving, v from zero."""

    items: tuple[int, ...] = setting((10, 25, 50, 100, 200, 400), "n at which the second task is measured", at_least=1)
    margin: float = setting(0.5, "gamma of the second task; a second run has none", at_least=0)
    transfer_lr: float = setting(1e-3, "step size on the second task, from a prototype's grid", above=0)
    repeats: int = setting(12, "second tasks per seed", at_least=1)


@dataclass(frozen=True, kw_only=True)
class LinearConfig(GroupConfig):
    """Logistic regression on all features, and on the relevant group alone."""

    items: tuple[int, ...] = setting((10, 25, 50, 100, 200, 400), "n at which it is measured", at_least=1)
    margin: float = setting(0.5, "gamma; a second run has none", at_least=0)
    lr: float = setting(0.05, "step size of one pass over the items", above=0)
    repeats: int = setting(12, "tasks per seed", at_least=1)


def arms(
    sizes: dict[str, Any], learn: dict[str, Any], brief: dict[str, Any], second: dict[str, Any], added: dict[str, Any]
) -> dict[str, Arm]:
    """A transformer that also learns second tasks, one change at a time, and the rivals on the second tasks."""
    paper = TransferConfig(**sizes, **learn, **second)
    single = LearnConfig(**sizes, **learn)
    configs: dict[str, tuple[str, Config]] = {
        "transformer": ("transfer", paper),
        "transformer-scratch": ("scratch", paper.replace(transfer_lr=1e-2)),
        "transformer-frozen": ("learn", single.replace(attention="frozen", **brief)),
        "transformer-unstable": ("learn", single.replace(step_size=4.0, **brief)),
        "transformer-margin": ("learn", single.replace(first_margin=0.5)),
        "transformer-pair": ("learn", single.replace(relevant=2)),
        "transformer-added": ("learn", LearnConfig(positions="added", **{**learn, **brief, **added, "step_size": 0.4})),
        "logistic": ("linear", LinearConfig(**sizes, **second)),
    }
    return {
        name: Arm(f"{HERE}:{experiment}", config, seeds_per_job=SEEDS_PER_JOB)
        for name, (experiment, config) in configs.items()
    }


ARMS: dict[Scale, dict[str, Arm]] = {
    "smoke": arms(
        {"features": 3, "groups": 4, "test_size": 50, "second_test_size": 50},
        {"batch_size": 8, "steps": 12, "evaluations": 6},
        {},
        {"items": (2, 6), "repeats": 1},
        {"features": 4, "groups": 4, "test_size": 50, "second_test_size": 50},
    ),
    "laptop": arms({}, {}, {"steps": 1500}, {}, {"features": 8, "groups": 8}),
    "paper": arms(
        {"features": 32, "groups": 32},
        {"batch_size": 1000, "steps": 20_000, "step_size": 0.5, "evaluations": 60},
        {},
        {"items": (10, 25, 50, 100, 200, 400, 1000, 2000), "repeats": 20},
        {"features": 32, "groups": 32},
    ),
}
