"""The experiments of stablemask against what the algebra and the task say of them."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from elegans.models.gpt import GPT
from elegans.studies.stablemask import STUDY
from elegans.studies.stablemask.arms import (
    BackcopyConfig,
    CostConfig,
    FormsConfig,
    PositionConfig,
    PrefixConfig,
    RatesConfig,
    TextConfig,
)
from elegans.studies.stablemask.experiments import (
    _by_place,
    _model,
    _trigger_measures,
    exactness,
    position,
    prefix,
    row_masses,
    sweep,
    text,
)
from elegans.study import UsageError
from elegans.tasks.markov import BigramBackcopy


class Alone:
    """A run that nobody watches, whose artefacts are its own."""

    device = torch.device("cpu")

    def __init__(self, folder=None):
        self.artifact_dir = folder

    def artifact(self, name):
        return self.artifact_dir

    def progress(self, step, total, **metrics):
        pass

    def checkpoint(self, name):
        class Nothing:
            load = staticmethod(lambda: None)
            save = staticmethod(lambda point: None)

        return Nothing()


@pytest.mark.parametrize("length", [2, 7, 33])
def test_the_fused_form_is_exact_and_a_constant_normalizer_is_not(length):
    found = exactness(FormsConfig(length=length), 0, Alone())
    assert float(found.error.sel(form="fused").max()) < 1e-13 and float(found.mass_error) < 1e-12
    scaled = found.error.sel(form="scaled")
    assert float(scaled.sel(quantity="output")) < 1e-13, "the output of the control is right"
    assert float(scaled.sel(quantity="grad q")) > 0.1, "its gradient is not"


def test_row_masses_are_those_of_counting():
    config = FormsConfig(length=6, heads=2)
    keep = row_masses(config, 0, Alone()).keep.isel(head=1)
    i, gamma = np.arange(1, 7), 2.0**-8
    finite = [sum(np.exp(-(j - 1) * gamma) for j in range(k + 1, 7)) for k in i]
    endless = np.exp(-i * gamma) / (1 - np.exp(-gamma))
    assert keep.sel(mask="causal").values == pytest.approx(1)
    assert keep.sel(mask="finite").values == pytest.approx(i / (i + finite))
    assert keep.sel(mask="endless").values == pytest.approx(i / (i + endless))


def test_only_the_finite_form_looks_ahead():
    found = prefix(PrefixConfig(width=16, length=16), 0, Alone())
    assert float(found.alone.sel(mask="stablemask-finite")) > 1e-4
    others = found.drop_sel(mask="stablemask-finite")
    assert float(others.alone.max()) < 1e-6 and float(others.cached.max()) < 1e-6


def test_positions_of_a_constant_input_need_more_than_relative_ones():
    config = PositionConfig(n_positions=4, width=16, heads=2, steps=150, lr=1e-2, warmup=5)
    causal, masked = (position(config.replace(sink=sink), 0, Alone()) for sink in ("none", "stablemask"))
    assert causal.accuracy.sel(task="position") == causal.chance.sel(task="position") == 0.25
    assert float(causal.nll.sel(task="position")) == pytest.approx(np.log(4), abs=1e-3)
    assert float(masked.accuracy.sel(task="position")) == 1


def test_triggers_are_told_from_other_queries():
    task = BigramBackcopy(length=24, n_eval=16)
    kinds = task.target_kinds(task.dataset("test"))
    values = xr.DataArray(np.where(kinds.numpy() == 1, 3.0, 1.0), dims=("item", "position"))
    assert _by_place(values, kinds).values == pytest.approx([1, 3])
    model = GPT(vocab=task.vocab_size, width=16, depth=1, heads=1, context=24, positions="rotary")
    found = _trigger_measures(model, task)
    assert found.keep.values == pytest.approx(1)
    assert found.first.sel(rows="raw").values == pytest.approx(1, abs=0.05), "an untrained head reads all alike"
    assert found.first.sel(rows="raw").values == pytest.approx(found.first.sel(rows="normalized").values)
    nll = task.evaluate(model, "test").nll.values[:, 8:]
    on = kinds[:, 8:].numpy() == 1
    assert found.nll.sel(place="on-trigger") == pytest.approx(nll[on].mean())


def test_the_sweep_leaves_the_rate_that_the_reported_arm_reads(tmp_path):
    small = {"width": 16, "heads": 2, "steps": 40, "batch_size": 8, "warmup": 2, "contexts": (16, 64), "n_maps": 2}
    scores = sweep(RatesConfig(rates=(1e-5, 1e-2), sink="stablemask", **small), 100, Alone(tmp_path))
    assert scores.nll.values[1] < scores.nll.values[0]
    assert json.loads((tmp_path / "rates.json").read_text()) == {"lr": 1e-2}
    found = text(TextConfig(sink="stablemask", **small), 0, Alone(tmp_path))
    assert float(found.lr) == 1e-2 and found.context.values.tolist() == [16, 64]
    assert found.first.sizes == {"rows": 2, "layer": 2, "head": 2, "position": 16}
    assert float(found.nll_without_sink) != float(found.nll.sel(context=16))


def test_another_architecture_gets_what_it_knows_and_is_asked_for_no_mask():
    assert PositionConfig(model="mamba").asks_of_model() == frozenset()
    assert PositionConfig(positions="alibi", sink="learned").asks_of_model() == {"positions", "sink"}
    task = BigramBackcopy(length=16, n_eval=4)
    model = _model(BackcopyConfig(model="rwkv4", width=16), vocab=task.vocab_size, context=16, seed=0)
    assert set(_trigger_measures(model, task)) == {"nll"}, "it has no rows of weights to look at"


def test_contradictory_sizes_are_refused():
    with pytest.raises(UsageError, match="divide the longest"):
        TextConfig(contexts=(64, 200))
    with pytest.raises(UsageError, match="up to num_tokens"):
        CostConfig(lengths=(2048,))
    with pytest.raises(UsageError, match="divisible"):
        PositionConfig(heads=3)


def test_no_claim_names_a_section_or_a_number_of_the_paper():
    assert not [claim for claim in STUDY.claims if "Section" in claim.source or "Table" in claim.source]
