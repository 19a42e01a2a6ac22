"""The store: a folder that remembers every job, so that none is computed twice and none is half there.

::

    runs/index.sqlite          which records exist, in which state, with which digest
    runs/results/KEY.nc        one netCDF file per record
    runs/artifacts/KEY/        files that other jobs need (weights, tokenizers)
    runs/checkpoints/KEY-*     resumable points of unfinished jobs (safetensors)
    runs/metrics/KEY.jsonl     live metrics
    runs/locks/KEY             held by the process that computes the record

What goes wrong, and what follows:

- killed at any moment: files are renamed into place whole and the index commits last, so the record is simply not done
  and is computed again from its checkpoint (automatic);
- a result or artefact that is missing, truncated or altered: its digest differs, it is computed again (automatic);
- an unusable checkpoint (truncated, of another config): ignored, the job starts over (automatic, see `elegans.lab.run`);
- disk full: the job fails with that reason; a full disk under the index is a `StoreError` (clear error);
- an index or folder that cannot be read or written: `StoreError` (clear error): what was done is then unknown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from elegans.lab.plan import Job, Record, Request
from elegans.ops.files import write_whole
from elegans.study import UsageError

if TYPE_CHECKING:
    import xarray as xr

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY, study TEXT, scale TEXT, arm TEXT, seed INTEGER, experiment TEXT, config TEXT, revision TEXT,
    state TEXT NOT NULL, digest TEXT, seconds REAL, finished REAL, host TEXT, versions TEXT, error TEXT
);
CREATE TABLE IF NOT EXISTS requests (study TEXT PRIMARY KEY, request TEXT NOT NULL, time REAL);
"""


class StoreError(UsageError):
    """The store cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """A row of the index."""

    key: str
    state: str
    digest: str | None
    seconds: float | None
    versions: dict[str, str]
    error: str | None


def home() -> Path:
    """The store's folder: ``ELEGANS_HOME``, or ``runs`` in the working directory."""
    return Path(os.environ.get("ELEGANS_HOME") or "runs")


class Store:
    """The store in folder `root`, created if absent. Any number of processes may have it open."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        try:
            for folder in ("results", "artifacts", "checkpoints", "metrics", "locks"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot use {self.root} as the store: {error.strerror}") from None
        with self._index() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA):
                raise StoreError(
                    f"{self.root} was written by another version of elegans; set ELEGANS_HOME to a new folder"
                )
            db.executescript(_TABLES + f"PRAGMA user_version = {SCHEMA};")

    @contextlib.contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the index; committed as a whole or not at all."""
        path = self.root / "index.sqlite"
        try:
            db = sqlite3.connect(path, timeout=60)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                with db:
                    yield db
            finally:
                db.close()
        except sqlite3.DatabaseError as error:
            if "full" in str(error):
                raise StoreError(f"the disk that holds {self.root} is full") from None
            hint = "move it away or set ELEGANS_HOME to a new folder"
            raise StoreError(f"cannot read or write the index {path} ({error}); {hint}") from None

    # -------------------------------------------------------------------------------------------- records

    def entries(self, keys: Iterable[str]) -> dict[str, Entry]:
        """What the index knows of these records."""
        columns = "key, state, digest, seconds, versions, error"
        with self._index() as db:
            rows = [db.execute(f"SELECT {columns} FROM records WHERE key = ?", (key,)).fetchone() for key in keys]
        return {r[0]: Entry(r[0], r[1], r[2], r[3], json.loads(r[4] or "{}"), r[5]) for r in rows if r}

    def done(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` whose record is finished and whose files are what was written."""
        found = self.entries(keys)
        return {k for k, e in found.items() if e.state == "done" and e.digest == self._digest(k)}

    def seconds(self, study: str, scale: str) -> float:
        """Computing time of the finished records of a study, in worker seconds."""
        with self._index() as db:
            query = "SELECT SUM(seconds) FROM records WHERE study = ? AND scale = ? AND state = 'done'"
            return db.execute(query, (study, scale)).fetchone()[0] or 0.0

    def outdated(self, record: Record) -> bool:
        """Whether this arm and seed with this config were computed by code that has changed since."""
        query = "SELECT 1 FROM records WHERE experiment = ? AND config = ? AND seed = ? AND state = 'done' LIMIT 1"
        config = json.dumps(dataclasses.asdict(record.config))
        with self._index() as db:
            return db.execute(query, (record.experiment, config, record.seed)).fetchone() is not None

    def read(self, key: str) -> xr.Dataset:
        """The result of a finished record."""
        import xarray as xr

        with xr.open_dataset(self.result_path(key), engine="h5netcdf") as dataset:
            return dataset.load()

    def commit(self, job: Job, datasets: Sequence[xr.Dataset], seconds: float) -> None:
        """Store the results of all records of a job: files first, then the index in one transaction."""
        for record, dataset in zip(job.records, datasets, strict=True):
            data = dataset.to_netcdf(engine="h5netcdf")
            write_whole(self.result_path(record.key), bytes(data))
            partial = self.partial_artifact_path(record.key)
            if partial.exists():
                shutil.rmtree(self.artifact_path(record.key), ignore_errors=True)
                os.replace(partial, self.artifact_path(record.key))
        self._write(job, "done", seconds=seconds / len(job.records))
        for key in job.keys:
            for path in (self.root / "checkpoints").glob(f"{key}-*"):
                path.unlink(missing_ok=True)

    def fail(self, job: Job, error: str) -> None:
        """Remember why a job failed; the next run tries it again."""
        self._write(job, "failed", error=error)

    def _write(self, job: Job, state: str, seconds: float | None = None, error: str | None = None) -> None:
        made = (time.time(), socket.gethostname(), json.dumps(versions()), error)
        rows = []
        for r in job.records:
            config, digest = json.dumps(dataclasses.asdict(r.config)), self._digest(r.key) if state == "done" else None
            what = (r.key, r.study, r.scale, r.arm, r.seed, r.experiment, config, r.revision)
            rows.append((*what, state, digest, seconds, *made))
        with self._index() as db:
            db.executemany(f"INSERT OR REPLACE INTO records VALUES ({', '.join('?' * 15)})", rows)

    def _digest(self, key: str) -> str | None:
        """A hash of all files of a record; None without a result file."""
        if not self.result_path(key).exists():
            return None
        digest = hashlib.blake2b(digest_size=16)
        artifact = self.artifact_path(key)
        files = sorted(p for p in artifact.rglob("*") if p.is_file()) if artifact.exists() else []
        for path in [self.result_path(key), *files]:
            digest.update(path.name.encode())
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        return digest.hexdigest()

    # -------------------------------------------------------------------------------------------- files and locks

    def result_path(self, key: str) -> Path:
        """The netCDF file of a record."""
        return self.root / "results" / f"{key}.nc"

    def artifact_path(self, key: str) -> Path:
        """The folder of files that a finished record offers to others."""
        return self.root / "artifacts" / key

    def partial_artifact_path(self, key: str) -> Path:
        """The artefact folder while its record is being computed."""
        return self.root / "artifacts" / f"{key}.partial"

    def checkpoint_path(self, key: str, name: str) -> Path:
        """A resumable point of an unfinished record."""
        return self.root / "checkpoints" / f"{key}-{name}.safetensors"

    def metrics_path(self, key: str) -> Path:
        """The live metrics of a record, one JSON object a line."""
        return self.root / "metrics" / f"{key}.jsonl"

    @contextlib.contextmanager
    def claim(self, keys: Sequence[str]) -> Iterator[bool]:
        """Own these records while inside; yields False if another process owns one of them.

        The locks are the operating system's: they vanish with their holder, however it dies.
        """
        with contextlib.ExitStack() as held:
            try:
                for key in sorted(keys):
                    held.enter_context(FileLock(self.root / "locks" / key, timeout=0))
            except Timeout:
                held.close()
                yield False
                return
            yield True

    # -------------------------------------------------------------------------------------------- requests

    def remember(self, study: str, request: Request) -> None:
        """Note what was last run of a study, so that `verdicts` and `report` show the same."""
        with self._index() as db:
            db.execute("INSERT OR REPLACE INTO requests VALUES (?, ?, ?)", (study, request.to_json(), time.time()))

    def remembered(self) -> Mapping[str, Request]:
        """The last request of each study that was run here."""
        with self._index() as db:
            rows = db.execute("SELECT study, request FROM requests ORDER BY study").fetchall()
        return {study: Request.from_json(text) for study, text in rows}


def versions() -> dict[str, str]:
    """The versions that results depend on."""
    import platform

    names = ("elegans", "torch", "numpy", "scipy", "xarray")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
