"""Every study: well formed, light to list, and running from one end to the other at smoke."""

import dataclasses
import importlib

import pytest

from elegans import studies
from elegans.lab.engine import collect, execute
from elegans.lab.executors import InlineExecutor
from elegans.lab.plan import Request, make_plan
from elegans.lab.store import Store
from elegans.report.assemble import assemble
from elegans.report.site import write_site
from elegans.study import SCALES

NAMES = studies.names()


class Silent:
    def __getattr__(self, name):
        return lambda *args: None


@pytest.mark.parametrize("name", NAMES)
def test_a_study_is_well_formed(name):
    study = studies.load(name)
    assert study.name == name
    assert set(study.arms) == set(SCALES) == set(study.expected_minutes)
    assert set(study.at("smoke")) == set(study.at("laptop")) == set(study.at("paper")), "arms differ between scales"
    assert study.differences and study.figures
    for scale in SCALES:
        for arm in study.at(scale).values():
            module, _, function = arm.experiment.partition(":")
            assert callable(getattr(importlib.import_module(module), function))
            assert all(f.metadata.get("doc") for f in dataclasses.fields(arm.config))
            assert dataclasses.is_dataclass(arm.config)
    for claim in study.claims:
        assert claim.statement.endswith(".")
        assert claim.source


@pytest.mark.parametrize("name", NAMES)
def test_a_study_runs_at_smoke_and_its_report_shows_every_figure(name, tmp_path):
    study = studies.load(name)
    store = Store(tmp_path / "runs")
    plan = make_plan(study, Request(scale="smoke", seeds=2))
    failures = execute(plan, store, lambda notify: InlineExecutor(store, notify, device="cpu"), Silent())
    assert not failures, failures[0].error
    results = collect(plan, store)
    assert not results.missing
    for claim in study.claims:
        assert len(claim.value(results)) == 2
        for control in claim.controls.values():
            assert len(control(results)) == 2
    page = assemble(plan, store)
    assert {verdict.verdict for verdict in page.verdicts} == {"not testable"}
    write_site([page], tmp_path / "site")
    for figure in study.figures:
        assert figure.data(results).size
    html = (tmp_path / "site" / f"{name}.html").read_text()
    assert all(figure.name in html for figure in study.figures)
    assert "missing" not in html.split("</style>")[-1].split("<footer")[0] or not results.missing
