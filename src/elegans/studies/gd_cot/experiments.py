"""How the arms are trained and what is measured.

Over training (`step`): the error of the answer and the weights. At the end, for every distribution of prompts (`split`)
and number of thoughts at test time (`thoughts`): the error of the model and of gradient descent on the same prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from elegans.lab.run import Run
from elegans.models.weight_prediction import ContinuousCoT, LinearSelfAttention, LoopedPrediction
from elegans.ops.vector_tokens import Blocks
from elegans.probes.algorithm import agreement, error_over_steps, gauge_products, relative_agreement, useless_share
from elegans.studies.gd_cot.arms import WeightPredictionConfig
from elegans.tasks.base import Batch, evaluating
from elegans.tasks.weight_prediction import (
    InContextWeightPrediction,
    Shift,
    gd_path,
    one_step_optimum,
    ridge,
)
from elegans.training.ensemble import Ensemble, TaskStack
from elegans.training.loop import Measure, fit, joined, log_steps
from elegans.training.optim import Optim

SHIFTS = {
    "spectrum 0.5 to 1.5": Shift(spectrum=(0.5, 1.5)),
    "spectrum 0.25 to 1": Shift(spectrum=(0.25, 1.0)),
    "spectrum 2": Shift(spectrum=(2.0, 2.0)),
    "label noise": Shift(noise=1.0),
}
"""Prompts that training never shows; training has a spectrum of 1 and no noise."""

Predictor = ContinuousCoT | LoopedPrediction


def train(config: WeightPredictionConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """One arm, all seeds as a stack."""
    models = Ensemble([_model(config, seed) for seed in seeds])
    tasks = [_task(config, seed) for seed in seeds]
    own = config.supervision in ("outcome", "loop")
    history = fit(
        models,
        TaskStack(tasks, seeds),
        steps=config.steps,
        batch_size=config.batch_size,
        optim=Optim(
            lr=config.lr,
            schedule=config.schedule,
            clip=config.clip,
            warmup=config.warmup,
        ),
        evaluate_at=log_steps(config.steps, config.evaluations),
        measure=_on_the_way(config),
        objective=answer_loss if own else vector_loss,
        run=run,
    )
    at_end = [_at_end(m, t, config) for m, t in zip(models.members(), tasks, strict=True)]  # pyright: ignore[reportArgumentType]
    return history.merge(joined(at_end, "seed").assign_coords(seed=list(seeds))).assign(
        trained_thoughts=config.thoughts
    )


def vector_loss(model: nn.Module, batch: Batch) -> Float[Tensor, "*members"]:
    """1/2 |f - (0, 0, w, 1)|^2 summed over thoughts: process supervision, or the direct answer as its single thought."""
    wanted = Blocks(batch.targets.shape[-1]).embed_weights(batch.targets)
    return (model(batch.tokens) - wanted).square().sum((-1, -2)).mean(-1) / 2


def answer_loss(model: nn.Module, batch: Batch) -> Float[Tensor, "*members"]:
    """1/2 |w_k - w|^2 of the last estimate alone: outcome supervision, through the model's own thoughts or loops."""
    answer = model(batch.tokens)[..., -1, Blocks(batch.targets.shape[-1]).slices["w"]]
    return (answer - batch.targets[..., -1, :]).square().sum(-1).mean(-1) / 2


def _task(config: WeightPredictionConfig, seed: int) -> InContextWeightPrediction:
    return InContextWeightPrediction(
        d=config.d,
        n=config.n,
        supervision="process" if config.supervision == "process" else "outcome",
        thoughts=config.thoughts,
        eta=config.eta,
        shifts=SHIFTS,
        n_eval=config.n_eval,
        seed=seed,
    )


def _model(config: WeightPredictionConfig, seed: int) -> Predictor:
    layer = LinearSelfAttention(d=config.d, n=config.n, init=config.init, sigma=config.sigma, seed=seed)
    if config.supervision == "loop":
        return LoopedPrediction(layer, loops=config.thoughts)
    return ContinuousCoT(layer, thoughts=config.thoughts, forced=config.supervision != "outcome")


# ------------------------------------------------------------------------------------------------ measurements


def _estimates(model: Predictor, prompts: Tensor, steps: int) -> Float[Tensor, "B k1 d"]:
    device = next(model.parameters()).device
    with evaluating(model):
        return model.path(prompts.to(device), steps)[..., model.layer.blocks.slices["w"]].cpu()


def _on_the_way(config: WeightPredictionConfig) -> Measure:
    def measure(model: Predictor, task: InContextWeightPrediction) -> xr.Dataset:
        """The answer's error after the trained number of thoughts, the products of the weights, and the weights."""
        prompts, w = task.prompts("id")
        path = _estimates(model, prompts[:512], config.thoughts)
        blocks = gauge_products(model.layer)
        V, W = model.layer.attention.V, model.layer.attention.key_query()
        weights = torch.stack([V, W]).detach().cpu().numpy()
        return xr.Dataset(
            {
                "training_error": error_over_steps(path, w[:512, None]).error.isel(thoughts=-1, drop=True),
                **{f"{name}_product": block.diagonal().mean().item() for name, block in blocks.items()},
                "weights": (("matrix", "row", "column"), weights),
            },
            coords={"matrix": ["V", "W"], "row": np.arange(len(V)), "column": np.arange(len(V))},
        )

    return measure


def _at_end(model: Predictor, task: InContextWeightPrediction, config: WeightPredictionConfig) -> xr.Dataset:
    """Errors and agreement with gradient descent for all splits, and what the weights hold beside its solution."""
    splits = [split for split in task.splits if split != "train"]
    found = joined([_on_split(model, task, split, config) for split in splits], "split").assign_coords(split=splits)
    share = useless_share(model.layer)
    step, floor = one_step_optimum(config.n, covariance=torch.eye(config.d))
    return found.assign(
        useless_share=("matrix", [share[name] for name in ("V", "W")]), best_step=step, one_step_floor=floor
    ).assign_coords(matrix=["V", "W"])


def _on_split(
    model: Predictor, task: InContextWeightPrediction, split: str, config: WeightPredictionConfig
) -> xr.Dataset:
    prompts, w = task.prompts(split)
    x, y = task.examples(prompts)
    path = _estimates(model, prompts, config.test_thoughts)
    reference = gd_path(x, y, eta=config.eta, steps=config.test_thoughts)
    best_single = gd_path(x, y, eta=one_step_optimum(config.n, covariance=torch.eye(config.d))[0], steps=1)
    noise = task.shifts[split].noise
    return error_over_steps(path, w[:, None]).assign(
        gd_error=error_over_steps(reference, w[:, None]).error,
        distance=agreement(path, reference),
        relative_distance=relative_agreement(path, reference),
        best_single_error=error_over_steps(best_single, w[:, None]).error.isel(thoughts=-1, drop=True),
        ridge_error=error_over_steps(ridge(x, y, noise=noise)[:, None], w[:, None]).error.isel(thoughts=-1, drop=True),
    )
