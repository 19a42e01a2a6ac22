"""What happens to a job, as told by the worker that has it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from elegans.lab.plan import Job


@dataclass(frozen=True)
class Progress:
    """The job is at `step` of `total`."""

    job: Job
    step: int
    total: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Done:
    """The job's records are in the store."""

    job: Job
    seconds: float


@dataclass(frozen=True)
class Failed:
    """The job ended with an error; `error` is the traceback or, for a broken store, one line."""

    job: Job
    error: str


@dataclass(frozen=True)
class Busy:
    """Another process is computing the job."""

    job: Job


@dataclass(frozen=True)
class Lost:
    """The worker died with the job; its checkpoint stands."""

    job: Job
    how: str


Event = Progress | Done | Failed | Busy | Lost
Notify = Callable[[Event], None]
