"""How the arms are trained and what is measured.

One experiment: `probes.bayes.recall_report` on both test splits over training. ``id`` asks for answers that training
gives, ``ood`` for tokens that it shows as filler only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from elegans.lab.run import Run
from elegans.models.recall import RecallAttention
from elegans.probes.bayes import recall_report
from elegans.studies.in_context_recall.arms import RecallConfig
from elegans.tasks.base import Batch
from elegans.tasks.recall import InContextRecall, last_logits
from elegans.training.optim import Optim
from elegans.training.seeds import fit_seeds


def train(config: RecallConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """One arm, all seeds."""

    def make(seed: int) -> tuple[RecallAttention, InContextRecall]:
        task = _task(config, seed)
        model = RecallAttention(
            vocab=config.n_tokens,
            n_triggers=config.n_triggers,
            alpha=task.noise_rate,
            kind=config.kind,
            free=config.free,
            train_value=config.train_value,
            seed=seed,
        )
        return model, task

    history = fit_seeds(
        make,
        seeds,
        steps=config.steps,
        batch_size=config.batch_size,
        optim=Optim(kind=config.optimizer, lr=config.lr, schedule=config.schedule),
        evaluate_at=config.evaluations,
        measure=recall_report,
        objective=last_nll,
        run=run,
    )
    return history.assign(
        alpha=config.alpha,
        lr=config.lr,
        n_triggers=config.n_triggers,
        chance=math.log(config.n_tokens),
        label_divergence=("seed", [_label_divergence(_task(config, seed)) for seed in seeds]),
    )


def last_nll(model: nn.Module, batch: Batch) -> Float[Tensor, "*members"]:
    """The loss: negative log-likelihood after the last token, mean over sentences."""
    logits, target = last_logits(model, batch.tokens), batch.targets[..., -1]
    nll = torch.nn.functional.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
    return nll.view(target.shape).mean(-1)


def _task(config: RecallConfig, seed: int) -> InContextRecall:
    return InContextRecall(
        n_tokens=config.n_tokens,
        length=config.length,
        n_triggers=config.n_triggers,
        n_outputs=config.n_outputs,
        alpha=config.alpha,
        n_answer=config.n_answer,
        n_noise=config.n_noise,
        n_train=config.n_train or None,
        n_eval=config.n_eval,
        seed=seed,
    )


def _label_divergence(task: InContextRecall) -> float:
    """KL(alpha | rate of tau among the training targets): what counting labels costs, 0 for fresh sentences."""
    a, b = task.alpha, task.noise_rate
    return sum(p * math.log(p / q) for p, q in ((a, b), (1 - a, 1 - b)) if p > 0)
