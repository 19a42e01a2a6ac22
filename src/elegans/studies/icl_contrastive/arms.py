"""Which attention layers are compared with their dual models, and which are trained on in-context regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Scale, UsageError, setting

HERE = "elegans.studies.icl_contrastive.experiments"


@dataclass(frozen=True, kw_only=True)
class DualConfig(Config):
    """What the untrained comparisons share: a random layer, prompts of Gaussian tokens times `norm`, float64."""

    width: int = setting(12, "token and head width d (prototype scale)", at_least=2)
    demonstrations: int = setting(15, "demonstrations N", at_least=2)
    query_side: int = setting(4, "query-side tokens T, the query among them", at_least=1)
    prompts: int = setting(20, "random prompts per condition", at_least=1)


@dataclass(frozen=True, kw_only=True)
class IdentityConfig(DualConfig):
    """One real gradient step against attention, with exact features; ablations, modifications, many steps."""

    norms: tuple[float, ...] = setting((1.0, 0.5, 0.3), "standard deviations of the tokens' coordinates", above=0)
    alpha: float = setting(0.5, "strength of the regularization, below 2", above=0)
    alpha_divergent: float = setting(2.5, "a regularization too strong to converge", above=2)
    beta: float = setting(1.0, "strength of the negatives", above=0)
    num_negatives: int = setting(4, "negatives per demonstration", at_least=1)
    steps: int = setting(60, "gradient steps towards the fixed point", at_least=5)
    heat_map_features: int = setting(1024, "random features in the kernel heat map", at_least=1)

    def check(self) -> None:
        """The negatives are other demonstrations, and the regularized iteration converges."""
        if self.num_negatives >= self.demonstrations:
            raise UsageError(
                f"num_negatives must be below demonstrations = {self.demonstrations}, got {self.num_negatives}"
            )
        if self.alpha >= 2:
            raise UsageError(f"alpha must be below 2, got {self.alpha}")


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig(DualConfig):
    """The same step with random features: how does the error fall with their number?"""

    norms: tuple[float, ...] = setting((2.0, 1.0, 0.5, 0.3), "norms at which independent features are drawn", above=0)
    variant_norm: float = setting(0.5, "the norm at which repeated and orthogonal features are drawn too", above=0)
    features: tuple[int, ...] = setting((256, 1024, 4096, 16384), "numbers of random features R", at_least=1)

    def check(self) -> None:
        """A slope needs two numbers; `variant_norm` is compared with independent features of that norm."""
        if len(self.features) < 2 or list(self.features) != sorted(set(self.features)):
            raise UsageError(f"features must be at least two increasing numbers, got {self.features}")
        if self.variant_norm not in self.norms:
            raise UsageError(f"variant_norm must be one of norms = {self.norms}, got {self.variant_norm}")


@dataclass(frozen=True, kw_only=True)
class RegressionConfig(Config):
    """One softmax attention layer, plain or modified, trained to predict f(x') from pairs (x_i, f(x_i))."""

    function: Literal["linear", "sine", "exponential"] = setting("linear", "the task; paper: these three kinds")
    width: int = setting(5, "input width; the layer's is one more", at_least=1)
    demonstrations: int = setting(15, "demonstrations per prompt", at_least=2)
    weight_std: float = setting(1.0, "standard deviation of the task's weights", above=0)
    query_side: Literal[0, 1] = setting(0, "1 lets the query token, whose label is 0, attend to itself")
    alpha: float = setting(0.0, "regularization: query-side values times 1 - alpha")
    negatives: Literal["none", "least-similar", "random"] = setting("none", "which demonstrations are negatives")
    beta: float = setting(1.0, "strength of the negatives, where there are any", at_least=0)
    num_negatives: int = setting(4, "negatives per demonstration", at_least=1)
    augment_keys: Literal["none", "mlp", "linear"] = setting("none", "augmentation of keys")
    augment_values: Literal["none", "mlp", "linear"] = setting("none", "augmentation of values")
    hidden: int = setting(32, "hidden units of an augmentation", at_least=1)
    steps: int = setting(1000, "updates", at_least=1)
    batch_size: int = setting(64, "prompts per update", at_least=1)
    lr: float = setting(0.01, "Adam's learning rate, falling to 0 along a line", above=0)
    restarts: int = setting(4, "starts per seed; the one with the lowest validation error counts", at_least=1)
    evaluations: int = setting(5, "measurements, evenly spaced over the steps", at_least=1)

    def check(self) -> None:
        """The negatives are other demonstrations."""
        if self.negatives != "none" and self.num_negatives >= self.demonstrations:
            raise UsageError(
                f"num_negatives must be below demonstrations = {self.demonstrations}, got {self.num_negatives}"
            )


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "augmented-keys": {"augment_keys": "mlp"},
    "augmented-linear": {"augment_keys": "linear"},
    "negatives": {"negatives": "least-similar"},
    "random-negatives": {"negatives": "random"},
}
"""The layers trained on every function."""

LINEAR_ONLY: dict[str, dict[str, Any]] = {
    "augmented-values": {"augment_values": "mlp"},
    "with-query": {"query_side": 1},
    "regularized": {"query_side": 1, "alpha": 0.5},
}


def arms(identity: IdentityConfig, features: FeaturesConfig, regression: RegressionConfig) -> dict[str, Arm]:
    """The two comparisons without training, and every layer on every function."""
    found = {
        "identity": Arm(f"{HERE}:identity", identity, seeds_per_job=8),
        "features": Arm(f"{HERE}:features", features, seeds_per_job=8),
    }
    for function in ("linear", "sine", "exponential"):
        # exp(w . x) of N(0, I) weights has a heavy tail that a handful of prompts dominates
        base = regression.replace(function=function, weight_std=0.5 if function == "exponential" else 1.0)
        for name, changes in (VARIANTS | (LINEAR_ONLY if function == "linear" else {})).items():
            found[f"{function}-{name}"] = Arm(f"{HERE}:regression", base.replace(**changes), seeds_per_job=8)
    return found


ARMS: dict[Scale, dict[str, Arm]] = {
    "smoke": arms(
        IdentityConfig(prompts=2, steps=6, heat_map_features=16),
        FeaturesConfig(prompts=2, features=(16, 64)),
        RegressionConfig(steps=5, batch_size=8, restarts=2, hidden=4, evaluations=1),
    ),
    "laptop": arms(IdentityConfig(), FeaturesConfig(), RegressionConfig()),
    "paper": arms(
        IdentityConfig(width=64, demonstrations=50, prompts=100),
        FeaturesConfig(width=64, demonstrations=50, prompts=100, features=(256, 1024, 4096, 16384, 65536)),
        RegressionConfig(
            width=20, demonstrations=50, hidden=84, steps=20_000, batch_size=256, lr=0.003, evaluations=40
        ),
    ),
}
