"""From a plan to its page: computed, or read from the store."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from elegans.cli.printing import distinct
from elegans.study import Scale, UsageError

if TYPE_CHECKING:
    from elegans.lab.plan import Plan, Request
    from elegans.lab.store import Store
    from elegans.report.page import StudyPage
    from elegans.study import Study


def run_study(
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


def run_own(study: Study, store: Store, workers: int | None, device: str, *, quiet: bool) -> StudyPage:
    """Run a study made on the spot, which is made again by the call of this program and by no name."""
    from elegans.lab.plan import Request, make_plan

    plan = make_plan(study, Request(seeds=study.seeds))
    page = run_study(plan, [study.seeds], store, workers, device, quiet=quiet)
    return dataclasses.replace(page, command=shlex.join(["elegans", *sys.argv[1:]]))


def seed_schedule(first: int, last: int) -> list[int]:
    """The numbers of seeds at which the verdicts are looked at: half as many again each time."""
    if first > last:
        raise UsageError(f"--max-seeds must be at least the number of seeds to start with, {first}, got {last}")
    schedule = [first]
    while schedule[-1] < last:
        schedule.append(min(last, schedule[-1] + max(2, schedule[-1] // 2)))
    return schedule


def stored_pages(
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

    found = [studies.load(name) for name in distinct(names or [])]
    if not home().exists():
        raise UsageError(f"nothing was run yet in {home()}; try: elegans run {studies.names()[0]}")
    store = Store(home())
    last = store.remembered()
    if not found and not last:
        raise UsageError(f"nothing was run yet in {home()}; try: elegans run {studies.names()[0]}")
    found = found or [studies.load(name) for name in last if name in studies.names()]
    if not found:
        raise UsageError(
            f"{home()} holds only answers to questions of your own: give the command again that asked them"
        )
    pages = []
    for study in found:
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
