"""Answers on standard output: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elegans.study import UsageError

if TYPE_CHECKING:
    from elegans.report.page import StudyPage


def answer(pages: Sequence[StudyPage], as_json: bool) -> None:
    """The claim tables of some studies."""
    if as_json:
        from elegans.report.tables import as_json as to_json

        print_json(to_json(pages))
        return
    from rich.console import Console

    from elegans.report.terminal import verdict_table

    console = Console(width=None if sys.stdout.isatty() else 120)
    for page in pages:
        console.print(verdict_table(page))


def write_report(pages: Sequence[StudyPage], out: Path, formats: Sequence[str] = ()) -> Path:
    """The site of some studies. Raises `UsageError` where it cannot be written."""
    from elegans.report.site import write_site

    try:
        return write_site(pages, out, formats=formats)  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise UsageError(f"cannot write the report to {out}: {error.strerror or error}") from None


def say_where(index: Path, pages: Sequence[StudyPage]) -> None:
    """Where the report is, and how to decide what is not decided."""
    print(f"report  {index}")
    undecided = [p.study.name for p in pages if any(v.verdict == "inconclusive" for v in p.verdicts)]
    for name in undecided:
        print(f"rerun with more seeds: elegans run {name} --until-decided")


def print_json(document: Any) -> int:
    """One document; the exit status."""
    print(json.dumps(document, indent=1, allow_nan=False))
    return 0


def print_catalog(kind: str, catalog: dict[str, tuple[str, str]], as_json: bool) -> int:
    """Names, what they are and where; the exit status."""
    if as_json:
        rows = [{"name": name, "path": path, "description": doc} for name, (path, doc) in catalog.items()]
        return print_json({kind: rows})
    for name, (path, doc) in catalog.items():
        print(f"{name:<20} {doc}\n{'':<20} {path}")
    return 0


def distinct(names: Sequence[str]) -> list[str]:
    """Each name once."""
    return list(dict.fromkeys(names))
