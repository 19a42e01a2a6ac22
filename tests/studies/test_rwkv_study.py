"""The measures of the study rwkv on numbers whose answer is known."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from elegans.lab.plan import Request, make_plan
from elegans.studies.rwkv import STUDY
from elegans.studies.rwkv.arms import ARMS, AttentionConfig, FormsConfig, NetworkConfig, RecurrentConfig
from elegans.studies.rwkv.claims import BY_WIDTH, lengthening, slope, speed, steps_to, unexplained
from elegans.studies.rwkv.experiments import (
    by_position,
    forms,
    make_model,
    sweep,
    topic_scores,
    train,
    training_compute,
)
from elegans.study import Results, UsageError
from elegans.tasks.topics import CONTENT, NAME, REPEATED

SMALL = {"width": 16, "length": 16, "batch_size": 4, "n_eval": 4, "steps": 2, "evaluations": 1}


class Alone:
    """A run that nobody watches, whose artefacts all lie in one folder."""

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


def curve(values, steps):
    return xr.DataArray([values], dims=("seed", "step"), coords={"step": steps})


def test_topic_scores_tell_kinds_apart_in_the_second_half():
    found = xr.Dataset(
        {
            "nll": (("item", "position"), [[9.0, 3.0, 2.0, 5.0], [9.0, 3.0, 4.0, 1.0]]),
            "floor": (("item", "position"), [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]]),
            "kind": (("item", "position"), [[CONTENT, CONTENT, CONTENT, REPEATED], [CONTENT, NAME, CONTENT, NAME]]),
        },
        coords={"position": np.arange(4)},
    )
    scores = topic_scores(found)
    assert scores.loss == 36 / 8
    assert scores.excess == 29 / 8
    assert scores.content == (1 + 3) / 2
    assert scores.repeated == 5
    windows = by_position(found, window=2)
    np.testing.assert_allclose(windows.position, [1, 3])
    np.testing.assert_allclose(windows.content_at, [(8 + 2 + 8) / 3, 2])
    np.testing.assert_allclose(windows.repeated_at, [np.nan, 5])


def test_a_power_law_is_recognized_and_permuting_its_widths_destroys_it():
    compute = np.array([1e9, 1e10, 1e11, 1e12])
    noise = np.exp(0.01 * np.array([1, -1, 1, -1]))
    results = Results(
        {
            arm: xr.Dataset({"compute": ("seed", [c]), "content": (("seed", "step"), [[9.0, c**-0.2 * n]])})
            for arm, c, n in zip(BY_WIDTH, compute, noise, strict=True)
        }
    )
    assert unexplained(results) < -3
    assert unexplained(results, order=(2, 0, 3, 1)) > -0.1


def test_slope_is_the_exponent():
    data = xr.DataArray(3 * np.array([2.0, 4, 8]) ** 1.7, dims="length", coords={"length": [2, 4, 8]})
    assert float(slope(data, "length")) == pytest.approx(1.7)


def test_steps_are_interpolated_and_all_of_them_where_the_loss_never_fell():
    assert steps_to(curve([5.0, 4.5, 4.0], [0, 10, 20]), 4.75) == 5
    assert steps_to(curve([5.0, 4.9, 4.8], [0, 10, 20]), 4.0) == 20
    losses = {"quick": [5.0, 3.0, 3.0], "slow": [5.0, 4.0, 3.0], "never": [5.0, 5.0, 5.0]}
    results = Results({name: xr.Dataset({"loss": curve(loss, [0, 10, 20])}) for name, loss in losses.items()})
    assert speed(results, "quick", "slow", "never") == 0.5


def test_lengthening_compares_beyond_twice_the_length_with_the_second_half():
    windows = [[9.0, 9.0, 1.0, 1.0, 7.0, 7.0, 7.0, 7.0, *[1.5] * 8]]
    results = Results({"a": xr.Dataset({"content_at": (("seed", "position"), windows)})})
    assert lengthening(results, "a") == 0.5


def test_both_resets_of_the_state_change_the_logits():
    found = forms(FormsConfig(vocab=11, width=8, depth=2, length=12), 0, Alone())
    assert found.difference.sel(state="kept") < 1e-11
    assert (found.difference.sel(state=["token shift reset", "sums reset"]) > 1e-3).all()


def test_the_networks_are_of_about_one_size():
    laptop = ARMS["laptop"]
    sizes = []
    for arm in ("rwkv4", "transformer", "shift-attention"):
        config = laptop[arm].config
        assert isinstance(config, NetworkConfig)
        sizes.append(sum(p.numel() for p in make_model(config, 62, 0).parameters()))
    assert max(sizes) < 1.15 * min(sizes)


def test_compute_is_three_times_that_of_the_forward_pass_of_table_2():
    config = RecurrentConfig(width=768, depth=12, steps=1, batch_size=1, length=2)
    assert training_compute(config, 50277) / 2 == pytest.approx(3 * 2.613e8, rel=1e-3)


def test_matrices_of_attention_start_as_asked():
    model = make_model(AttentionConfig(matrix_std=0.07, embedding_std=0.3), 62, 0)
    assert float(model.blocks[0].mlp.up.weight.detach().std()) == pytest.approx(0.07, rel=0.05)
    assert float(model.token_table.weight.detach().std()) == pytest.approx(0.3, rel=0.05)


def test_a_sweep_leaves_the_best_rate_to_the_arms_that_need_it(tmp_path):
    config = RecurrentConfig(rates=(1e-5, 1e-2), **SMALL | {"steps": 20})
    found = sweep(config, 100, Alone(tmp_path))
    assert float(found.lr) == float(found.loss.idxmin()) == 1e-2
    assert json.loads((tmp_path / "rates.json").read_text()) == {"lr": 1e-2}
    assert float(train(config, 0, Alone(tmp_path)).lr) == 1e-2
    assert float(train(config.replace(lr=3e-3), 0, Alone(tmp_path)).lr) == 3e-3


def test_another_architecture_takes_the_place_of_rwkv_and_not_of_its_baselines():
    plan = make_plan(STUDY, Request(scale="smoke", model="mamba"))
    assert "rwkv4-uniform-decay" in plan.left_out
    assert plan.arms["rwkv4"].config.model == "mamba"
    assert not hasattr(plan.arms["transformer"].config, "model")
    found = train(RecurrentConfig(model="mamba", lr=1e-3, **SMALL), 0, Alone())
    assert "decay" not in found and "content_at" in found


def test_settings_that_contradict_one_another_are_refused():
    with pytest.raises(UsageError, match="pairs must be at most n_keys"):
        NetworkConfig(world="recall", n_keys=4, pairs=(8,))
    with pytest.raises(UsageError, match="divisible by 2 heads"):
        AttentionConfig(width=18)
