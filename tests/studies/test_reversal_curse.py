"""The experiments of reversal-curse against what the theory and the prototypes say of them."""

import numpy as np
import pytest
import torch

from elegans.models.registry import settings_of
from elegans.studies.reversal_curse import STUDY
from elegans.studies.reversal_curse.arms import OneLayerConfig, ReversalConfig
from elegans.studies.reversal_curse.experiments import _model, one_layer, reversal
from elegans.study import UsageError


class Alone:
    """A run that nobody watches."""

    device = torch.device("cpu")

    def progress(self, step, total, **metrics):
        pass

    def checkpoint(self, name):
        class Nothing:
            load = staticmethod(lambda: None)
            save = staticmethod(lambda point: None)

        return Nothing()


@pytest.mark.parametrize(("task", "symmetric", "p_trained", "p_untrained"), [
    ("reversal", False, 0.998, 0.0117),
    ("reversal", True, 0.998, 0.994),
    ("chain", False, 0.996, 0.0001),
    ("chain", True, 0.989, 0.0003),
])  # fmt: skip
def test_one_layer_meets_the_prototype(task, symmetric, p_trained, p_untrained):
    """The closed set-up of Section 4 is deterministic, so the prototype's numbers must come back."""
    found = one_layer(OneLayerConfig(task=task, symmetric=symmetric, evaluations=1), [0], Alone()).isel(step=-1, seed=0)
    if task == "reversal":
        assert float(found.p.sel(split="train")) == pytest.approx(p_trained, abs=0.002)
        assert float(found.p.sel(split="reverse")) == pytest.approx(p_untrained, abs=0.001)
    else:
        assert float(found.p_cot.sel(triples="held")) == pytest.approx(p_trained, abs=0.003)
        assert float(found.p_direct.sel(triples="held")) == pytest.approx(p_untrained, abs=0.0002)


def test_the_logit_matrix_has_the_asked_pair_on_its_diagonal():
    config = ReversalConfig(n_symbols=12, n_pairs=12, n_both=8, width=32, heads=2, steps=250, lr=3e-3, evaluations=1)
    found = reversal(config, 0, Alone())
    held = found.logits.isel(query=slice(8, None), answer=slice(8, None))
    trained = held.sel(direction="trained").values
    assert (trained.argmax(axis=1) == np.arange(4)).all()
    assert float(found.diagonal_score.sel(direction="trained", block="held")) > 3
    assert float(found.diagonal_score.sel(direction="untrained", block="held")) < 1


def test_another_architecture_gets_what_it_knows_and_is_asked_for_what_an_arm_changes():
    assert "heads" not in settings_of("bilinear")
    model = _model(ReversalConfig(model="bilinear", width=32), vocab=10, seed=0)
    assert model.theta.shape == (32, 32)
    assert ReversalConfig(model="bilinear", positions="rotary").asks_of_model() == {"positions"}
    assert not ReversalConfig(model="bilinear").asks_of_model()


def test_contradictory_sizes_are_refused():
    with pytest.raises(UsageError, match="n_both must be below n_pairs"):
        ReversalConfig(n_both=50)
    with pytest.raises(UsageError, match="divisible"):
        ReversalConfig(heads=3)


def test_every_claim_names_the_section_that_the_spec_establishes():
    assert not [claim for claim in STUDY.claims if "Section 5" in claim.source]
