"""Who plans, and how: three models per seed, plans without search, searches, and what is measured of their rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Needs, Scale, UsageError, setting

HERE = "elegans.studies.contrastive_mcts"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """A decoder on relational words: AdamW, warm-up, a line down to 0, an average of the weights that is what counts."""

    model: str = setting(
        "elegans.models.factored:Factored", "a model that takes `factors` and `outputs`: 'package.module:Class'"
    )
    role: Literal["expert", "amateur", "draft"] = setting(
        "expert", "which of a seed's models; each has its own batches"
    )
    width: int = setting(64, "residual stream", at_least=1)
    depth: int = setting(3, "blocks", at_least=1)
    heads: int = setting(4, "attention heads", at_least=1)
    context: int = setting(64, "longest sequence in words: 5 blocks and 18 actions", at_least=48)
    std: float = setting(0.08, "initial standard deviation of matrices", above=0)
    embedding_std: float = setting(0.1, "initial standard deviation of embeddings", above=0)
    max_blocks: int = setting(
        5, "problems have 3 to so many blocks; n of them have a share of n - 2", at_least=3, at_most=5
    )
    steps: int = setting(6000, "updates", at_least=1)
    batch_size: int = setting(32, "sequences per update", at_least=1)
    lr: float = setting(4e-3, "highest learning rate", above=0)
    weight_decay: float = setting(0.05, "of AdamW, on matrices", at_least=0)
    warmup: int = setting(60, "updates of linear increase", at_least=0)
    ema: float = setting(0.997, "decay of the average", above=0)
    n_eval: int = setting(256, "sequences of each kind to score", at_least=1)
    stages: tuple[float, ...] = setting(
        (1.0,), "shares of the training after which weights are kept", above=0, at_most=1
    )

    def check(self) -> None:
        """The last stage is the end."""
        if list(self.stages) != sorted(set(self.stages)) or self.stages[-1] != 1:
            raise UsageError(f"stages must rise and end at 1, got {self.stages}")


@dataclass(frozen=True, kw_only=True)
class ProblemConfig(Config):
    """Problems of classes that no model was trained on, with shortest plans of at least four actions."""

    part: Literal["dev", "test"] = setting("test", "classes to choose settings on, or to report on")
    four: int = setting(18, "problems of four blocks", at_least=0)
    five: int = setting(132, "problems of five blocks", at_least=0)


@dataclass(frozen=True, kw_only=True)
class PlanConfig(ProblemConfig):
    """Whole plans in one text."""

    temperature: float = setting(1.0, "of sampled plans", above=0)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(ProblemConfig):
    """Every search of `settings`, on the same problems."""

    prior_four: int = setting(5, "problems of four blocks, of other classes, whose rewards set scales", at_least=0)
    prior_five: int = setting(35, "the same of five blocks", at_least=1)


@dataclass(frozen=True, kw_only=True)
class RewardConfig(ProblemConfig):
    """Each reward against the true distance to the goal, at the choices of a planner who errs."""

    wrong: float = setting(0.3, "probability that the planner takes any action in place of an optimal one", at_most=1)


@dataclass(frozen=True, kw_only=True)
class SpeculationConfig(Config):
    """Next states written with and without a draft, in turn, in seconds of one core."""

    states: int = setting(12, "states", at_least=1)
    rounds: int = setting(3, "measurements per state, whose median counts", at_least=1)
    deep: int = setting(55, "blocks of the slow expert, all above the trained ones adding nothing", at_least=1)
    middle: int = setting(24, "blocks of the faster one", at_least=1)
    gammas: tuple[int, ...] = setting((2, 4, 8), "tokens drafted at a time; 4 is compared across models", at_least=1)

    def check(self) -> None:
        """All models are compared at 4."""
        if 4 not in self.gammas:
            raise UsageError(f"gammas must include 4, got {self.gammas}")


# ------------------------------------------------------------------------------------------------ the arms


def arms(
    expert: TrainConfig,
    amateur: TrainConfig,
    draft: TrainConfig,
    plans: PlanConfig,
    searches: SearchConfig,
    rewards: RewardConfig,
    speculation: SpeculationConfig,
) -> dict[str, Arm]:
    """Three models of each seed, and what is asked of them."""
    needs = {name: Needs(name) for name in ("expert", "amateur", "draft")}

    def of(*names: str) -> dict[str, Needs]:
        return {name: needs[name] for name in names}

    return {
        "expert": Arm(f"{HERE}.training:train", expert),
        "amateur": Arm(f"{HERE}.training:train", amateur.replace(role="amateur")),
        "draft": Arm(f"{HERE}.training:train", draft.replace(role="draft")),
        "plans": Arm(f"{HERE}.plans:plan", plans, of("expert")),
        "search": Arm(f"{HERE}.searching:search", searches, of("expert", "amateur")),
        "rewards": Arm(f"{HERE}.rewards:judge", rewards, of("expert", "amateur")),
        "speculation": Arm(f"{HERE}.speculation:speculate", speculation, of("expert", "draft")),
    }


STAGES = (0.2, 0.5, 1.0)


def smoke() -> dict[str, Arm]:
    """Seconds: proves the plumbing, judges nothing."""
    tiny = TrainConfig(width=8, depth=1, heads=2, max_blocks=4, steps=5, batch_size=4, n_eval=8)
    few: dict[str, Any] = {"four": 2, "five": 0}
    return arms(
        tiny.replace(stages=STAGES),
        tiny,
        tiny,
        PlanConfig(**few),
        SearchConfig(**few, prior_four=3, prior_five=1),
        RewardConfig(**few),
        SpeculationConfig(states=2, rounds=1, deep=3, middle=2, gammas=(2, 4)),
    )


def laptop() -> dict[str, Arm]:
    """Two CPU cores, about 3.5 minutes for each seed."""
    expert = TrainConfig(stages=STAGES)
    return arms(
        expert,
        TrainConfig(width=48, depth=1, heads=2, steps=2500),
        TrainConfig(width=48, depth=2, heads=4, steps=2800),
        PlanConfig(),
        SearchConfig(),
        RewardConfig(four=6, five=44),
        SpeculationConfig(),
    )


def paper() -> dict[str, Arm]:
    """Models of 25 and 1 million parameters trained far longer, on as many problems as there are classes, for a GPU.

    The paper's own models have 70 billion and 1 billion; `elegans solve` searches with such models.
    """
    small = TrainConfig(width=128, depth=4, heads=4, std=0.04, steps=100_000, batch_size=512, lr=1e-3, n_eval=2048)
    many: dict[str, Any] = {"four": 22, "five": 189}
    return arms(
        small.replace(width=512, depth=8, heads=8, std=0.02, stages=STAGES),
        small,
        small,
        PlanConfig(**many),
        SearchConfig(**many),
        RewardConfig(**many),
        SpeculationConfig(states=100, rounds=5),
    )


ARMS: dict[Scale, dict[str, Arm]] = {"smoke": smoke(), "laptop": laptop(), "paper": paper()}
