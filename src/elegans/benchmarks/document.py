"""Results as one JSON document, and as a table for people."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text

from elegans.benchmarks.harness import Result, Timing

NOT_INSTALLED = "not installed"


def machine(device: torch.device, threads: int) -> dict[str, Any]:
    """What the times were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": device.type, "processor": name, "threads": threads, "torch": torch.__version__}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def as_json(name: str, about: str, results: Sequence[Result]) -> dict[str, Any]:
    """A benchmark as plain data; times are medians in milliseconds, ratios have quartiles."""
    cases = [
        {
            "case": result.case,
            "rounds": result.rounds,
            "refused": result.refused,
            "contenders": [_contender_json(timing) for timing in result.timings],
        }
        for result in results
    ]
    return {"benchmark": name, "about": about, "cases": cases}


def _contender_json(timing: Timing) -> dict[str, Any]:
    contender = timing.contender
    goal = contender.goal
    low, median, high = timing.ratio or (None, None, None)
    return {
        "contender": contender.name,
        "installed": contender.call is not None,
        "ms": timing.ms,
        "ratio": median,
        "low": low,
        "high": high,
        "goal": str(goal) if goal else None,
        "met": timing.met,
        **contender.facts,
    }


def as_table(name: str, about: str, results: Sequence[Result]) -> Group:
    """A benchmark as a table: one row per contender; the ratio is its time over that of the first of its case."""
    facts = list(dict.fromkeys(fact for r in results for t in r.timings for fact in t.contender.facts))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("case", "contender", "ms", "ratio [quartiles]", "goal", *facts):
        table.add_column(
            Text(heading.replace("_", " ")),
            justify="right" if heading in ("ms", *facts) else "left",
            no_wrap=heading != "case",
        )
    for result in results:
        for index, timing in enumerate(result.timings):
            own = [f"{timing.contender.facts[fact]:,}" if fact in timing.contender.facts else "" for fact in facts]
            table.add_row("" if index else result.case, *_cells(timing), *own)
    refused = [Text(f"not timed: {r.case}: {r.refused}", style="red") for r in results if r.refused]
    return Group(Text.assemble((name, "bold"), f"  ·  {about}"), table, *refused, "")


def _cells(timing: Timing) -> tuple[str | Text, ...]:
    contender = timing.contender
    if contender.call is None:
        return contender.name, "", Text(NOT_INSTALLED, style="bright_black"), str(contender.goal or "")
    ms = "" if timing.ms is None else f"{timing.ms:,.{3 if timing.ms < 10 else 1}f}"
    ratio = Text("")
    if timing.ratio:
        low, median, high = (f"{x:.{1 if timing.ratio[1] >= 10 else 2}f}" for x in timing.ratio)
        ratio = Text(f"{median}x [{low}, {high}]")
    words = {None: ("", ""), True: (" met", "green"), False: (" missed", "yellow")}
    return contender.name, ms, ratio, Text.assemble(str(contender.goal or ""), words[timing.met])


def count_goals(results: Sequence[Result]) -> str:
    """One line: how many goals were met and missed."""
    met = [t.met for result in results for t in result.timings if t.met is not None]
    return f"goals: {met.count(True)} met, {met.count(False)} missed"
