"""All instruments on a hand-set induction head, against values derived by hand."""

import numpy as np
import pytest
import torch
from circuits import VOCAB, induction
from torch.testing import assert_close

from elegans.probes import (
    attention_knockout,
    direct_logit_attribution,
    edge_flow,
    interchange,
    interchange_heads,
    interchange_residual,
    knockout_effect,
    linear_probe,
    logit_difference,
    logit_lens,
    logit_of,
    path_patching,
    record,
    recovered,
    saliency_flow,
    says,
)

# ... a b ... a: "a" is at position 1 or 3 and "b" after it. (Position 0 has no position before, and reads itself.)
FOUND = torch.tensor([2, 4, 2])
BASE = torch.tensor([[2, 3, 5, 1, 0, 3], [3, 4, 7, 6, 2, 6], [5, 7, 1, 0, 2, 7]])
ANSWER = BASE[torch.arange(3), FOUND]
# "b" is another token.
WRONG = torch.tensor([6, 0, 3])
CHANGED = BASE.clone()
CHANGED[torch.arange(3), FOUND] = WRONG
# "a" is somewhere else, and so what follows it.
SWAPPED = torch.tensor([[2, 1, 5, 3, 0, 3], [3, 6, 7, 4, 2, 6], [5, 0, 1, 7, 2, 7]])
SWAPPED_ANSWER = torch.tensor([0, 7, 2])
LAST = 5


@pytest.fixture
def model():
    return induction()


def test_it_says_what_followed(model):
    expected = torch.nn.functional.one_hot(ANSWER, VOCAB).double()
    assert_close(model(BASE)[:, -1], expected)
    assert (model(SWAPPED)[:, -1].argmax(-1) == SWAPPED_ANSWER).all()


def test_maps(model):
    with record(model, "*.weights") as seen:
        model(BASE)
    before = seen["blocks.0.mixer.weights"][:, 0]
    assert_close(before[:, 1:].diagonal(dim1=1, dim2=2), torch.ones(3, 5).double())
    assert_close(seen["blocks.1.mixer.weights"][torch.arange(3), 1, -1, FOUND], torch.ones(3).double())


def test_the_lens_sees_the_answer_after_the_second_layer_only(model):
    found = logit_lens(model, BASE, {"answer": ANSWER, "wrong": WRONG}, positions=[-1])
    assert found["rank"].dims == ("token", "layer", "position", "item")
    assert found.site.values.tolist() == ["blocks.0.in", "blocks.1.in", "blocks.1.out"]
    undecided = (VOCAB - 1) / 2
    ranks = found["rank"].isel(position=0)
    np.testing.assert_allclose(ranks.sel(token="answer"), np.repeat([[undecided], [undecided], [0]], 3, axis=1))
    np.testing.assert_allclose(ranks.sel(token="wrong", layer=2), 1 + (VOCAB - 2) / 2)
    np.testing.assert_allclose(found.reciprocal_rank.sel(token="answer", layer=2), 1)
    share = np.e / (np.e + VOCAB - 1)
    np.testing.assert_allclose(found.probability.sel(token="answer", layer=2), share)


def test_exchanging_the_answer_s_position_changes_the_answer_in_both_layers(model):
    places = {"found": FOUND, "before": FOUND - 1, "last": LAST}
    metric = logit_difference(ANSWER, WRONG)
    effect = recovered(interchange_residual(model, BASE, CHANGED, metric, positions=places))
    assert effect.dims == ("layer", "position")
    np.testing.assert_allclose(effect.sel(position="found"), [1, 1], atol=1e-9)
    np.testing.assert_allclose(effect.sel(position=["before", "last"]), 0, atol=1e-9)
    said = interchange(model, BASE, CHANGED, says(WRONG), sites=["blocks.0.out", "final"], positions=places)
    np.testing.assert_allclose(said.sel(site="blocks.0.out").mean("item"), [1, 0, 0])
    np.testing.assert_allclose(said.sel(site="final").mean("item"), [0, 0, 1])
    assert said.layer.values.tolist() == [1, 2]


def test_only_the_induction_head_carries_another_answer(model):
    effect = recovered(interchange_heads(model, BASE, CHANGED, logit_difference(ANSWER, WRONG)))
    assert effect.dims == ("layer", "head")
    np.testing.assert_allclose(effect, [[0, 0], [0, 1]], atol=1e-9)
    at_last = interchange_heads(model, BASE, CHANGED, logit_difference(ANSWER, WRONG), positions=[0, LAST])
    np.testing.assert_allclose(recovered(at_last).sel(position=LAST), [[0, 0], [0, 1]], atol=1e-9)
    np.testing.assert_allclose(recovered(at_last).sel(position=0), 0, atol=1e-9)


def test_another_place_is_carried_by_both_heads_and_both_maps(model):
    metric = logit_difference(ANSWER, SWAPPED_ANSWER)
    heads = recovered(interchange_heads(model, BASE, SWAPPED, metric))
    np.testing.assert_allclose(heads, [[1, 0], [0, 1]], atol=1e-9)
    maps = interchange(model, BASE, SWAPPED, metric, sites="*.weights", positions=[4, LAST], heads=True)
    expected = np.zeros((2, 2, 2))
    expected[1, 1, 1] = 1
    np.testing.assert_allclose(recovered(maps), expected, atol=1e-9)


def test_the_path_leads_from_head_to_head(model):
    effect = path_patching(
        model,
        BASE,
        SWAPPED,
        logit_difference(ANSWER, SWAPPED_ANSWER),
        senders=["blocks.0.mixer.heads[*]", "embed", "blocks.1.mixer.heads[1]"],
        receivers=["blocks.1.mixer.heads[1]", "blocks.1.mixer.heads[0]", "final"],
    )
    assert effect.sender.values.tolist()[:2] == ["blocks.0.mixer.heads[0]", "blocks.0.mixer.heads[1]"]
    expected = [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(recovered(effect), expected, atol=1e-9)


def test_paths_start_and_end_at_positions(model):
    metric = logit_difference(ANSWER, SWAPPED_ANSWER)
    path = {"senders": ["blocks.0.mixer.heads[0]"], "receivers": ["blocks.1.mixer"]}
    for sender, receiver, share in [
        (FOUND, LAST, 0.5),  # no match is left, so the head reads all positions alike
        (LAST, LAST, 0.0),
        (FOUND, 4, 0.0),
        ([0, 1, 2, 3, 4], -1, 1.0),
    ]:
        effect = path_patching(model, BASE, SWAPPED, metric, **path, positions=sender, receiver_positions=receiver)
        np.testing.assert_allclose(recovered(effect), share, atol=1e-9)


def test_the_logit_comes_from_the_induction_head(model):
    found = direct_logit_attribution(model, BASE, ANSWER, heads=True)
    assert found.sizes == {"component": 8, "item": 3}
    by_part = found.mean("item").to_series().to_dict()
    assert by_part.pop("blocks.1.mixer.heads[1]") == pytest.approx(1)
    assert by_part == pytest.approx(dict.fromkeys(by_part, 0), abs=1e-9)


def test_flow_runs_from_what_followed_to_the_last_position(model):
    flow = saliency_flow(model, BASE, logit_of(ANSWER))
    assert flow.dims == ("layer", "item", "query", "key")
    expected = np.zeros((3, 6, 6))
    expected[range(3), LAST, FOUND] = 1
    np.testing.assert_allclose(flow.sel(layer=1), expected, atol=1e-9)
    groups = edge_flow(flow, {"induction": (FOUND, LAST), "previous": (FOUND - 1, FOUND)}).sel(layer=1)
    np.testing.assert_allclose(groups["mean"].mean("item"), [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(groups["share"].mean("item"), [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(groups["uniform"].mean("item"), [1 / 15, 1 / 15, 13 / 15])


def test_without_its_edge_a_layer_is_blind(model):
    edges = {"previous": (FOUND - 1, FOUND), "induction": (FOUND, LAST), "other": (0, 3)}
    effect = knockout_effect(model, BASE, edges, says(ANSWER))
    np.testing.assert_allclose(effect.mean("item").sel(layer=1), [1, 0, 1])
    np.testing.assert_allclose(effect.mean("item").sel(layer=0, group=["induction", "other"]), 1)
    assert float(effect.mean("item").sel(layer=0, group="previous")) < 0.7
    assert (effect.base == 1).all()
    everywhere = knockout_effect(model, BASE, edges, says(ANSWER), window=None)
    assert everywhere.layer.values.tolist() == [0] and float(everywhere.sel(group="induction").max()) == 0
    with attention_knockout(model, (FOUND, LAST), layers=[1]), record(model, "*.weights") as seen:
        model(BASE)
    assert (seen["blocks.1.mixer.weights"][torch.arange(3), :, LAST, FOUND] == 0).all()


def test_the_token_before_is_read_off_after_the_first_layer(model):
    tokens = torch.randint(0, VOCAB, (300, 5), generator=torch.Generator().manual_seed(0))
    found = linear_probe(model, tokens, tokens[:, 2], positions=[2, 3, 4])
    assert found.test.dims == ("site", "position")
    np.testing.assert_allclose(found.test.sel(position=2), 1)
    assert float(found.test.sel(site="blocks.1.in", position=3)) == 1
    blind = found.test.sel(site="blocks.0.in", position=[3, 4])
    assert (blind < 0.4).all() and (found.control < 0.4).all()


def test_a_number_is_read_off_by_ridge(model):
    tokens = torch.randint(0, VOCAB, (200, 5), generator=torch.Generator().manual_seed(0))
    found = linear_probe(model, tokens, tokens[:, 1] / 10, sites=["blocks.0.in", "blocks.0.mixer.heads"], positions=[1])
    assert float(found.test.sel(site="blocks.0.in").item()) > 0.99
    assert float(found.control.max()) < 0.2
