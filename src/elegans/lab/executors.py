"""Where jobs run: in this process, or in a pool of worker processes.

A cluster comes behind the same protocol: an executor has `slots`, `start`s jobs, tells their events, and can be closed
at any moment, because the store alone knows what is done.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol

from elegans.lab.events import Event, Lost, Notify, Progress
from elegans.lab.plan import Job
from elegans.lab.store import Store

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

GPU_WORKERS = 4
"""Workers that share a GPU by default: small models leave most of it idle."""


class Executor(Protocol):
    """Runs jobs somewhere."""

    slots: int

    def start(self, job: Job) -> None:
        """Begin a job; call it only while fewer than `slots` jobs are running."""
        ...

    def wait(self, timeout: float) -> None:
        """Pass on events, for at most `timeout` seconds or until one came."""
        ...

    def close(self) -> None:
        """Stop at once, whatever is running."""
        ...


class InlineExecutor:
    """Runs each job in this process as soon as it is started: for debuggers, profilers and notebooks."""

    slots = 1

    def __init__(self, store: Store, notify: Notify, *, device: str = "auto") -> None:
        self._store, self._notify, self._device = store, notify, device

    def start(self, job: Job) -> None:
        """Run the job to its end."""
        from elegans.lab.worker import perform

        perform(job, self._store, device=self._device, notify=self._notify)

    def wait(self, timeout: float) -> None:
        """Nothing runs in the background; leave time to other processes."""
        time.sleep(timeout)

    def close(self) -> None:
        """Nothing to stop."""


class PoolExecutor:
    """One process per slot, each with one torch thread, each doing job after job.

    A worker that dies takes only its job with it: the event is `Lost` and the slot gets a new worker. Workers ignore
    Ctrl-C (the parent stops them) and end when the parent does, even if it is killed.
    """

    def __init__(self, store: Store, notify: Notify, *, workers: int, device: str = "auto") -> None:
        self.slots = workers
        self._store, self._notify, self._device = store, notify, device
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, Job] = {}
        self._numbers = list(range(workers))

    def start(self, job: Job) -> None:
        """Hand the job to an idle worker, or to a new one."""
        worker = self._idle.pop() if self._idle else _Worker(self._numbers.pop(0), self._store, self._device)
        self._busy[worker] = job
        with contextlib.suppress(OSError):  # a worker that died while idle shows as a lost job in `wait`
            worker.pipe.send(job)

    def wait(self, timeout: float) -> None:
        """Pass on what the workers say, and notice those that died."""
        ready = wait([w.pipe for w in self._busy], timeout) if self._busy else time.sleep(timeout)
        for worker in [w for w in self._busy if w.pipe in (ready or ())]:
            job = self._busy[worker]
            try:
                event: Event = worker.pipe.recv()
            except (EOFError, OSError):
                event = Lost(job, worker.bury())
                del self._busy[worker]
                self._numbers.append(worker.number)
            else:
                if not isinstance(event, Progress):
                    del self._busy[worker]
                    self._idle.append(worker)
            self._notify(event)

    def close(self) -> None:
        """Kill all workers; unfinished jobs keep their checkpoints."""
        workers = [*self._busy, *self._idle]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(1)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()


class _Worker:
    """A worker process and the pipe to it."""

    def __init__(self, number: int, store: Store, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.pipe, theirs = context.Pipe()
        process: Any = context.Process(target=_serve, args=(theirs, str(store.root), device, number), daemon=True)
        self.process: SpawnProcess = process
        with _single_threaded(), _interrupts_ignored():
            self.process.start()
        theirs.close()

    def bury(self) -> str:
        """Close what is left of a dead worker; says how it died."""
        self.process.join(5)
        self.pipe.close()
        code = self.process.exitcode
        return f"killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"


def _serve(pipe: Connection, root: str, device: str, number: int) -> None:
    """The life of a worker: jobs in, events out, until the parent is gone."""
    import queue
    import threading

    jobs: queue.Queue[Job] = queue.Queue()

    def listen() -> None:
        while True:
            try:
                jobs.put(pipe.recv())
            except (EOFError, OSError):
                os._exit(1)  # the parent died: whatever this worker does is not wanted any more

    threading.Thread(target=listen, daemon=True).start()
    from elegans.lab.worker import perform, resolve_device

    resolved = device
    with contextlib.suppress(ValueError):  # a device that is not there fails the job, with its reason
        if resolve_device(device).type == "cuda":
            import torch

            resolved = f"cuda:{number % torch.cuda.device_count()}"
    store = Store(root)
    while True:
        perform(jobs.get(), store, device=resolved, notify=pipe.send)


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started inside use one thread in every numerical library."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C from their first instruction on (the disposition is inherited)."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, where signals cannot be set and Ctrl-C does not arrive
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def default_workers(device: str) -> int:
    """One worker per core this process may use; on a GPU machine no more than `GPU_WORKERS`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, GPU_WORKERS) if device != "cpu" and shutil.which("nvidia-smi") else cores
