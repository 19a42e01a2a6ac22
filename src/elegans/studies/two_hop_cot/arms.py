"""Which models are trained on which facts, at three scales.

All arms of a seed share their graph, their OOD facts and their split; noise and training differ. *Exposure* is how often
an update has met each OOD fact, on average: updates x batch size / trained items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Scale, UsageError, setting

HERE = "elegans.studies.two_hop_cot.experiments"


@dataclass(frozen=True, kw_only=True)
class FactsConfig(Config):
    """A decoder from scratch on atomic and two-hop facts; loss on the bridge and the tail."""

    model: str = setting("gpt", "a registered model, or 'package.module:Class'")
    width: int = setting(64, "residual stream; released code: 768", at_least=1)
    depth: int = setting(2, "layers; released code: 8, also 2 and 4", at_least=1)
    heads: int = setting(4, "attention heads; released code: 12", at_least=1)
    dropout: float = setting(0.0, "dropout rate; released code: 0.1", at_least=0, at_most=0.9)

    n_entities: int = setting(60, "entities; paper: 2000", at_least=2)
    n_relations: int = setting(30, "relations; paper: 200", at_least=1)
    out_degree: int = setting(30, "facts per head; paper: 20", at_least=1)
    ood_share: float = setting(
        0.1, "share of atomic facts that are no hop in training; paper: 0.05", at_least=0, at_most=1
    )
    lam: float = setting(7.2, "two-hop facts trained per ID atomic fact (lambda); paper: 3.6 to 18", at_least=0)
    test_share: float = setting(0.05, "share of ID two-hop facts held out; released code: 0.005", at_least=0, at_most=1)
    cot: bool = setting(True, "whether two-hop answers name the bridge")
    order: Literal["after", "interleaved"] = setting(
        "after", "the bridge after both relations (paper), or between them"
    )
    without_ood_atomics: bool = setting(False, "leave the OOD facts out of training: the control that cannot know them")
    noise_first: float = setting(
        0.0, "probability that a trained bridge is replaced (xi), per two-hop item", at_least=0, at_most=1
    )
    noise_second: float = setting(
        0.0, "probability that a trained tail is replaced (xi), per two-hop item", at_least=0, at_most=1
    )
    noise_both: float = setting(
        0.0, "probability that both are replaced, by one coin per two-hop item", at_least=0, at_most=1
    )
    released_noise: bool = setting(False, "replaced bridges stay replaced, as in the released generator")

    steps: int = setting(1500, "updates; released noise runs: 20,000", at_least=1)
    batch_size: int = setting(256, "items per update; released code: 512", at_least=1)
    lr: float = setting(3e-3, "AdamW's learning rate, constant after the warm-up; released code: 0.0001", above=0)
    warmup: int = setting(100, "updates of linear warm-up; released code: 2000", at_least=0)
    weight_decay: float = setting(0.1, "AdamW's weight decay of matrices; released code: 0.1", at_least=0)
    clip: float = setting(1.0, "bound on the gradient's norm; released code: 1.0", above=0)
    ema: float = setting(
        0.997, "largest decay of the average of weights, which claims are read on (ours)", above=0, at_most=0.9999
    )
    evaluations: int = setting(15, "measurements, evenly spaced over the updates", at_least=1)
    evaluation_items: int = setting(300, "items of each split measured on the way; at the end it is all", at_least=1)
    circuit_items: int = setting(600, "ID and OOD items that lens and interventions look at", at_least=1)

    def check(self) -> None:
        """Heads divide the width, and relations suffice."""
        if self.width % self.heads:
            raise UsageError(f"width must be divisible by heads, got width {self.width} and heads {self.heads}")
        if self.out_degree > self.n_relations:
            raise UsageError(f"out_degree must be at most n_relations, {self.n_relations}, got {self.out_degree}")

    def trained_items(self) -> float:
        """How many items there are to train on."""
        n_facts = self.n_entities * self.out_degree
        return n_facts + self.lam * (1 - self.ood_share) * n_facts

    def with_lam(self, lam: float) -> FactsConfig:
        """The same with another lambda and as many updates as give the same exposure."""
        changed = self.replace(lam=lam)
        return changed.replace(steps=round(self.steps * changed.trained_items() / self.trained_items()))


def arms(base: FactsConfig, without_cot: dict[str, Any], others: dict[str, dict[str, Any]]) -> dict[str, Arm]:
    """The reference, one change at a time, and the same facts in other architectures."""
    cells = {
        "cot": base,
        "no-cot": base.replace(cot=False, **without_cot),
        "no-ood-atomics": base.replace(without_ood_atomics=True),
        "tail-noise-10": base.replace(noise_second=0.1),
        "tail-noise-20": base.replace(noise_second=0.2),
        "tail-noise-40": base.replace(noise_second=0.4),
        "tail-noise-100": base.replace(noise_second=1.0),
        "bridge-noise-20": base.replace(noise_first=0.2),
        "lambda-low": base.with_lam(base.lam / 2),
        "lambda-high": base.with_lam(base.lam * 1.75),
    }
    cells |= {model: base.replace(model=model, **changes) for model, changes in others.items()}
    return {name: Arm(f"{HERE}:two_hop", config) for name, config in cells.items()}


def smoke() -> dict[str, Arm]:
    """Seconds: proves the plumbing, judges nothing."""
    base = FactsConfig(
        width=16,
        heads=2,
        n_entities=12,
        n_relations=5,
        out_degree=5,
        ood_share=0.4,
        lam=1.0,
        steps=8,
        batch_size=16,
        evaluations=2,
        evaluation_items=20,
        circuit_items=10,
    )
    return arms(base, {"steps": 12}, {"mamba": {}, "rwkv4": {}, "looped": {}})


def laptop() -> dict[str, Arm]:
    """Two CPU cores, about twenty minutes for five seeds."""
    return arms(FactsConfig(), {"steps": 4000}, {"mamba": {"steps": 1000}, "rwkv4": {}, "looped": {}})


def paper() -> dict[str, Arm]:
    """The published sizes, for a GPU."""
    base = FactsConfig(
        width=768,
        depth=8,
        heads=12,
        dropout=0.1,
        n_entities=2000,
        n_relations=200,
        out_degree=20,
        ood_share=0.05,
        test_share=0.005,
        steps=20_000,
        batch_size=512,
        lr=1e-4,
        warmup=2000,
        evaluations=40,
        evaluation_items=3000,
    )
    return arms(base, {"steps": 1_500_000}, {"mamba": {}, "rwkv4": {}, "looped": {}})


ARMS: dict[Scale, dict[str, Arm]] = {"smoke": smoke(), "laptop": laptop(), "paper": paper()}
