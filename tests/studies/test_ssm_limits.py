import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from elegans.lab.plan import Request, make_plan
from elegans.studies.ssm_limits import STUDY, claims, experiments
from elegans.studies.ssm_limits.arms import (
    CapacityConfig,
    CopyConfig,
    LocalConfig,
    SlotsConfig,
    StateSpaceChain,
    StateSpaceCopy,
    TransformerChain,
)
from elegans.study import UsageError
from elegans.tasks.cot_dp.lis import LongestIncreasingSubsequence


class Alone:
    """A run that nobody watches, with the artefact of a sweep that chose a rate of 0.01."""

    device = torch.device("cpu")

    def __init__(self, folder):
        self.artifact_dir = folder
        (folder / "rate.json").write_text(json.dumps({"rate": 0.01}))

    def artifact(self, name):
        return self.artifact_dir

    def progress(self, step, total, **metrics):
        pass

    def checkpoint(self, name):
        class Nothing:
            load = staticmethod(lambda: None)
            save = staticmethod(lambda point: None)

        return Nothing()


TINY = {"width": 8, "steps": 5, "batch_size": 4, "n_eval": 8, "evaluate_every": 2}


def test_arms_have_the_same_names_at_every_scale():
    assert len({tuple(STUDY.at(scale)) for scale in ("smoke", "laptop", "paper")}) == 1


def test_laptop_families_have_as_many_parameters():
    for one, other in (("copy-alibi", "copy-ssm"), ("lis-long-cot", "lis-long-cot-ssm")):
        sizes = []
        for arm in (one, other):
            model = experiments._model(STUDY.at("laptop")[arm].config, vocab=24, tokens=40, seed=0)
            sizes.append(sum(p.numel() for p in model.parameters()))
        assert abs(np.log(sizes[0] / sizes[1])) < np.log(1.1)


def test_another_model_takes_the_place_of_the_state_space_model_only():
    plan = make_plan(STUDY, Request(scale="smoke", seeds=1, model="rwkv4"))
    models = {name: getattr(arm.config, "model", None) for name, arm in plan.arms.items()}
    assert models["copy-ssm"] == models["lis-long-cot-ssm"] == models["rates-copy-ssm"] == models["cost"] == "rwkv4"
    assert models["copy-alibi"] is None
    assert set(plan.left_out) == {"copy-ssm-small-state", "copy-ssm-short-small-state"} | {
        name for name in STUDY.at("smoke") if name.startswith("local-")
    }


def test_the_sweep_leaves_its_best_rate_and_does_not_train_a_single_one(tmp_path):
    run = Alone(tmp_path)
    found = experiments._sweep(CopyConfig(rates=(0.1, 0.2, 0.3)), run, lambda rate: -abs(rate - 0.2))
    assert found.best == 0.2 and experiments._chosen_rate(run) == 0.2
    assert list(found.score.round(3)) == [-0.1, 0, -0.1]
    experiments._sweep(CopyConfig(rates=(0.7,)), run, lambda rate: pytest.fail("trained"))
    assert experiments._chosen_rate(run) == 0.7


def test_after_an_early_stop_the_last_measurement_stands_for_the_rest(tmp_path):
    config = StateSpaceCopy(min_length=2, max_length=3, lengths=(2, 3), stop=1e-9, **TINY)
    found = experiments.copy(config, 0, Alone(tmp_path))
    assert list(found.step) == [0, 2, 4, 5]
    assert found.updates < 5
    stopped = found.char_accuracy.sel(split="test").where(found.step >= found.updates, drop=True)
    assert len(set(stopped.values)) == 1
    assert list(found.length) == [2, 3]


@pytest.mark.parametrize(("values", "step"), [
    ([0.0, 0.5, 0.9, 1.0], 25),
    ([0.0, 0.2, 0.3, 0.4], 30),
    ([0.96, 0.2, 0.3, 0.4], 0),
])  # fmt: skip
def test_the_first_crossing_lies_on_the_line_between_two_points(values, step):
    curve = xr.DataArray(values, dims="step", coords={"step": [0, 10, 20, 30]})
    assert experiments.first_crossing(curve, 0.95) == pytest.approx(step)


class Scripted(nn.Module):
    """Begins the chain with a wrong number, goes on with right ones, and answers with the largest that it has written."""

    def __init__(self, task):
        super().__init__()
        self.task, self.scale = task, nn.Parameter(torch.ones(()))

    def forward(self, tokens):
        prompt, n = self.task.prompt_length, self.task.n
        said = torch.from_numpy(self.task.outputs(self.task.solve(tokens[:, :prompt].numpy())))
        said[:, 0] += 5
        if tokens.shape[1] >= prompt + n:
            said[:, n + 1] = tokens[:, prompt : prompt + n].max(1).values
        logits = torch.zeros(*tokens.shape, self.task.vocab_size)
        for t in range(prompt - 1, tokens.shape[1]):
            logits[torch.arange(len(tokens)), t, said[:, t - prompt + 1]] = 1.0
        return logits * self.scale


def test_a_given_chain_hides_mistakes_in_the_own_one():
    task = LongestIncreasingSubsequence(n=4, n_eval=32)
    model = Scripted(task)
    given = experiments.given_scores(model, task)
    assert given.answer_given == 1 and 0.8 < given.token_given < 1
    own = experiments._chain_measure(model, task)
    assert own.answer == own.chain == own.exact.item() == 0


def test_a_direct_answer_has_no_chain(tmp_path):
    config = StateSpaceChain(n=4, view="direct", **TINY)
    found = experiments.chain(config, 0, Alone(tmp_path))
    assert found.chain.isnull().all() and found.answer.notnull().all()
    assert (found.answer <= found.answer_given).all(), "only the end can be missing"


def test_a_chain_counts_as_the_model_writes_it(tmp_path):
    found = experiments.chain(TransformerChain(n=4, **(TINY | {"heads": 2})), 0, Alone(tmp_path))
    assert set(found.data_vars) >= {"answer", "chain", "progress", "answer_given", "token_given", "updates", "majority"}
    assert (found.chain <= found.answer).all(), "an exact chain ends in the answer"


def test_the_smallest_state_that_solves_and_twice_the_largest_where_none_does():
    accuracy = xr.DataArray([[0.5, 0.98, 0.9], [0.5, 0.6, 0.96]], dims=("seed", "state"), coords={"state": [1, 2, 4]})
    assert list(claims.smallest_state(xr.Dataset({"accuracy": accuracy}))) == [2, 8]


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (CopyConfig, {"min_length": 20}, "min_length must be at most max_length, got 20 and 12"),
        (CapacityConfig, {"lengths": (64,)}, "at least two increasing numbers"),
        (SlotsConfig, {"lags": (64,)}, "lags must be below lengths"),
        (LocalConfig, {"lag": 32}, "lag must be below length"),
    ],
)
def test_bad_settings_are_refused(config, settings, message):
    with pytest.raises(UsageError, match=message):
        config(**settings)
