"""The command that measures speed."""

from __future__ import annotations

import functools
import sys
from typing import Annotated, Literal

import typer

from elegans.cli.app import Json, app
from elegans.cli.printing import print_catalog, print_json


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names as in 'elegans bench --list' (default: all).")
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the benchmarks.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes: shows in seconds that all run, not how fast.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Of torch. With one, CPU time is measured, not the clock.")] = 1,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    as_json: Json = False,
) -> int:
    """Measure what is ours side by side with what one would use instead."""
    from elegans import benchmarks

    if list_them:
        return print_catalog("benchmarks", benchmarks.CATALOG, as_json)
    chosen = {name: benchmarks.load(name) for name in names or benchmarks.CATALOG}
    from rich.console import Console

    from elegans.benchmarks.suite import run_suite

    document, agreed = run_suite(
        chosen,
        device,
        threads=threads,
        quick=quick,
        show=Console(width=None if sys.stdout.isatty() else 120, quiet=as_json).print,
        notify=functools.partial(print, file=sys.stderr, flush=True),
    )
    if as_json:
        print_json(document)
    return 0 if agreed else 1
