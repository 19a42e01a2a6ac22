"""How far a running study is and how long it will take. Knows nothing of terminals."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Job = tuple[str, tuple[int, ...]]
"""An arm and the seeds that are computed together."""


@dataclass
class Running:
    """A job that a worker of this process has.

    Its speed is measured from its first report to its latest. Until there are two, the time since its worker was free
    stands in, so that the first report already gives an estimate.
    """

    free_since: float
    first_time: float
    first_step: int
    time: float
    step: int
    total: int

    @property
    def seconds_per_step(self) -> float | None:
        """The measured duration of a step; None before any step was made."""
        if self.step > self.first_step and self.time > self.first_time:
            return (self.time - self.first_time) / (self.step - self.first_step)
        if self.step > 0 and self.time > self.free_since:
            return (self.time - self.free_since) / self.step
        return None

    def remaining(self, now: float) -> float | None:
        """Seconds until the last step, counted down between reports."""
        pace = self.seconds_per_step
        return None if pace is None else max(0.0, pace * (self.total - self.step) - (now - self.time))

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return min(1.0, self.step / self.total) if self.total > 0 else 0.0


@dataclass
class ArmProgress:
    """All seeds of one arm."""

    name: str
    total: int
    """Seeds of the study; a job that only others need may come on top."""
    done: int = 0
    failed: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The latest that any of its jobs reported."""
    running: dict[tuple[int, ...], Running] = field(default_factory=dict)
    waiting: set[tuple[int, ...]] = field(default_factory=set)
    """Seeds that another process is computing."""
    durations: list[float] = field(default_factory=list)
    """Seconds per seed of the jobs that finished here."""

    @property
    def queued(self) -> int:
        """Seeds that nobody has begun."""
        begun = sum(len(seeds) for seeds in [*self.running, *self.waiting])
        return max(0, self.total - self.done - self.failed - begun)

    @property
    def completed(self) -> float:
        """Seeds done, with the shares of those under way."""
        return self.done + sum(len(seeds) * job.share for seeds, job in self.running.items())

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.done + self.failed >= self.total

    def seconds_per_seed(self) -> float | None:
        """Measured on its finished jobs, else projected from those under way."""
        if self.durations:
            return sum(self.durations) / len(self.durations)
        projected = [
            job.seconds_per_step * job.total / len(seeds)
            for seeds, job in self.running.items()
            if job.seconds_per_step is not None
        ]
        return sum(projected) / len(projected) if projected else None


class Tracker:
    """The state of all jobs of one study, from the reports of the lab."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = clock()
        self.workers = 1
        self.arms: dict[str, ArmProgress] = {}
        self._last_end: list[float] = []

    def start(self, totals: Mapping[str, int], workers: int, cached: Mapping[str, int]) -> None:
        """Begin with seeds per arm, of which `cached` are done already."""
        self.began = self.clock()
        self.workers = max(1, workers)
        self.arms = {name: ArmProgress(name, total, done=cached.get(name, 0)) for name, total in totals.items()}
        self._last_end = []

    def progress(self, arm: str, seeds: Sequence[int], step: int, total: int, metrics: Mapping[str, float]) -> bool:
        """A job is at `step` of `total`. Returns whether it began just now (or again, after its worker died)."""
        now, row, key = self.clock(), self._row(arm), tuple(seeds)
        row.waiting.discard(key)
        job = row.running.get(key)
        if metrics:
            row.metrics = dict(metrics)
        if job is not None and step >= job.step:
            job.time, job.step, job.total = now, step, total
            return False
        free_since = now if job else self._last_end.pop() if self._last_end else self.began
        row.running[key] = Running(free_since, now, step, now, step, total)
        return True

    def finished(self, arm: str, seeds: Sequence[int], seconds: float) -> None:
        """A job's results are stored."""
        row = self._row(arm)
        if tuple(seeds) not in row.waiting:
            row.durations.append(seconds / max(1, len(seeds)))
        self._end(row, seeds)
        row.done += len(seeds)

    def failed(self, arm: str, seeds: Sequence[int]) -> None:
        """A job ended without results."""
        row = self._row(arm)
        self._end(row, seeds)
        row.failed += len(seeds)

    def waiting(self, arm: str, seeds: Sequence[int]) -> bool:
        """Another process has the job. Returns whether that is news."""
        row, key = self._row(arm), tuple(seeds)
        news = key not in row.waiting
        row.running.pop(key, None)
        row.waiting.add(key)
        return news

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.began

    def arm_eta(self, arm: str) -> float | None:
        """Seconds until the jobs of an arm that are under way are done; None if unknown."""
        now = self.clock()
        left = [job.remaining(now) for job in self.arms[arm].running.values()]
        known = [seconds for seconds in left if seconds is not None]
        return max(known) if known else None

    def eta(self) -> float | None:
        """Seconds until everything is done; None while no speed is known.

        What is under way takes its measured rest, what is queued the mean duration of its arm (of all arms, where its
        own has none yet), and all is shared evenly among the workers.
        """
        now = self.clock()
        per_seed = {name: arm.seconds_per_seed() for name, arm in self.arms.items()}
        known = [seconds for seconds in per_seed.values() if seconds is not None]
        if not known:
            return None
        usual = sum(known) / len(known)
        rests = []
        queued = 0.0
        for name, arm in self.arms.items():
            expected = per_seed[name]
            expected = usual if expected is None else expected
            for seeds, job in arm.running.items():
                rest = job.remaining(now)
                rests.append(expected * len(seeds) if rest is None else rest)
            queued += expected * (arm.queued + sum(len(seeds) for seeds in arm.waiting))
        return max(max(rests, default=0.0), (sum(rests) + queued) / self.workers)

    def _row(self, arm: str) -> ArmProgress:
        """The arm's row; one that is only needed by others has no seeds of its own to count."""
        return self.arms.setdefault(arm, ArmProgress(arm, 0))

    def _end(self, row: ArmProgress, seeds: Sequence[int]) -> None:
        row.waiting.discard(tuple(seeds))
        if row.running.pop(tuple(seeds), None) is not None:
            self._last_end.append(self.clock())
