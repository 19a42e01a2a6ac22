"""What a person sees while a study runs: one live table, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Self

from elegans.report.progress import ArmProgress, Job, Tracker
from elegans.report.tables import duration, number, spell

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

    from elegans.lab.engine import Board

SPOKEN_METRICS = 2
LINE_EVERY = 10.0
"""Seconds between two lines on the same job."""
FIRST_LINE_AFTER = 2.0
BAR_WIDTH, NARROW_BAR_WIDTH = 18, 8
WIDE = 96
"""Columns from which a live table has room for long bars and a second metric."""
GAP = 2


def make_board(*, plain: bool = False) -> Board:
    """The board that suits standard error: live on a terminal, else (or if `plain`) lines."""
    from rich.console import Console

    console = Console(stderr=True)
    if plain or not console.is_terminal or console.is_dumb_terminal:
        return PlainBoard()
    return LiveBoard(console)


class PlainBoard:
    """A line per job that begins or ends, and at most one line per job and 10 s in between.

    The first line on a job's progress comes as soon as its speed is known, except for the shortest jobs.
    """

    def __init__(self, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream or sys.stderr
        self.tracker = Tracker(clock)
        self._last_line: dict[Job, float] = {}

    def start(
        self, study_name: str, scale: str, totals: Mapping[str, int], workers: int, cached: Mapping[str, int]
    ) -> None:
        """See `elegans.lab.engine.Board`."""
        self.tracker.start(totals, workers, cached)
        self._last_line.clear()
        self._say(headline(study_name, scale, totals, workers, cached, separator=", "))

    def progress(self, arm: str, seeds: Sequence[int], step: int, total: int, metrics: Mapping[str, float]) -> None:
        """See `elegans.lab.engine.Board`."""
        job, now = (arm, tuple(seeds)), self.tracker.clock()
        if self.tracker.progress(arm, seeds, step, total, metrics):
            self._say(f"started   {job_name(arm, seeds)}")
            self._last_line.pop(job, None)
        state = self.tracker.arms[arm].running[tuple(seeds)]
        rest, whole = state.remaining(now), self.tracker.eta()
        since, pause = (
            (self._last_line[job], LINE_EVERY) if job in self._last_line else (state.free_since, FIRST_LINE_AFTER)
        )
        if rest is None or whole is None or step >= total or now - since < pause:
            return
        self._last_line[job] = now
        parts = [f"step {step}/{total}", *spoken(metrics), f"ETA {duration(rest)}", f"all {duration(whole)}"]
        self._say(f"running   {job_name(arm, seeds)}: {', '.join(parts)}")

    def finished(self, arm: str, seeds: Sequence[int], seconds: float) -> None:
        """See `elegans.lab.engine.Board`."""
        self.tracker.finished(arm, seeds, seconds)
        row = self.tracker.arms[arm]
        parts = [f"in {duration(seconds)}", *spoken(row.metrics), f"{row.done}/{row.total} of this arm"]
        self._say(f"finished  {job_name(arm, seeds)} {', '.join(parts)}")

    def failed(self, arm: str, seeds: Sequence[int], reason: str) -> None:
        """See `elegans.lab.engine.Board`."""
        self.tracker.failed(arm, seeds)
        self._say(f"failed    {job_name(arm, seeds)}: {reason}")

    def waiting(self, arm: str, seeds: Sequence[int]) -> None:
        """See `elegans.lab.engine.Board`."""
        if self.tracker.waiting(arm, seeds):
            self._say(f"waiting   {job_name(arm, seeds)}: another process is computing it")

    def stop(self) -> None:
        """See `elegans.lab.engine.Board`."""
        self.stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class LiveBoard:
    """One table that is redrawn in place: a row per arm with a bar over its seeds."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True)
        self.tracker = Tracker(clock)
        self._title = ""
        self._live: Live | None = None
        self._lock = threading.RLock()

    def start(
        self, study_name: str, scale: str, totals: Mapping[str, int], workers: int, cached: Mapping[str, int]
    ) -> None:
        """See `elegans.lab.engine.Board`."""
        from rich.live import Live

        self.stop()
        with self._lock:
            self.tracker.start(totals, workers, cached)
            self._title = headline(study_name, scale, totals, workers, cached, separator="  ·  ")
        self._live = Live(get_renderable=self.render, console=self.console, refresh_per_second=4)
        self._live.start(refresh=True)

    def progress(self, arm: str, seeds: Sequence[int], step: int, total: int, metrics: Mapping[str, float]) -> None:
        """See `elegans.lab.engine.Board`."""
        with self._lock:
            self.tracker.progress(arm, seeds, step, total, metrics)

    def finished(self, arm: str, seeds: Sequence[int], seconds: float) -> None:
        """See `elegans.lab.engine.Board`."""
        with self._lock:
            self.tracker.finished(arm, seeds, seconds)

    def failed(self, arm: str, seeds: Sequence[int], reason: str) -> None:
        """See `elegans.lab.engine.Board`."""
        from rich.text import Text

        with self._lock:
            self.tracker.failed(arm, seeds)
        self.console.print(Text(f"failed  {job_name(arm, seeds)}: {reason}", style="red"))

    def waiting(self, arm: str, seeds: Sequence[int]) -> None:
        """See `elegans.lab.engine.Board`."""
        with self._lock:
            self.tracker.waiting(arm, seeds)

    def stop(self) -> None:
        """See `elegans.lab.engine.Board`. What the table said last stays on the screen."""
        if self._live:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def render(self) -> RenderableType:
        """The table as it is now, no higher than the screen."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            rows, hidden = self._visible()
            header = Table.grid(expand=True)
            header.add_column(ratio=1)
            header.add_column(justify="right", no_wrap=True)
            eta = self.tracker.eta()
            left = f"   ETA {duration(eta)}" if eta is not None and not all(r.over for r in rows) else ""
            header.add_row(Text(self._title, style="bold"), Text(duration(self.tracker.elapsed()) + left))
            cells = [self._cells(row) for row in rows]
            taken = sum(max(len(line[i]) for line in cells) + GAP for i in (1, 2, 3)) if cells else 0
            table = Table.grid(padding=(0, GAP, 0, 0))
            table.add_column(
                max_width=max(10, self.console.width - taken - self._bar_width - 2 * GAP), overflow="ellipsis"
            )
            for row, (name, *texts) in zip(rows, cells, strict=True):
                table.add_row(name, self._bar(row), *texts)
            for column in table.columns:
                column.no_wrap = True
            parts: list[RenderableType] = [header, table]
            if hidden:
                parts.append(Text(f"and {hidden} more arms, done or not begun", style="dim"))
            return Group(*parts)

    def _visible(self) -> tuple[list[ArmProgress], int]:
        """The arms that fit on the screen, those under way first in the choice, in the study's order."""
        arms = list(self.tracker.arms.values())
        room = max(3, self.console.height - 5)
        if len(arms) <= room:
            return arms, 0
        urgency = sorted(arms, key=lambda a: (not (a.running or a.waiting), not a.failed, a.over))
        chosen = {arm.name for arm in urgency[:room]}
        return [arm for arm in arms if arm.name in chosen], len(arms) - room

    @property
    def _bar_width(self) -> int:
        return BAR_WIDTH if self.console.width >= WIDE else NARROW_BAR_WIDTH

    def _bar(self, row: ArmProgress) -> RenderableType:
        from rich.progress_bar import ProgressBar

        style = "red" if row.failed else "green" if row.over else "cyan"
        total = max(row.total, 1)
        completed = min(row.completed + row.failed, total)
        return ProgressBar(total, completed, width=self._bar_width, complete_style=style, finished_style=style)

    def _cells(self, row: ArmProgress) -> list[Text]:
        """Name, seeds done, what is going on, time left."""
        from rich.text import Text

        words = spoken(row.metrics, SPOKEN_METRICS if self.console.width >= WIDE else 1)
        if row.failed:
            words.append(f"{row.failed} failed")
        if row.running:
            furthest = max(row.running.values(), key=lambda job: job.share)
            words.append(f"step {furthest.step}/{furthest.total}")
        elif row.waiting and not row.over:
            words.append("in another process")
        eta = self.tracker.arm_eta(row.name)
        return [
            Text(f"  {row.name}", style="" if row.running else "dim"),
            Text(f"{row.done}/{row.total}"),
            Text("  ".join(words), style="red" if row.failed else ""),
            Text(f"ETA {duration(eta)}" if eta is not None else ""),
        ]


# ------------------------------------------------------------------------------------------------ wording


def headline(
    study: str, scale: str, totals: Mapping[str, int], workers: int, cached: Mapping[str, int], *, separator: str
) -> str:
    """What runs, in one line."""
    seeds = sorted(set(totals.values()))
    spread = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]}-{seeds[-1]}" if seeds else "0"
    parts = [
        study,
        scale,
        f"{_count(len(totals), 'arm')} x {spread} seed{'' if spread == '1' else 's'}",
        _count(workers, "worker"),
    ]
    if done := sum(cached.values()):
        parts.append(f"{done}/{sum(totals.values())} done before")
    return separator.join(parts)


def job_name(arm: str, seeds: Sequence[int]) -> str:
    """A job as a person calls it: ``gpt seed 3``, ``bilinear seeds 0-7``."""
    return f"{arm} seed{'' if len(seeds) == 1 else 's'} {spell(seeds)}"


def spoken(metrics: Mapping[str, float], limit: int = SPOKEN_METRICS) -> list[str]:
    """The first metrics, the loss before all others."""
    names = sorted(metrics, key=lambda name: name != "loss")[:limit]
    return [f"{name} {number(metrics[name])}" for name in names]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
