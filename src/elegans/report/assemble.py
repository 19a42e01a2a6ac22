"""From the store to pages: results of a plan, judged."""

from __future__ import annotations

import dataclasses
import platform
import shlex
from collections.abc import Sequence

from elegans.lab.engine import Failure, collect
from elegans.lab.plan import Plan, Request
from elegans.lab.store import Store, versions
from elegans.report.page import StudyPage
from elegans.stats import judge


def assemble(plan: Plan, store: Store, failures: Sequence[Failure] = ()) -> StudyPage:
    """The page of a study as the store knows it now."""
    results = collect(plan, store)
    verdicts = judge(plan.study, results, looks=plan.request.looks)
    if plan.request.scale == "smoke":
        verdicts = [dataclasses.replace(v, verdict="not testable", reason="smoke judges nothing") for v in verdicts]
    entries = store.entries(record.key for record in plan.records.values())
    return StudyPage(
        study=plan.study,
        scale=plan.request.scale,
        seeds=tuple(plan.request.seed_range),
        arms=plan.arms,
        overrides=_changes(plan.request),
        results=results,
        verdicts=verdicts,
        command=command(plan.study.name, plan.request),
        environment=_environment([entry.versions for entry in entries.values()]),
        seconds=sum(entry.seconds or 0.0 for entry in entries.values()),
        failed=failures,
    )


def command(study: str, request: Request) -> str:
    """The call that makes these results."""
    words = ["elegans", "run", study, "--seeds", str(request.seeds)]
    if request.scale != "laptop":
        words += ["--scale", request.scale]
    if request.first_seed:
        words += ["--first-seed", str(request.first_seed)]
    for override in request.overrides:
        words += ["--set", override]
    for option in ("model", "lm"):
        if value := getattr(request, option):
            words += [f"--{option}", value]
    return shlex.join(words)


def _changes(request: Request) -> tuple[str, ...]:
    replaced = [f"{option}={value}" for option in ("model", "lm") if (value := getattr(request, option))]
    return (*request.overrides, *replaced)


def _environment(found: Sequence[dict[str, str]]) -> dict[str, str]:
    """The versions that made the results, all of them where they differ, and this machine's processor."""
    names = found[0] if found else versions()
    known = {name: ", ".join(sorted({v.get(name, "?") for v in found or [versions()]})) for name in names}
    return {**known, "platform": f"{platform.system()} {platform.machine()}"}
