"""From a request to results: computes what the store does not have, reads what it has."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from elegans.lab.events import Busy, Done, Event, Failed, Lost, Notify, Progress
from elegans.lab.executors import Executor
from elegans.lab.plan import Job, Plan, Record
from elegans.lab.store import Entry, Store
from elegans.study import Results

MAX_LOSSES = 3
"""How often a job may lose its worker before it counts as failed."""


class Board(Protocol):
    """Whoever shows how a run is going."""

    def start(
        self, study_name: str, scale: str, totals: Mapping[str, int], workers: int, cached: Mapping[str, int]
    ) -> None:
        """A study begins: seeds per arm, and how many of them are in the store already."""
        ...

    def progress(self, arm: str, seeds: tuple[int, ...], step: int, total: int, metrics: Mapping[str, float]) -> None:
        """A running job is at `step` of `total`."""
        ...

    def finished(self, arm: str, seeds: tuple[int, ...], seconds: float) -> None:
        """A job is done."""
        ...

    def failed(self, arm: str, seeds: tuple[int, ...], reason: str) -> None:
        """A job failed."""
        ...

    def waiting(self, arm: str, seeds: tuple[int, ...]) -> None:
        """A job is being computed by another process."""
        ...

    def stop(self) -> None:
        """The study ended or was interrupted."""
        ...


@dataclass(frozen=True)
class Failure:
    """A job that did not finish, and why."""

    arm: str
    seeds: tuple[int, ...]
    error: str
    """A traceback, or one line."""

    def __str__(self) -> str:
        return f"{self.arm} seed {', '.join(map(str, self.seeds))}"


def execute(plan: Plan, store: Store, make_executor: Callable[[Notify], Executor], board: Board) -> list[Failure]:
    """Compute all records of `plan` that are not in the store; returns the jobs that failed.

    Raises `KeyboardInterrupt` through, with all workers stopped and the store whole.
    """
    records = [*plan.records.values(), *plan.extra]
    done = store.done({r.key for r in records})
    jobs = plan.jobs({r.key for r in records} - done)
    session = _Session(plan, store, board, jobs, done)
    executor = make_executor(session.hear)
    totals = {arm: len(plan.seeds(arm)) for arm in plan.arms}
    cached = {arm: sum(r.key in done for (a, _), r in plan.records.items() if a == arm) for arm in plan.arms}
    board.start(plan.study.name, plan.request.scale, totals, executor.slots, cached)
    try:
        session.loop(executor)
    finally:
        executor.close()
        board.stop()
    return session.failures


class _Session:
    """The jobs of one run: waiting, running, done, failed."""

    def __init__(self, plan: Plan, store: Store, board: Board, jobs: Sequence[Job], done: set[str]) -> None:
        self.store, self.board = store, board
        self.waiting = deque(jobs)
        self.running: set[Job] = set()
        self.elsewhere: dict[Job, float] = {}
        self.losses: dict[Job, int] = {}
        self.done = set(done)
        self.failed: set[str] = set()
        self.failures: list[Failure] = []

    def loop(self, executor: Executor) -> None:
        """Start what can start, listen, until nothing is left."""
        while self.waiting or self.running or self.elsewhere:
            while len(self.running) < executor.slots and (job := self._next()):
                self.running.add(job)
                executor.start(job)
            if self.waiting or self.running or self.elsewhere:
                executor.wait(0.1 if self.running or self.elsewhere else 0.0)

    def _next(self) -> Job | None:
        """The first job whose needs are met. Jobs that another process had are tried again once a second."""
        for job, since in list(self.elsewhere.items()):
            if time.monotonic() - since > 1:
                del self.elsewhere[job]
                self.waiting.append(job)
        for job in list(self.waiting):
            if job.needs & self.failed:
                self.waiting.remove(job)
                self._fail(job, "an artefact that it needs could not be made")
            elif job.needs <= self.done:
                self.waiting.remove(job)
                return job
        return None

    def hear(self, event: Event) -> None:
        """Take note of what happened to a job."""
        job = event.job
        if isinstance(event, Progress):
            self.board.progress(job.arm, job.seeds, event.step, event.total, event.metrics)
            return
        self.running.discard(job)
        if isinstance(event, Done):
            self.done.update(job.keys)
            self.board.finished(job.arm, job.seeds, event.seconds)
        elif isinstance(event, Failed):
            self._fail(job, event.error)
        elif isinstance(event, Busy):
            self.elsewhere[job] = time.monotonic()
            self.board.waiting(job.arm, job.seeds)
        elif isinstance(event, Lost):
            self.losses[job] = self.losses.get(job, 0) + 1
            if self.losses[job] < MAX_LOSSES:
                self.waiting.appendleft(job)
            else:
                error = f"its worker died {MAX_LOSSES} times ({event.how}); perhaps the machine ran out of memory"
                self.store.fail(job, error)
                self._fail(job, error)

    def _fail(self, job: Job, error: str) -> None:
        self.failed.update(job.keys)
        self.failures.append(Failure(job.arm, job.seeds, error))
        self.board.failed(job.arm, job.seeds, last_line(error))


def last_line(text: str) -> str:
    """The line of a traceback that says what happened."""
    return text.strip().splitlines()[-1] if text.strip() else ""


def collect(plan: Plan, store: Store) -> Results:
    """The stored results of a plan, by arm, with a ``seed`` dimension; arms that are not complete are named missing."""
    import xarray as xr

    done = store.done({r.key for r in plan.records.values()})
    entries = store.entries({r.key for r in plan.records.values()} - done)
    datasets, missing = {}, {arm: f"arm {arm!r} {why}" for arm, why in plan.left_out.items()}
    for arm in plan.arms:
        records = [plan.records[arm, seed] for seed in plan.seeds(arm)]
        absent = [r for r in records if r.key not in done]
        if absent:
            missing[arm] = (
                f"arm {arm!r} seed {absent[0].seed} {_why_absent(absent[0], entries.get(absent[0].key), store)}"
            )
            continue
        parts = [store.read(r.key) for r in records]
        joined = xr.concat(
            parts, dim="seed", data_vars="all", join="exact", coords="minimal", compat="override", combine_attrs="drop"
        )
        datasets[arm] = joined.assign_coords(seed=plan.seeds(arm))
    return Results(datasets, missing)


def _why_absent(record: Record, entry: Entry | None, store: Store) -> str:
    if entry and entry.state == "failed":
        return f"failed: {last_line(entry.error or '')}"
    if entry is None and store.outdated(record):
        return "was run, but its code has changed since: run it again"
    return "was not run" if entry is None else "has a damaged result: run it again"
