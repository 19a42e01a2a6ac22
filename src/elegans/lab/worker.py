"""One job from claim to commit, in whatever process an executor chose for it."""

from __future__ import annotations

import importlib
import time
import traceback
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr

from elegans.lab.events import Busy, Done, Failed, Notify, Progress
from elegans.lab.plan import Job
from elegans.lab.run import Run
from elegans.lab.store import Store, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable


def perform(job: Job, store: Store, *, device: str, notify: Notify) -> None:
    """Compute and store the records of a job, unless they are done or another process is at it; failures are events."""
    try:
        with store.claim(job.keys) as mine:
            if not mine:
                notify(Busy(job))
            elif store.done(job.keys) == set(job.keys):
                notify(Done(job, 0.0))
            else:
                _compute(job, store, device, notify)
    except StoreError as error:
        notify(Failed(job, str(error)))


def _compute(job: Job, store: Store, device: str, notify: Notify) -> None:
    torch.set_num_threads(1)
    started = time.monotonic()
    run = Run(
        store,
        job.keys[0],
        device=resolve_device(device),
        needs=dict(job.records[0].needs),
        notify=lambda step, total, metrics: notify(Progress(job, step, total, metrics)),
    )
    try:
        experiment = locate(job.records[0].experiment)
        config = job.records[0].config
        if job.batched:
            together = _dataset(experiment(config, list(job.seeds), run), job)
            results = [together.sel(seed=seed, drop=True) for seed in job.seeds]
        else:
            results = [_dataset(experiment(config, job.seeds[0], run), job)]
        seconds = time.monotonic() - started
        store.commit(job, results, seconds)
    except StoreError:
        raise
    except Exception:
        error = traceback.format_exc()
        store.fail(job, error)
        notify(Failed(job, error))
    else:
        notify(Done(job, seconds))


def _dataset(result: Any, job: Job) -> xr.Dataset:
    if not isinstance(result, xr.Dataset):
        raise TypeError(f"an experiment returns an xarray.Dataset, {job.records[0].experiment} returned {type(result)}")
    if job.batched != ("seed" in result.dims):
        raise ValueError("an experiment returns a 'seed' dimension exactly if its arm has seeds_per_job > 1")
    return result


def locate(target: str) -> Callable[..., Any]:
    """The object at ``"module:name"``."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one. Raises `ValueError` for CUDA where there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("no CUDA device on this machine; use --device cpu")
    return torch.device(name)
