"""The lab's handle, given to an experiment: progress, checkpoints, artefacts, device."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from elegans.training.checkpoint import CheckpointError, FileCheckpoint, Point

if TYPE_CHECKING:
    import torch

    from elegans.lab.store import Store


class Run:
    """One job as its experiment sees it.

    `key` addresses its files, `needs` maps artefact names to the records that made them, `notify` receives
    ``(step, total, metrics)``.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        *,
        device: torch.device,
        needs: Mapping[str, str],
        notify: Callable[[int, int, Mapping[str, float]], None],
    ) -> None:
        self.device = device
        self._store, self._key, self._needs, self._notify = store, key, dict(needs), notify

    def progress(self, step: int, total: int, **metrics: float) -> None:
        """Say how far it is, with live metrics; a few times a second is often enough."""
        self._notify(step, total, metrics)
        with open(self._store.metrics_path(self._key), "a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), "step": step, "total": total, **metrics}) + "\n")

    def checkpoint(self, name: str = "fit") -> LabCheckpoint:
        """The place for the resumable point of one training phase; each phase of an experiment has its own `name`."""
        return LabCheckpoint(self._store.checkpoint_path(self._key, name), self._key)

    @property
    def artifact_dir(self) -> Path:
        """A folder for files that other jobs need; it becomes visible to them when this job ends."""
        folder = self._store.partial_artifact_path(self._key)
        folder.mkdir(exist_ok=True)
        return folder

    def artifact(self, name: str) -> Path:
        """The folder that the arm named in this arm's `needs` has written."""
        if name not in self._needs:
            raise KeyError(f"this arm needs no artefact {name!r}; it needs {', '.join(self._needs) or 'none'}")
        return self._store.artifact_path(self._needs[name])


class LabCheckpoint(FileCheckpoint):
    """A checkpoint that is only ever a shortcut: one that cannot be used is removed and training starts over."""

    def load(self) -> Point | None:
        """The last usable point, or None."""
        try:
            return super().load()
        except CheckpointError:
            self.path.unlink(missing_ok=True)
            return None
