"""Several seeds of one condition, as a stack or one after another, whichever is faster for their size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import xarray as xr
from torch import nn

from elegans.tasks.base import Task
from elegans.training.ensemble import Ensemble, TaskStack, stacks
from elegans.training.loop import Run, fit, joined


def fit_seeds(
    make: Callable[[int], tuple[nn.Module, Task]], seeds: Sequence[int], *, run: Run | None = None, **how: Any
) -> xr.Dataset:
    """`fit` for every seed, along a ``seed`` dimension; `make` gives the model and the task of a seed.

    Members of a stack agree with single runs up to rounding, so the choice moves numbers in the last digits only.
    Returns what `fit` measured; the trained models are dropped. `how` goes to `fit`.
    """
    pairs = [make(seed) for seed in seeds]
    models, tasks = [model for model, _ in pairs], [task for _, task in pairs]
    device = run.device if run else torch.device("cpu")
    if stacks(models[0], device):
        return fit(Ensemble(models), TaskStack(tasks, seeds), run=run, **how)
    parts = [
        fit(model, task, seed=seed, run=run, name=f"fit-{seed}", **how)
        for seed, (model, task) in zip(seeds, pairs, strict=True)
    ]
    return joined(parts, "seed").assign_coords(seed=list(seeds))
