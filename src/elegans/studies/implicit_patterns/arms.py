"""Which language model, shown or taught which patterns, at three scales.

The subject is a Hugging Face causal language model: one in a local directory, ``--lm DIR``, or a tiny Llama that the arm
`pretrained` grows for each seed on documents of pointer reading. Its pattern `seen` stood in these documents, the pattern
`held-out` did not. A model from a directory reads the paper's four domains and linear equations as `seen`, and pointer
reading, which no corpus has, as `held-out`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Arm, Config, Needs, Scale, UsageError, setting

HERE = "elegans.studies.implicit_patterns"
SEEN = 2
"""The cell where questions with the seen pattern end; those with the held-out one end at the last cell."""
FAMILIES = ("seen", "held-out")


# ------------------------------------------------------------------------------------------------ configs


@dataclass(frozen=True, kw_only=True)
class Subject(Config):
    """The language model and the size of pointer reading."""

    lm: str = setting("", "directory of a Hugging Face causal LM; empty: grow a tiny one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting("auto", "of the weights of `lm` in memory")
    cells: int = setting(6, "cells of a pointer-reading question", at_least=SEEN + 2)
    values: int = setting(12, "values that a cell may hold, at least as many as cells", at_least=2)
    hops: int = setting(
        5, "pointers to follow; more than the tiny model has layers, so that it cannot always", at_least=1
    )
    batch: int = setting(250, "questions read at once where nothing is trained", at_least=1)

    def check(self) -> None:
        """Every value points at a cell, and every cell can be pointed at."""
        if self.values < self.cells:
            raise UsageError(f"values must be at least cells, got {self.values} and {self.cells}")


@dataclass(frozen=True, kw_only=True)
class GrowConfig(Subject):
    """Pretraining of a tiny Llama on documents of solved questions, some normal, some with one seen pattern throughout.

    AdamW, betas 0.9 and 0.98, a cosine down to 0, gradients clipped at 1; only answers are trained. It ends long before
    convergence: a model that can follow the pointers has no use for a pattern.
    """

    width: int = setting(64, "residual stream", at_least=1)
    depth: int = setting(3, "blocks", at_least=1)
    heads: int = setting(4, "attention heads", at_least=1)
    ffn: int = setting(192, "inner width of the MLP", at_least=1)
    documents: int = setting(32, "documents per update", at_least=1)
    per_document: int = setting(8, "questions of a document", at_least=2)
    normal: float = setting(0.4, "share of documents without a pattern", at_least=0, at_most=1)
    steps: int = setting(1100, "updates", at_least=1)
    warmup: int = setting(0, "updates of linear increase of the learning rate", at_least=0)
    lr: float = setting(3e-3, "learning rate", above=0)
    weight_decay: float = setting(0.05, "AdamW's weight decay", at_least=0)
    looks: int = setting(5, "measurements on the way, evenly spread", at_least=1)
    n_eval: int = setting(250, "documents of each kind in a measurement", at_least=1)


@dataclass(frozen=True, kw_only=True)
class Asked(Subject):
    """Which questions are asked, and how an answer is read."""

    family: Literal["seen", "held-out"] = setting("seen", "whether the pattern stood in the pretraining documents")
    n_eval: int = setting(500, "questions of each kind in `test`, and in `select`", at_least=1)
    answer_tokens: int = setting(8, "tokens of an answer at most, for a model from a directory", at_least=1)


@dataclass(frozen=True, kw_only=True)
class ShotsConfig(Asked):
    """In-context learning: solved questions in front, no weight is changed."""

    shots: tuple[int, ...] = setting((0, 1, 3, 7), "solved questions in front; the last number is k*", at_least=0)

    def check(self) -> None:
        """From none to k*."""
        super().check()
        if len(self.shots) < 2 or self.shots[0] != 0 or list(self.shots) != sorted(set(self.shots)):
            raise UsageError(f"shots must increase from 0, got {self.shots}")


@dataclass(frozen=True, kw_only=True)
class TuneConfig(Asked):
    """Fine-tuning at a grid of sample counts and learning rates; AdamW, warm-up, then constant, clipped at 1.

    Each is scored on `select`, which decides between learning rates, and on `test`, which is reported.
    """

    kind: Literal["implicit", "normal"] = setting("implicit", "of the questions trained on")
    samples: tuple[int, ...] = setting((7, 16, 32, 64, 512, 4096), "solved questions to train on, N", at_least=1)
    rates: tuple[float, ...] = setting((1e-4, 5e-4, 2e-3), "learning rates", above=0)
    repeats: int = setting(3, "draws of the questions where there are few of them", at_least=1)
    few: int = setting(64, "up to how many are few; with more there is one draw", at_least=0)
    steps: int = setting(100, "updates; the released run evaluates its checkpoint 100", at_least=1)
    batch_size: int = setting(16, "questions per update, N if that is fewer; released: 16 or 32", at_least=1)
    warmup: int = setting(20, "updates of linear increase of the learning rate; released: 20", at_least=0)
    loss_on: Literal["answer", "all"] = setting("answer", "the tokens trained on; released: all, the question too")
    rank: int = setting(0, "rank of LoRA adapters on the attention projections; 0: all weights", at_least=0)
    alpha: float = setting(16.0, "LoRA's alpha", above=0)


@dataclass(frozen=True, kw_only=True)
class ShiftConfig(Asked):
    """Effects of heads and MLPs by activation patching: without shots, with shots, after fine-tuning."""

    shots: int = setting(7, "solved questions in front, k*", at_least=1)
    pairs: int = setting(150, "pairs of questions with different answers in a sample", at_least=1)
    resamples: int = setting(4, "disjoint samples of pairs; two of them give a value of the noise floor", at_least=3)
    top: int = setting(5, "components of the Jaccard distance", at_least=1)
    samples: int = setting(4096, "questions to fine-tune on", at_least=1)
    rate: float = setting(5e-4, "learning rate of fine-tuning", above=0)
    paper_rate: float = setting(1e-5, "the released one", above=0)
    steps: int = setting(100, "updates at most", at_least=1)
    batch_size: int = setting(16, "questions per update", at_least=1)
    warmup: int = setting(20, "updates of linear increase of the learning rate", at_least=0)
    look_every: int = setting(
        2, "updates between looks at `select`, to stop where few-shot accuracy is met", at_least=1
    )
    patched: int = setting(200, "pairs patched at once", at_least=1)
    least_difference: float = setting(0.5, "logit difference between clean and corrupt run below which nothing is said")


# ------------------------------------------------------------------------------------------------ arms


def arms(
    grow: GrowConfig, shots: ShotsConfig, tune: TuneConfig, lora: TuneConfig, paper: TuneConfig, shift: ShiftConfig
):
    """All arms; what they have in common is in the configs given."""
    of_family: dict[str, tuple[str, Config]] = {}
    for family in FAMILIES:
        of_family |= {
            f"icl-{family}": ("experiments:in_context", shots.replace(family=family)),
            f"ft-{family}": ("experiments:fine_tuned", tune.replace(family=family)),
            f"ft-paper-{family}": ("experiments:fine_tuned", paper.replace(family=family)),
        }
    last = {"samples": tune.samples[-1:], "repeats": 1}
    of_family |= {
        "lora-seen": ("experiments:fine_tuned", lora),
        "ft-normal-seen": ("experiments:fine_tuned", tune.replace(kind="normal", **last)),
    }
    of_family |= {f"shift-{family}": ("circuits:shifted", shift.replace(family=family)) for family in FAMILIES}
    needs: Mapping[str, Needs] = {"lm": Needs("pretrained")}
    found = {"pretrained": Arm(f"{HERE}.experiments:pretrained", grow)}
    return found | {name: Arm(f"{HERE}.{what}", config, needs) for name, (what, config) in of_family.items()}


def smoke() -> dict[str, Arm]:
    """Seconds: proves the plumbing, judges nothing."""
    few: dict[str, Any] = {"cells": 4, "values": 6, "hops": 2, "n_eval": 8}
    tune: dict[str, Any] = {"samples": (2, 4, 8), "steps": 2, "batch_size": 4, "repeats": 2, "few": 2, **few}
    return arms(
        GrowConfig(width=16, depth=2, heads=2, ffn=24, documents=4, per_document=4, steps=4, looks=2, **few),
        ShotsConfig(shots=(0, 1, 2), **few),
        TuneConfig(rates=(1e-3, 1e-2), **tune),
        TuneConfig(rates=(1e-2,), rank=2, **tune),
        TuneConfig(rates=(1e-5,), loss_on="all", **tune),
        ShiftConfig(shots=2, pairs=4, resamples=3, top=2, samples=8, steps=4, least_difference=0.0, **few),
    )


def laptop() -> dict[str, Arm]:
    """Two CPU cores; a tiny Llama for each seed."""
    return arms(
        GrowConfig(),
        ShotsConfig(),
        TuneConfig(),
        TuneConfig(rates=(2e-3, 1e-2), rank=8, samples=(7, 64, 512, 4096), repeats=1),
        TuneConfig(rates=(1e-5,), loss_on="all", samples=(7, 64, 512, 4096), repeats=1),
        ShiftConfig(),
    )


def paper() -> dict[str, Arm]:
    """The published protocol beside a tuned one, for ``--lm DIR`` on a GPU; without it a tiny model is grown."""
    size: dict[str, Any] = {"n_eval": 1000, "batch": 32}
    samples = {"samples": (16, 64, 512, 1600, 4000), "repeats": 3}
    return arms(
        GrowConfig(n_eval=1000, looks=20),
        ShotsConfig(shots=(0, 1, 2, 4, 8, 16), **size),
        TuneConfig(rates=(1e-5, 5e-5, 2e-4), **samples, **size),
        TuneConfig(rates=(2e-4, 1e-3), rank=8, **samples, **size),
        TuneConfig(rates=(1e-5,), loss_on="all", samples=(16, 64, 512, 1600, 4000), repeats=1, **size),
        ShiftConfig(shots=16, pairs=200, samples=4000, rate=5e-5, patched=4, look_every=5, **size),
    )


ARMS: dict[Scale, dict[str, Arm]] = {"smoke": smoke(), "laptop": laptop(), "paper": paper()}
