"""Verdicts and running studies on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from elegans.report.boards import LiveBoard, PlainBoard, make_board
from elegans.report.tables import VerdictRow, seed_range, verdict_rows

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from elegans.report.page import StudyPage

__all__ = ["LiveBoard", "PlainBoard", "make_board", "print_verdicts", "verdict_table"]

STYLES = {
    "supported": "green",
    "refuted": "red",
    "inconclusive": "yellow",
    "uninformative": "magenta",
    "not testable": "bright_black",
}
HEADINGS = ("claim", "value [95 %]", "threshold", "control", "verdict")
GAP = 2


def verdict_table(page: StudyPage) -> RenderableType:
    """Claim, value, threshold, control and verdict; below, why a claim is not supported.

    It fits into 100 columns by wrapping names, never numbers.
    """
    return _VerdictTable(verdict_rows(page))


class _VerdictTable:
    """Lays out its columns when the width is known."""

    def __init__(self, rows: Sequence[VerdictRow]) -> None:
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table
        from rich.text import Text

        if not self.rows:
            yield Text("This study makes no claims.")
            return
        claim_width, control_width = self._name_widths(options.max_width)
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_edge=False)
        for name in HEADINGS:
            table.add_column(name, no_wrap=name not in ("claim", "control"), overflow="fold")
        for row in self.rows:
            table.add_row(
                Text("\n".join(textwrap.wrap(row.claim, claim_width))),
                Text(row.value),
                Text(row.threshold),
                Text("\n".join(textwrap.wrap(f"{row.control_name} {row.control}", control_width))),
                Text(f"{row.symbol} {row.verdict}", style=STYLES[row.verdict]),
            )
        yield table
        if notes := [row for row in self.rows if row.verdict != "supported"]:
            yield Text("")
            for row in notes:
                yield Text.assemble((f"{row.symbol} {row.claim}: ", STYLES[row.verdict]), row.reason)

    def _name_widths(self, width: int) -> tuple[int, int]:
        """Columns for the names of claims and controls: what the numbers leave, shared three to two."""
        fixed = [
            max(len(HEADINGS[1]), *(len(row.value) for row in self.rows)),
            max(len(HEADINGS[2]), *(len(row.threshold) for row in self.rows)),
            max(len(row.verdict) + 2 for row in self.rows),
        ]
        room = max(24, width - sum(fixed) - len(HEADINGS) * GAP)
        claims = max(len(row.claim) for row in self.rows)
        controls = max(len(f"{row.control_name} {row.control}") for row in self.rows)
        if claims + controls <= room:
            return claims, max(controls, 1)
        claim_width = max(room - controls, min(claims, room * 3 // 5))
        return claim_width, room - claim_width


def print_verdicts(page: StudyPage, console: Console | None = None) -> None:
    """Print a study's verdicts under its name, on standard output; 100 columns wide where that is no terminal."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, 100)
    console.print(Text.assemble((page.study.name, "bold"), f"  ·  {page.scale}  ·  {seed_range(page.seeds)}"))
    console.print(verdict_table(page))
    console.print()
