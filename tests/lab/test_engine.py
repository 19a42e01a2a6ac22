"""Planning, caching, needs, failures: in this process."""

import dataclasses

import numpy as np
import pytest
import toys
import xarray as xr

from elegans import studies
from elegans.lab.engine import collect, execute
from elegans.lab.executors import InlineExecutor
from elegans.lab.plan import Request, make_plan
from elegans.lab.store import Store
from elegans.stats import judge
from elegans.study import MissingResults, UsageError


class Silent:
    def __getattr__(self, name):
        return lambda *args: None


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Run a study inline; returns (results, failures, what was trained)."""
    log = tmp_path / "log"
    monkeypatch.setenv("TOY_LOG", str(log))
    store = Store(tmp_path / "runs")

    def run(study, **request):
        log.write_text("")
        plan = make_plan(study, Request(**{"seeds": 2, **request}))
        failures = execute(plan, store, lambda notify: InlineExecutor(store, notify, device="cpu"), Silent())
        return collect(plan, store), failures, log.read_text().splitlines()

    run.store = store
    return run


def test_a_finished_job_is_never_run_again_and_a_seed_adds_only_itself(lab):
    first, failures, trained = lab(toys.STUDY)
    assert not failures
    assert len(trained) == 6
    again, _, trained = lab(toys.STUDY)
    assert trained == []
    xr.testing.assert_identical(first["a"], again["a"])
    more, _, trained = lab(toys.STUDY, seeds=3)
    assert len(trained) == 3
    assert {line.split()[1] for line in trained} == {"2"}
    xr.testing.assert_identical(first["a"], more["a"].sel(seed=[0, 1]))


def test_changing_a_field_reruns_that_arm_and_what_needs_it(lab):
    lab(toys.STUDY)
    _, _, trained = lab(toys.STUDY, overrides=("a2.config.lr=0.1",))
    assert sorted(trained) == ["train-16-0.1-gpt 0", "train-16-0.1-gpt 1"]
    _, _, trained = lab(toys.STUDY, overrides=("a.config.lr=0.1",))
    assert sorted(trained) == ["double 0", "double 1", "train-8-0.1-gpt 0", "train-8-0.1-gpt 1"]


def test_artefacts_come_from_the_same_seed_or_from_a_fixed_one(lab):
    results, _, _ = lab(toys.STUDY)
    expected = 2 * results["a"].nll.isel(step=-1).sel(split="train")
    np.testing.assert_allclose(results["b"].loss, expected, rtol=1e-12)
    shared, _, trained = lab(toys.SHARED)
    assert sum(line.endswith(" 7") for line in trained) == 1
    assert float(shared["b"].loss[0]) == float(shared["b"].loss[1])


def test_an_arm_with_a_seed_of_its_own_runs_once_for_all(lab):
    results, _, trained = lab(toys.PREPARED, seeds=3)
    assert len([line for line in trained if line.startswith("train") and line.endswith(" 100")]) == 1
    assert len(trained) == 4
    assert results["a"].seed.values.tolist() == [100]
    assert results["b"].loss.sizes["seed"] == 3 and len(set(results["b"].loss.values.tolist())) == 1


def test_arms_that_ask_what_a_model_has_not_are_left_out_with_the_reason(lab):
    study = studies.load("reversal-curse")
    plan = make_plan(study, Request(scale="smoke", seeds=1, model="mamba"))
    assert set(plan.left_out) == {"gpt-rotary", "gpt-no-positions"}
    assert plan.left_out["gpt-rotary"] == "does not apply: mamba has no setting positions"
    assert not plan.left_out.keys() & plan.arms.keys()
    missing = collect(plan, lab.store).missing
    assert missing["gpt-rotary"] == "arm 'gpt-rotary' does not apply: mamba has no setting positions"
    assert not make_plan(study, Request(scale="smoke", seeds=1)).left_out


def test_seeds_of_a_batched_arm_go_into_one_job(lab):
    results, _, trained = lab(toys.TOGETHER, seeds=3)
    assert [line for line in trained if line.startswith("together")] == ["together 0,1", "together 2"]
    assert results["b"].x.values.tolist() == [0, 1, 2]


def test_a_failure_is_recorded_with_its_reason_and_the_others_go_on(lab):
    results, failures, _ = lab(toys.FAILING)
    assert {(f.arm, f.seeds) for f in failures} == {("b", (0,)), ("b", (1,)), ("c", (0,)), ("c", (1,))}
    assert "RuntimeError: no luck with seed 0" in failures[0].error
    assert "Traceback" in failures[0].error
    assert results["a"].sizes["seed"] == 2
    with pytest.raises(MissingResults, match="no luck"):
        results["b"]
    verdict = {v.claim: v for v in judge(toys.FAILING, results)}["b-exists"]
    assert verdict.verdict == "not testable"
    assert "no luck" in verdict.reason


def test_results_of_changed_code_are_not_used_and_that_is_said(lab, monkeypatch):
    lab(toys.STUDY)
    monkeypatch.setattr("elegans.lab.plan.revision", lambda experiment, names: "another revision")
    missing = collect(make_plan(toys.STUDY, Request(seeds=2)), lab.store).missing
    assert missing["a"] == "arm 'a' seed 0 was run, but its code has changed since: run it again"
    _, _, trained = lab(toys.STUDY)
    assert len(trained) == 6


def test_arms_in_a_circle_are_refused():
    with pytest.raises(UsageError, match="circle"):
        make_plan(toys.CIRCULAR, Request())


def test_equal_arms_share_their_record():
    twins = toys.study(a=toys.A, b=toys.A)
    plan = make_plan(twins, Request(seeds=1))
    assert plan.records["a", 0].key == plan.records["b", 0].key
    assert len(plan.jobs({plan.records["a", 0].key})) == 1


def test_the_key_depends_on_config_seed_and_needs_only():
    keys = {r.key for r in make_plan(toys.STUDY, Request(seeds=2)).records.values()}
    assert len(keys) == 6
    renamed = dataclasses.replace(toys.STUDY, name="other", claims=toys.STUDY.claims[:1])
    assert {r.key for r in make_plan(renamed, Request(seeds=2)).records.values()} == keys


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a.config.widht=3", "no field 'widht'; did you mean 'width'"),
        ("aa.config.width=3", "no arm 'aa'"),
        ("a.config.width=three", "width must be int, got 'three'"),
        ("a.config.width=-3", "width must be at least 2, got -3"),
        ("a.config.lr=nan", "lr must be float"),
        ("a.config.ema=maybe", "ema must be bool"),
        ("a.config.sizes=1,0", "sizes must be at least 1, got 0"),
        ("a.width=3", "write ARM.config.FIELD=VALUE"),
        ("a.config.width", "write ARM.config.FIELD=VALUE"),
    ],
)
def test_wrong_overrides_say_what_is_wrong(override, message):
    with pytest.raises(UsageError) as error:
        make_plan(toys.STUDY, Request(overrides=(override,)))
    assert message in str(error.value)


def test_a_pattern_changes_every_arm_that_has_the_field():
    plan = make_plan(toys.STUDY, Request(overrides=("a*.config.sizes=4, 5",)))
    assert [plan.arms[name].config.sizes for name in ("a", "a2", "b")] == [(4, 5), (4, 5), (1, 2)]


def test_other_weights_in_a_directory_are_another_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "lm" / "model.safetensors"
    weights.parent.mkdir()
    keys = []
    for content in ("few", "more"):
        weights.write_text(content)
        plan = make_plan(toys.READING, Request(lm="lm"))
        assert plan.arms["a"].config.lm == str(tmp_path / "lm")
        keys.append(plan.records["a", 0].key)
    assert len({*keys, make_plan(toys.READING, Request()).records["a", 0].key}) == 3
    with pytest.raises(UsageError, match="nowhere is not a directory with a language model"):
        make_plan(toys.READING, Request(lm="nowhere"))
    with pytest.raises(UsageError, match="no arm of toy has a language model"):
        make_plan(toys.STUDY, Request(lm="lm"))


def test_model_replaces_the_model_of_every_arm():
    plan = make_plan(toys.STUDY, Request(model="bilinear"))
    assert {arm.config.model for arm in plan.arms.values()} == {"bilinear"}
    with pytest.raises(UsageError, match="no model 'gtp'; did you mean 'gpt'"):
        make_plan(toys.STUDY, Request(model="gtp"))
