"""Several benchmarks in a row."""

from collections.abc import Callable, Mapping
from typing import Any

from elegans.benchmarks import CATALOG
from elegans.benchmarks.document import as_json, as_table, count_goals, machine
from elegans.benchmarks.harness import Benchmark, run
from elegans.lab.worker import resolve_device
from elegans.study import UsageError


def run_suite(
    chosen: Mapping[str, Benchmark],
    device: str,
    *,
    threads: int,
    quick: bool,
    show: Callable[[Any], None],
    notify: Callable[[str], None],
) -> tuple[dict[str, Any], bool]:
    """All results as one JSON document, and whether all contenders computed the same.

    `show` gets the table of each benchmark when it is done, and a line on goals in the end; `notify` the name of each case
    before it starts. Raises `UsageError` for a device that is not there.
    """
    try:
        place = resolve_device(device)
    except ValueError as error:
        raise UsageError(str(error)) from None
    parts, results = [], []
    for name, benchmark in chosen.items():
        found = run(
            benchmark,
            place,
            threads=threads,
            quick=quick,
            notify=lambda case, name=name: notify(f"{name}: {case}"),
        )
        about = CATALOG[name][1]
        show(as_table(name, about, found))
        parts.append(as_json(name, about, found))
        results += found
    if not quick:
        show(count_goals(results))
    document = {"machine": machine(place, threads), "quick": quick, "benchmarks": parts}
    return document, not any(result.refused for result in results)
