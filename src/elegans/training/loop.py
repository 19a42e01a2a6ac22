"""The one training loop.

Everything here that trains by steps goes through `fit`: a single model or an ensemble of seeds, minibatches or full
batch, in a notebook or in the lab. Batch t of a seed is a pure function of (task, split, seed, t), and a checkpoint
holds weights, optimizer, average and history, so an interrupted training ends bit-identical to an undisturbed one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from elegans.ops.rng import torch_seed
from elegans.tasks.base import IGNORE, Batch, Task, score, token_nll
from elegans.training.checkpoint import Checkpoint, Point
from elegans.training.ensemble import Ensemble, TaskStack
from elegans.training.optim import EMA, Optim

CHECKPOINT_SECONDS = 10.0
"""Between two checkpoints, unless `fit` is told a number of steps."""
PROGRESS_SECONDS = 0.2
"""Between two progress messages: reading the loss waits for the device, so not at every step."""

Measure = Callable[[Any, Any], xr.Dataset]
"""What is looked at on the way: a model and its task in, labelled numbers out."""


class Run(Protocol):
    """Whoever watches a training and keeps its checkpoints (the lab's handle, or nobody)."""

    @property
    def device(self) -> torch.device:
        """Where to train."""
        ...

    def progress(self, step: int, total: int, **metrics: float) -> None:
        """Called before the first step, a few times a second, and after the last step."""
        ...

    def checkpoint(self, name: str) -> Checkpoint:
        """The place for the resumable point of a training phase."""
        ...


def linear_steps(steps: int, evaluations: int) -> list[int]:
    """At most `evaluations` + 1 steps from 0 to `steps`, evenly spaced."""
    return sorted({round(x) for x in np.linspace(0, steps, evaluations + 1)})


def log_steps(steps: int, evaluations: int) -> list[int]:
    """Step 0 and at most `evaluations` steps from 1 to `steps`, evenly spaced in the logarithm."""
    return sorted({0, *(round(x) for x in np.geomspace(1, max(steps, 1), evaluations))})


def split_scores(*splits: str) -> Measure:
    """Mean `nll` (nats per item) and `accuracy` (exact match) on each of `splits`, by default on all of the task."""

    def measure(model: nn.Module, task: Task) -> xr.Dataset:
        names = splits or task.splits
        device = next(model.parameters()).device
        means = [{k: float(v.mean()) for k, v in score(model, task.dataset(s).to(device)).items()} for s in names]
        return xr.Dataset({k: ("split", [m[k] for m in means]) for k in means[0]}, coords={"split": list(names)})

    return measure


def mean_nll(model: nn.Module, batch: Batch) -> Float[Tensor, "*members"]:
    """The default objective: mean negative log-likelihood per scored token, of each member of an ensemble by itself."""
    logits = model(batch.tokens)
    if batch.tokens.ndim == 2:
        return F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
    return token_nll(logits, batch.targets).sum((-2, -1)) / (batch.targets != IGNORE).sum((-2, -1))


def fit(
    model: nn.Module,
    task: Task,
    *,
    steps: int,
    batch_size: int | None = 64,
    optim: Optim | None = None,
    seed: int = 0,
    evaluate_at: Sequence[int] | int = 10,
    measure: Measure | None = None,
    objective: Callable[[nn.Module, Batch], Tensor] = mean_nll,
    train_split: str = "train",
    ema: EMA | None = None,
    until: Callable[[xr.Dataset], bool] | None = None,
    run: Run | None = None,
    name: str = "fit",
    checkpoint_every: int | None = None,
) -> xr.Dataset:
    """Train `model` on `task` in place; returns what was measured on the way, with a ``step`` dimension.

    Args:
        model: any module from tokens to logits, or an `Ensemble` (with a `TaskStack`).
        task: see `elegans.tasks.base.Task`.
        steps: number of updates.
        batch_size: items per update; None takes the whole training split at every step.
        optim: defaults to AdamW at 1e-3.
        seed: of the stream of batches. The members of an ensemble draw by their own seeds.
        evaluate_at: the steps (updates done) at which to measure, or how many intervals to spread evenly.
        measure: defaults to `split_scores()`. An ensemble is measured member by member, along a ``seed`` dimension.
        objective: (model, batch) to a loss, or to one loss per member.
        train_split: the split to train on.
        ema: an average of the weights, measured beside the raw weights along a ``weights`` dimension (raw, ema).
        until: ends the training early once it holds for what was just measured; it must not look at a split whose
            scores are reported.
        run: the lab's handle.
        name: of this training phase, where an experiment has several.
        checkpoint_every: steps between checkpoints; by default one every 10 seconds.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    optim = optim or Optim()
    device = run.device if run else next(model.parameters()).device
    model.to(device).train()
    due = set(linear_steps(steps, evaluate_at) if isinstance(evaluate_at, int) else evaluate_at)
    state = _State(model, optim.build(model), ema)
    slot = run.checkpoint(name) if run else None
    state.restore(slot.load() if slot else None)
    params = [p for p in model.parameters() if p.requires_grad]
    draw = _drawer(task, train_split, batch_size, seed, device)
    look = _measurer(model, task, measure or split_scores(), ema)
    members = isinstance(model, Ensemble)
    saved = told = time.monotonic()
    if run:
        run.progress(state.step, steps)  # from here on time goes into steps, which is what an estimate needs

    with _seeded(model) as reseed:
        for step in range(state.step, steps + 1):
            if step in due and step not in state.seen:
                state.record(step, look())
                if until and until(state.history[-1]):
                    break
            if slot and step > state.step and _checkpoint_due(step, checkpoint_every, saved):
                slot.save(state.point(step))
                saved = time.monotonic()
            if step == steps:
                break
            reseed(seed, step)
            batch = draw(step)
            losses = objective(model, batch)
            loss = losses.sum() if members else losses
            state.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if optim.rescales:
                optim.rescale(params, members=members)
            lr = optim.lr_at(step, steps)
            for group in state.optimizer.param_groups:
                group["lr"] = lr * group["scale"]
            state.optimizer.step()
            if ema:
                ema.update(model, step)
            if run and ((now := time.monotonic()) - told > PROGRESS_SECONDS or step + 1 == steps):
                run.progress(step + 1, steps, loss=losses.mean().item())
                told = now
    if not all(bool(p.isfinite().all()) for p in params):
        raise FloatingPointError("training diverged: the weights are not finite; a smaller learning rate may help")
    return joined(state.history, "step").assign_coords(step=state.seen) if state.history else xr.Dataset()


class _State:
    """All that changes while a model trains."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA | None) -> None:
        self.model, self.optimizer, self.ema = model, optimizer, ema
        self.step = 0
        self.seen: list[int] = []
        self.history: list[xr.Dataset] = []
        if ema:
            ema.start(model)

    def record(self, step: int, found: xr.Dataset) -> None:
        self.seen.append(step)
        self.history.append(found)

    def point(self, step: int) -> Point:
        """A resumable point; the history travels as netCDF in a tensor of bytes."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
        if self.ema:
            tensors |= {f"ema.{name}": value for name, value in self.ema.weights.items()}
        if self.history:
            data = joined(self.history, "step").to_netcdf(engine="h5netcdf")
            tensors["history.netcdf"] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return Point(step, tensors, {"seen": self.seen})

    def restore(self, point: Point | None) -> None:
        """Continue at a point."""
        if point is None:
            return
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "ema": {}, "history": {}}
        for address, tensor in point.tensors.items():
            kind, _, name = address.partition(".")
            groups[kind][name] = tensor
        self.model.load_state_dict(groups["model"])
        slots: dict[int, dict[str, Tensor]] = {}
        for address, tensor in groups["optimizer"].items():
            index, _, name = address.partition(".")
            slots.setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})
        if self.ema:
            for name, tensor in groups["ema"].items():
                self.ema.weights[name].copy_(tensor)
        self.seen = list(point.notes["seen"])
        if self.seen:
            history = _read(groups["history"]["netcdf"])
            self.history = [history.isel(step=index) for index in range(len(self.seen))]
        self.step = point.step


def joined(parts: Sequence[xr.Dataset], dim: str) -> xr.Dataset:
    """Datasets of one shape along a new dimension."""
    return xr.concat(parts, dim=dim, data_vars="all", coords="minimal", compat="override", join="exact")


def _read(data: Tensor) -> xr.Dataset:
    with xr.open_dataset(data.numpy().tobytes(), engine="h5netcdf") as dataset:
        return dataset.load()


def _checkpoint_due(step: int, every: int | None, saved: float) -> bool:
    return step % every == 0 if every else time.monotonic() - saved > CHECKPOINT_SECONDS


def _drawer(task: Task, split: str, size: int | None, seed: int, device: torch.device) -> Callable[[int], Batch]:
    """The batch of a step: drawn, or always the whole split."""
    if size is None:
        whole = task.dataset(split).to(device)
        return lambda step: whole
    return lambda step: task.batch(split, size, step=step, seed=seed).to(device)


def _measurer(model: nn.Module, task: Task, measure: Measure, ema: EMA | None) -> Callable[[], xr.Dataset]:
    """`measure` for an ensemble member by member, and for the averaged weights beside the raw ones."""

    def once() -> xr.Dataset:
        model.eval()
        if isinstance(model, Ensemble) and isinstance(task, TaskStack):
            parts = [measure(m, t) for m, t in zip(model.members(), task.tasks, strict=True)]
            found = joined(parts, "seed").assign_coords(seed=list(task.seeds))
        else:
            found = measure(model, task)
        model.train()
        return found

    def look() -> xr.Dataset:
        raw = once()
        if ema is None:
            return raw
        ema.swap(model)
        averaged = once()
        ema.swap(model)
        return joined([raw, averaged], "weights").assign_coords(weights=["raw", "ema"])

    return look


@contextmanager
def _seeded(model: nn.Module) -> Iterator[Callable[[int, int], None]]:
    """Dropout can only draw from torch's global generator: seed it per step inside, leave it as it was outside."""
    if not any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules()):
        yield lambda seed, step: None
        return
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):

        def reseed(seed: int, step: int) -> None:
            torch.manual_seed(torch_seed("dropout", seed, step))

        yield reseed
