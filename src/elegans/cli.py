"""The command line: parse, call, print.

Exit status: 0 done (whatever the verdicts), 1 a job failed or a benchmark found wrong numbers, 2 the call was wrong. What
is printed on standard output is the answer; progress and errors go to standard error.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from elegans.study import Scale, UsageError, unknown

if TYPE_CHECKING:
    from elegans.lab.plan import Plan, Request
    from elegans.lab.store import Store
    from elegans.report.page import StudyPage

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Model organisms for machine reasoning: published claims, run as experiments, with a verdict.",
)

Studies = Annotated[list[str] | None, typer.Argument(help="Names as in 'elegans list', or 'package.module:STUDY'.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Seeds per arm; by default what the study asks for.")]
FirstSeed = Annotated[int, typer.Option(min=0, help="The first seed: 1000, say, for seeds that nobody has seen.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="ARM.config.FIELD=VALUE; ARM may be a pattern like 'gpt*'.")
]
Model = Annotated[str | None, typer.Option(help="Ask the question of this model: a name, or 'package.module:Class'.")]
LM = Annotated[str | None, typer.Option("--lm", help="Ask it of the Hugging Face causal LM in this directory.")]
AScale = Annotated[Scale | None, typer.Option(help="The preset (default: laptop).")]


# ------------------------------------------------------------------------------------------------ what there is


@app.command("list")
def list_studies(as_json: Json = False) -> int:
    """List all studies."""
    from elegans import studies

    found = [studies.load(name) for name in studies.names()]
    rows = [
        {
            "study": study.name,
            "paper": study.paper.arxiv,
            "question": study.question,
            "claims": len(study.claims),
            "arms": len(study.at("laptop")),
            "seeds": study.seeds,
            "minutes": study.expected_minutes.get("laptop"),
        }
        for study in found
    ]
    if as_json:
        return _print_json({"studies": rows})
    for row in rows:
        print(f"{row['study']}  (arXiv:{row['paper']})")
        print(f"  {row['question']}")
        print(f"  {row['claims']} claims, {row['arms']} arms x {row['seeds']} seeds, about {row['minutes']:g} minutes")
    return 0


@app.command()
def show(study: Annotated[str, typer.Argument(help="A study.")], scale: AScale = None, as_json: Json = False) -> int:
    """Show a study: its claims, arms, and the fields of their configs."""
    from elegans import studies
    from elegans.report.describe import as_text, describe

    found = studies.load(study)
    parts = describe(found, scale or "laptop")
    if as_json:
        return _print_json(parts)
    print(as_text(found, parts))
    return 0


@app.command("models")
def list_models(as_json: Json = False) -> int:
    """List the models of the zoo."""
    from elegans.models.registry import CATALOG

    return _print_catalog("models", {name: preset[:2] for name, preset in CATALOG.items()}, as_json)


@app.command("tasks")
def list_tasks(as_json: Json = False) -> int:
    """List the tasks."""
    from elegans.tasks import CATALOG

    return _print_catalog("tasks", CATALOG, as_json)


# ------------------------------------------------------------------------------------------------ running


@app.command()
def run(
    names: Studies = None,
    everything: Annotated[bool, typer.Option("--all", help="Run all studies.")] = False,
    scale: AScale = None,
    seeds: Seeds = None,
    first_seed: FirstSeed = 0,
    until_decided: Annotated[bool, typer.Option(help="Add seeds until no claim is inconclusive.")] = False,
    max_seeds: Annotated[int | None, typer.Option(min=2, help="Where --until-decided stops (default: 20).")] = None,
    sets: Sets = None,
    model: Model = None,
    lm: LM = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes (default: one per core); 0 runs jobs in this process.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where models train.")] = "auto",
    as_json: Json = False,
) -> int:
    """Run studies: compute what is not in the store yet, print the verdicts, write the report."""
    from elegans import studies
    from elegans.lab.plan import Request, make_plan
    from elegans.lab.store import Store, home

    if everything == bool(names):
        raise UsageError("name studies to run, or pass --all" if not names else "name studies or pass --all, not both")
    if max_seeds is not None and not until_decided:
        raise UsageError("--max-seeds goes with --until-decided")
    found = [studies.load(name) for name in (studies.names() if everything else _distinct(names or []))]
    schedules, plans = [], []
    for study in found:
        first = study.seeds if seeds is None else seeds
        schedule = _seed_schedule(first, max_seeds or 20) if until_decided else [first]
        request = Request(
            scale=scale or "laptop",
            seeds=first,
            first_seed=first_seed,
            overrides=tuple(sets or ()),
            model=model,
            lm=lm,
            looks=len(schedule),
        )
        schedules.append(schedule)
        plans.append(make_plan(study, request))  # everything is checked before anything is trained
    store = Store(home())
    pages = [
        _run_study(plan, schedule, store, workers, device, quiet=as_json)
        for plan, schedule in zip(plans, schedules, strict=True)
    ]
    _answer(pages, as_json)
    if not as_json:
        _say_where(_write_report(pages, store.root / "report"), pages)
    return 1 if any(page.failed for page in pages) else 0


def _run_study(
    plan: Plan, schedule: Sequence[int], store: Store, workers: int | None, device: str, *, quiet: bool
) -> StudyPage:
    """Run a plan, with more and more seeds as the schedule has it, until every claim is decided."""
    from elegans.lab.engine import execute
    from elegans.lab.executors import InlineExecutor, PoolExecutor, default_workers
    from elegans.lab.plan import make_plan
    from elegans.report.assemble import assemble
    from elegans.report.boards import make_board

    number = default_workers(device) if workers is None else workers

    def executor(notify: Any) -> Any:
        if number == 0:
            return InlineExecutor(store, notify, device=device)
        return PoolExecutor(store, notify, workers=number, device=device)

    if plan.request.scale == "paper" and device != "cuda":
        from elegans.report.describe import spell_minutes

        minutes = plan.study.expected_minutes.get("paper", 0) * plan.request.seeds / plan.study.seeds
        say = f"{plan.study.name}: the published sizes; on two CPU cores expect about {spell_minutes(minutes)}"
        print(say, file=sys.stderr)
    page = None
    for seeds in schedule:
        plan = make_plan(plan.study, dataclasses.replace(plan.request, seeds=seeds))
        store.remember(plan.study.name, plan.request)
        failures = execute(plan, store, executor, make_board(plain=quiet))
        page = assemble(plan, store, failures)
        if failures or not any(v.verdict == "inconclusive" for v in page.verdicts):
            break
    assert page is not None
    return page


def _seed_schedule(first: int, last: int) -> list[int]:
    """The numbers of seeds at which the verdicts are looked at: half as many again each time."""
    if first > last:
        raise UsageError(f"--max-seeds must be at least the number of seeds to start with, {first}, got {last}")
    schedule = [first]
    while schedule[-1] < last:
        schedule.append(min(last, schedule[-1] + max(2, schedule[-1] // 2)))
    return schedule


# ------------------------------------------------------------------------------------------------ reading the store


@app.command()
def verdicts(
    names: Studies = None,
    scale: AScale = None,
    seeds: Seeds = None,
    first_seed: Annotated[int | None, typer.Option(min=0, help="The first seed.")] = None,
    sets: Sets = None,
    model: Model = None,
    lm: LM = None,
    as_json: Json = False,
) -> int:
    """Print the claim table again, from the store; by default of what was last run."""
    _answer(_stored_pages(names, scale, seeds, first_seed, sets, model, lm)[0], as_json)
    return 0


@app.command()
def report(
    names: Studies = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the site (default: report/ in the store).")] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    markdown: Annotated[bool, typer.Option(help="Print the tables as Markdown instead (RESULTS.md).")] = False,
    formats: Annotated[str, typer.Option(help="Figure files beside the SVG ones: png, pdf, or png,pdf.")] = "",
    as_json: Json = False,
) -> int:
    """Write the offline site of what was last run."""
    from elegans.report import tables

    wanted = [part.strip() for part in formats.split(",") if part.strip()]
    for part in wanted:
        if part not in ("png", "pdf"):
            raise unknown("figure format", part, ("png", "pdf"))
    if markdown and (out or open_it or as_json):
        raise UsageError("--markdown prints tables; it does not go with --out, --open or --json")
    pages, store = _stored_pages(names)
    if markdown:
        print(tables.markdown(pages), end="")
        return 0
    index = _write_report(pages, out or store.root / "report", wanted)
    if as_json:
        _print_json({"report": str(index), **tables.as_json(pages)})
    else:
        _say_where(index, pages)
    if open_it:
        import webbrowser

        webbrowser.open(index.resolve().as_uri())
    return 0


def _stored_pages(
    names: Sequence[str] | None,
    scale: Scale | None = None,
    seeds: int | None = None,
    first_seed: int | None = None,
    sets: Sequence[str] | None = None,
    model: str | None = None,
    lm: str | None = None,
) -> tuple[list[StudyPage], Store]:
    """Pages from the store, each as last run unless the call says otherwise."""
    from elegans import studies
    from elegans.lab.plan import Request, make_plan
    from elegans.lab.store import Store, home
    from elegans.report.assemble import assemble

    found = [studies.load(name) for name in _distinct(names or [])]
    if not home().exists():
        raise UsageError(f"nothing was run yet in {home()}; try: elegans run {studies.names()[0]}")
    store = Store(home())
    last = store.remembered()
    if not found and not last:
        raise UsageError(f"nothing was run yet in {home()}; try: elegans run {studies.names()[0]}")
    pages = []
    for study in found or [studies.load(name) for name in last if name in studies.names()]:
        request: Request = last.get(study.name, Request(seeds=study.seeds))
        given = {
            "scale": scale,
            "seeds": seeds,
            "first_seed": first_seed,
            "overrides": tuple(sets) if sets else None,
            "model": model,
            "lm": lm,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        pages.append(assemble(make_plan(study, dataclasses.replace(request, **changes)), store))
    return pages, store


# ------------------------------------------------------------------------------------------------ speed


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
        return _print_catalog("benchmarks", benchmarks.CATALOG, as_json)
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
        _print_json(document)
    return 0 if agreed else 1


# ------------------------------------------------------------------------------------------------ printing


def _answer(pages: Sequence[StudyPage], as_json: bool) -> None:
    if as_json:
        from elegans.report.tables import as_json as to_json

        _print_json(to_json(pages))
        return
    from rich.console import Console

    from elegans.report.terminal import verdict_table

    console = Console(width=None if sys.stdout.isatty() else 120)
    for page in pages:
        console.print(verdict_table(page))


def _write_report(pages: Sequence[StudyPage], out: Path, formats: Sequence[str] = ()) -> Path:
    from elegans.report.site import write_site

    try:
        return write_site(pages, out, formats=formats)  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise UsageError(f"cannot write the report to {out}: {error.strerror or error}") from None


def _say_where(index: Path, pages: Sequence[StudyPage]) -> None:
    print(f"report  {index}")
    undecided = [p.study.name for p in pages if any(v.verdict == "inconclusive" for v in p.verdicts)]
    for name in undecided:
        print(f"rerun with more seeds: elegans run {name} --until-decided")


def _print_json(document: Any) -> int:
    print(json.dumps(document, indent=1, allow_nan=False))
    return 0


def _print_catalog(kind: str, catalog: dict[str, tuple[str, str]], as_json: bool) -> int:
    if as_json:
        rows = [{"name": name, "path": path, "description": doc} for name, (path, doc) in catalog.items()]
        return _print_json({kind: rows})
    for name, (path, doc) in catalog.items():
        print(f"{name:<20} {doc}\n{'':<20} {path}")
    return 0


def _distinct(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


# ------------------------------------------------------------------------------------------------ entry


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point: a wrong call is one line and status 2, an interruption one line and status 130."""
    from typer.exceptions import TyperException

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command: Callable[..., Any] = app
    try:
        status = command(list(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
    except UsageError as error:
        status = _fail(str(error))
    except TyperException as error:
        status = _fail(error.format_message() if hasattr(error, "format_message") else str(error))  # pyright: ignore
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    if status == 130:
        print("elegans: interrupted; what is finished is kept, the same command goes on", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    print(f"elegans: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
