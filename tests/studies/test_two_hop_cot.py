"""The measurements of two-hop-cot on a reader whose circuit is known: it looks facts up."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional as F

from elegans.models.base import SequenceModel, Sites
from elegans.studies.two_hop_cot.arms import ARMS, FactsConfig
from elegans.studies.two_hop_cot.claims import (
    crossing,
    direct,
    exchange,
    fall_from_peak,
    half_way,
    share_above_atomic,
    smallest_fall,
    steps_to,
    two_stages,
)
from elegans.studies.two_hop_cot.experiments import _model, _task, circuit, hops, lens, three_hops
from elegans.study import Results, UsageError
from elegans.tasks.base import IGNORE
from elegans.tasks.two_hop import TwoHopFacts

SIZES = dict(n_entities=20, n_relations=6, out_degree=6, ood_share=0.3, lam=1.0)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.at = Sites("in", "out")


class Reader(SequenceModel):
    """Says at every scored position what the facts say of the tokens in its residual stream."""

    def __init__(self, task):
        super().__init__()
        self.task, self.vocab_size = task, task.vocab_size
        self.blocks = torch.nn.ModuleList([Block()])
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, tokens):
        x = F.one_hot(tokens, self.vocab_size).double()
        return self.resume(self.blocks[0].at["in"](x), 0)

    def resume(self, x, level):
        if level == 1:
            return x
        tokens, task = self.blocks[0].at["out"](x).argmax(-1), self.task
        missing = max(len(task.positions) - tokens.shape[1], 0)
        item = F.pad(tokens, (0, missing))[:, : len(task.positions)]
        item[:, 2].clamp_(task.n_entities, task.pad_token - 1)
        item[:, 3:].clamp_(max=task.n_entities - 1)
        said = F.pad(task.answers(item), (0, max(tokens.shape[1] - item.shape[1], 0)), value=IGNORE)
        said[:, 1] = task.table[tokens[:, 0], tokens[:, 1] - task.n_entities]
        said = said.where(said != IGNORE, task.pad_token)[:, : tokens.shape[1]]
        return 10 * F.one_hot(said, self.vocab_size).double()


def results(task):
    found = circuit(Reader(task), task, 200, seed=0).expand_dims(state=["trained", "untrained"])
    lenses = xr.Dataset({"lens": ("layer", [0.0, 0.0])}, coords={"layer": [0, 1]})
    return xr.merge([found, lenses], join="outer")


@pytest.fixture(scope="module")
def both():
    return Results({"cot": results(TwoHopFacts(**SIZES)), "no-cot": results(TwoHopFacts(**SIZES, cot=False))})


def test_a_reader_of_facts_has_the_two_stages(both):
    assert float(direct(both, "cot")) == 1
    assert float(crossing(both, "cot")) == 0
    assert float(two_stages(both, "cot")) == 1
    assert float(direct(both, "cot", donor="another's")) < 0.3


def test_without_a_chain_every_token_moves_the_tail(both):
    flips = exchange(both, "no-cot").sel(output="t")
    assert (flips == 1).all()
    assert float(crossing(both, "no-cot")) == 1
    assert list(flips.position.values) == ["h", "r1", "r2"]


def test_effects_are_looked_for_behind_half_of_the_blocks(both):
    assert float(half_way(both, "cot")) == 1, "one block: half way is the input, where h moves the bridge"


def test_a_reader_of_facts_knows_them_all():
    task = TwoHopFacts(**SIZES)
    found = hops(Reader(task), task)
    assert (found.accuracy == 1).all() and (found.tail_accuracy == 1).all() and (found.tail_alone == 1).all()
    assert found.bridge_accuracy.isnull().sum() == 2, "atomic facts have no bridge"
    assert (found.nll_tail < 0.01).all()
    walked = three_hops(Reader(task), task).three_hops
    assert (walked.sel(by="caller") == 1).all() and (walked.sel(by="itself") == 0).all()
    direct_task = TwoHopFacts(**SIZES, cot=False)
    found = hops(Reader(direct_task), direct_task)
    assert (found.accuracy == 1).all() and found.bridge_accuracy.isnull().all()
    assert three_hops(Reader(direct_task), direct_task).three_hops.sel(by="caller").isnull().all()


def test_parts_of_an_answer_are_judged_apart():
    task = TwoHopFacts(**SIZES)

    class WrongBridge(Reader):
        def resume(self, x, level):
            logits = super().resume(x, level)
            logits[:, 2, : task.n_entities] = logits[:, 2, : task.n_entities].roll(1, -1)
            return logits

    found = hops(WrongBridge(task), task).sel(split="test_ood")
    assert float(found.bridge_accuracy) == 0 == float(found.accuracy) and float(found.tail_accuracy) == 1
    assert 0 < float(found.tail_alone) < 0.4, "a wrong bridge leads to the right tail by chance"
    assert float(found.nll_bridge) > 9


def test_the_lens_finds_the_bridge_where_it_is_said():
    task = TwoHopFacts(**SIZES)
    found = lens(Reader(task), task, task.dataset("test_ood"), seed=0).sel(token="bridge")
    assert found.sizes == {"layer": 2, "position": 4}
    assert float(found.sel(position="b", layer=0)) == 1, "the token itself"
    assert float(found.sel(position="r2", layer=0)) < 0.5


def history(**splits):
    steps = np.arange(len(next(iter(splits.values())))) * 100
    data = xr.DataArray(
        np.array(list(splits.values()), dtype=float)[None],
        dims=("weights", "split", "step"),
        coords={"weights": ["ema"], "split": list(splits), "step": steps},
    )
    return xr.Dataset({"accuracy": data})


def test_metrics_of_learning_curves():
    r = Results(
        {
            "cot": history(test_id=[1, 0.5, 0.96, 0.9], test_ood=[1, 0.1, 0.2, 0.8], ood_atomic=[0, 0.2, 0.2, 0.9]),
            "no-cot": history(test_id=[0, 0.1, 0.1, 0.1]),
        }
    )
    assert float(steps_to(r, "cot")) == 200, "the untrained model does not count"
    assert float(steps_to(r, "no-cot")) == 300, "never: all updates"
    assert float(fall_from_peak(r, "cot")) == pytest.approx(0.06)
    assert float(share_above_atomic(r, "test_ood")) == 0
    assert float(share_above_atomic(r, "test_id")) == pytest.approx(2 / 3)


def test_the_smallest_fall_over_noise():
    ends = {"cot": 0.9, "tail-noise-10": 0.5, "tail-noise-20": 0.45, "tail-noise-40": 0.2}
    r = Results(
        {arm: xr.Dataset({"bridge": ("split", [value])}, coords={"split": ["test_id"]}) for arm, value in ends.items()}
    )
    assert float(smallest_fall(r, "bridge", "test_id")) == pytest.approx(0.05)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_lambda_changes_at_equal_exposure(scale):
    configs = [ARMS[scale][arm].config for arm in ("lambda-low", "cot", "lambda-high")]
    exposures = [c.steps * c.batch_size / c.trained_items() for c in configs]
    assert exposures == pytest.approx([exposures[1]] * 3, rel=1 / configs[0].steps)
    assert len({c.lam for c in configs}) == 3
    if scale != "paper":
        task = _task(configs[0], seed=0)
        assert len(task.dataset("train")) == math.ceil(configs[0].trained_items())


def test_another_architecture_gets_what_it_knows():
    config = ARMS["smoke"]["mamba"].config
    assert type(_model(config, _task(config, 0), seed=0)).__name__ == "Mamba"
    with pytest.raises(UsageError, match="divisible"):
        FactsConfig(heads=3)
    with pytest.raises(UsageError, match="out_degree must be at most n_relations, 30, got 31"):
        FactsConfig(out_degree=31)
