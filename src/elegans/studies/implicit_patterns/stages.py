"""One experiment that trains many times, as one job: progress over all trainings, a checkpoint for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans.lab.run import Run


class Stages:
    """Counts equal parts of a job, in hundredths; a part is a training, or something else that is `done`."""

    def __init__(self, run: Run, total: int) -> None:
        self.run, self.total, self.passed = run, total, 0
        run.progress(0, 100 * total)

    def done(self) -> None:
        """One more part is over."""
        self.passed += 1
        self.run.progress(100 * self.passed, 100 * self.total)

    def part(self, name: str) -> Part:
        """The handle of the next part, a training; it is over with its last step or the start of the next one."""
        self.passed += 1
        return Part(self, self.passed, name)


class Part:
    """What `elegans.training.fit` is given as its run."""

    def __init__(self, stages: Stages, number: int, name: str) -> None:
        self.stages, self.number, self.name = stages, number, name
        self.device = stages.run.device

    def progress(self, step: int, total: int, **metrics: float) -> None:
        """Of the training, as a share of the job."""
        before = self.number - 1
        self.stages.run.progress(100 * before + round(100 * step / total), 100 * self.stages.total, **metrics)

    def checkpoint(self, name: str) -> Any:
        """The place of this training."""
        return self.stages.run.checkpoint(name)
