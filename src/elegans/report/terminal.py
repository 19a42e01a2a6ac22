"""Verdicts and running studies on a terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from elegans.report.boards import LiveBoard, PlainBoard, make_board
from elegans.report.tables import VerdictRow, seed_range, verdict_rows

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from elegans.report.page import StudyPage

__all__ = ["LiveBoard", "PlainBoard", "make_board", "verdict_table"]

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
    """The study, then claim, value, threshold, control and verdict; below, why a claim is not supported.

    It fits into 100 columns by wrapping names, never numbers.
    """
    return _VerdictTable(page)


class _VerdictTable:
    """Lays out its columns when the width is known."""

    def __init__(self, page: StudyPage) -> None:
        self.rows = verdict_rows(page)
        self.title, self.setup = page.study.name, f"  ·  {page.scale}  ·  {seed_range(page.seeds)}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table
        from rich.text import Text

        yield Text.assemble((self.title, "bold"), self.setup)
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
                Text("\n".join(textwrap.wrap(_control(row), control_width))),
                Text(f"{row.symbol} {row.verdict}", style=STYLES[row.verdict]),
            )
        yield table
        why: dict[tuple[str, str], list[VerdictRow]] = {}
        for row in self.rows:
            if row.verdict != "supported":
                why.setdefault((row.verdict, row.reason), []).append(row)
        yield Text("")
        for (verdict, reason), rows in why.items():
            who = "all claims" if len(rows) == len(self.rows) > 1 else ", ".join(row.claim for row in rows)
            yield Text.assemble((f"{rows[0].symbol} {who}: ", STYLES[verdict]), reason)
        if why:
            yield Text("")

    def _name_widths(self, width: int) -> tuple[int, int]:
        """Columns for the names of claims and controls: what the numbers leave, shared three to two."""
        fixed = [
            max(len(HEADINGS[1]), *(len(row.value) for row in self.rows)),
            max(len(HEADINGS[2]), *(len(row.threshold) for row in self.rows)),
            max(len(row.verdict) + 2 for row in self.rows),
        ]
        room = max(16, width - sum(fixed) - len(HEADINGS) * GAP)
        claims = max(len(row.claim) for row in self.rows)
        controls = max(len(_control(row)) for row in self.rows)
        if claims + controls <= room:
            return claims, max(controls, 1)
        claim_width = max(room - controls, min(claims, room * 3 // 5))
        return claim_width, room - claim_width


def _control(row: VerdictRow) -> str:
    return f"{row.control_name} {row.control}".strip()
