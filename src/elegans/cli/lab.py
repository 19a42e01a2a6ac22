"""Commands about studies: what there is, run, read again, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elegans.cli.app import LM, AScale, Device, FirstSeed, Json, Model, Seeds, Sets, Studies, Workers, app
from elegans.cli.printing import answer, distinct, print_catalog, print_json, say_where, write_report
from elegans.cli.running import run_study, seed_schedule, stored_pages
from elegans.study import UsageError, unknown

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
        return print_json({"studies": rows})
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
        return print_json(parts)
    print(as_text(found, parts))
    return 0


@app.command("models")
def list_models(as_json: Json = False) -> int:
    """List the models of the zoo."""
    from elegans.models.registry import CATALOG

    return print_catalog("models", {name: preset[:2] for name, preset in CATALOG.items()}, as_json)


@app.command("tasks")
def list_tasks(as_json: Json = False) -> int:
    """List the tasks."""
    from elegans.tasks import CATALOG

    return print_catalog("tasks", CATALOG, as_json)


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
    workers: Workers = None,
    device: Device = "auto",
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
    found = [studies.load(name) for name in (studies.names() if everything else distinct(names or []))]
    schedules, plans = [], []
    for study in found:
        first = study.seeds if seeds is None else seeds
        schedule = seed_schedule(first, max_seeds or 20) if until_decided else [first]
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
    if lm is not None:
        _refuse_no_model(lm)
    store = Store(home())
    pages = [
        run_study(plan, schedule, store, workers, device, quiet=as_json)
        for plan, schedule in zip(plans, schedules, strict=True)
    ]
    answer(pages, as_json)
    if not as_json:
        say_where(write_report(pages, store.root / "report"), pages)
    return 1 if any(page.failed for page in pages) else 0


# ------------------------------------------------------------------------------------------------ reading the store


def _refuse_no_model(lm: str) -> None:
    """Refuse a directory without a whole language model, before anything runs; weights are not read."""
    from elegans.lm.directory import check_lm

    try:
        check_lm(lm)
    except ValueError as error:
        raise UsageError(str(error)) from None


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
    answer(stored_pages(names, scale, seeds, first_seed, sets, model, lm)[0], as_json)
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
    pages, store = stored_pages(names)
    if markdown:
        print(tables.markdown(pages), end="")
        return 0
    index = write_report(pages, out or store.root / "report", wanted)
    if as_json:
        print_json({"report": str(index), **tables.as_json(pages)})
    else:
        say_where(index, pages)
    if open_it:
        import webbrowser

        webbrowser.open(index.resolve().as_uri())
    return 0
