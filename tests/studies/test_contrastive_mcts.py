"""The measures of the study and the model that reads words made of facts; the arms run in test_all."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from elegans.models.factored import Factored
from elegans.models.files import load, save
from elegans.models.registry import build
from elegans.studies.contrastive_mcts.arms import SearchConfig, TrainConfig
from elegans.studies.contrastive_mcts.claims import gain, solved
from elegans.studies.contrastive_mcts.figures import PAIRS
from elegans.studies.contrastive_mcts.paired import mcnemar, net_wins, wilson
from elegans.studies.contrastive_mcts.prompting import problems, scorer, walk
from elegans.studies.contrastive_mcts.rewards import auc, changed_rankings
from elegans.studies.contrastive_mcts.searching import search
from elegans.studies.contrastive_mcts.settings import BOTH, CLOSED_LOOP, OPEN_LOOP, RANDOM, SETTINGS
from elegans.studies.contrastive_mcts.speculation import padded
from elegans.studies.contrastive_mcts.training import fresh, stage_file
from elegans.study import Results
from elegans.tasks.blocksworld.oracle import Oracle
from elegans.tasks.blocksworld.state import step
from elegans.tasks.blocksworld.words import Words
from elegans.tasks.blocksworld.world import blocksworld_of, buffered

WORDS = Words()
TINY = TrainConfig(width=16, depth=2, heads=2)


@pytest.fixture(scope="module")
def tiny():
    return fresh(TINY, WORDS, 0)


def tokens(batch: int, length: int) -> torch.Tensor:
    return torch.randint(1, len(WORDS), (batch, length), generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------ the model


def test_a_word_is_the_sum_of_its_factors_and_padding_adds_nothing(tiny):
    weight = tiny.token_table.weight
    words = tokens(2, 7)
    expected = torch.zeros(2, 7, 16)
    for place in np.ndindex(2, 7):
        expected[place] = sum(weight[f] for f in WORDS.factor_table[words[place]] if f)
    torch.testing.assert_close(tiny.token_table(words), expected)
    assert not tiny.token_table(torch.zeros(1, 1, dtype=torch.long)).any()
    torch.testing.assert_close(tiny.input_embeddings()[words], expected)


def test_logits_are_of_the_plain_words_and_steps_equal_the_whole(tiny):
    words = tokens(3, 9)
    whole = tiny(words)
    assert whole.shape == (3, 9, WORDS.n_plain)
    first, state = tiny.extend(words[:, :4], tiny.init_state(3))
    second, _ = tiny.extend(words[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_it_survives_a_file(tiny, tmp_path):
    save(tiny, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert isinstance(again, Factored)
    assert torch.equal(again(tokens(2, 5)), tiny(tokens(2, 5)))


@pytest.mark.parametrize("change", [{"vocab": 5}, {"outputs": 3}, {"tied": False}])
def test_factors_that_do_not_fit_are_refused(change):
    sizes = {"vocab": 4, "factors": [[0, 0], [1, 0], [2, 3], [2, 1]], "outputs": 2, "width": 8, "heads": 2}
    build("elegans.models.factored:Factored", **sizes)
    with pytest.raises(ValueError, match="factors"):
        build("elegans.models.factored:Factored", **sizes | change)


def test_padding_with_blocks_changes_no_logit(tiny):
    deep = padded(tiny, 5)
    assert len(deep.blocks) == 5
    torch.testing.assert_close(deep(tokens(2, 6)), tiny(tokens(2, 6)), rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------ the measures


def test_area_equals_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    values, labels = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in values[labels] for b in values[~labels]]
    assert auc(values, labels) == pytest.approx(np.mean(pairs))
    assert np.isnan(auc(values, np.ones(60, dtype=bool)))


def test_a_constant_added_within_a_choice_changes_no_ranking():
    groups = np.array([0, 0, 0, 1, 1, 2])
    base = np.array([0.1, 0.5, 0.3, 2.0, 1.0, 0.0])
    assert changed_rankings(base, groups * 10.0, groups) == 0
    assert changed_rankings(base, np.array([9.0, 0, 0, 0, 0, 0]), groups) == 0.5


def test_paired_tests_count_only_problems_that_one_method_solves():
    a = xr.DataArray([[1, 1, 1, 1, 1, 1, 0, 1], [0, 1, 0, 1, 0, 1, 0, 1]], dims=("seed", "problem"))
    b = xr.DataArray([[0, 0, 0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 0, 1, 0, 1]], dims=("seed", "problem"))
    wins, losses = net_wins(a, b)
    assert wins.values.tolist() == [6, 0] and losses.values.tolist() == [0, 0]
    np.testing.assert_allclose(mcnemar(a, b), [2 * 0.5**6, 1.0])


def test_wilson_interval_of_a_half():
    low, high = wilson(xr.DataArray([[1, 0] * 50], dims=("seed", "problem")))
    np.testing.assert_allclose([low.item(), high.item()], [0.40383, 0.59617], atol=1e-5)


def test_gain_compares_with_the_best_of_the_others():
    methods = ["ll", "ll C=0", "ll C=50"]
    outcomes = xr.DataArray([[[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]]], dims=("seed", "planner", "problem"))
    results = Results({"search": xr.Dataset({"solved": outcomes.assign_coords(planner=methods)})})
    assert gain("ll", "ll C=0", "ll C=50")(results).values.tolist() == [0.25]
    assert solved(results, "ll").shape == (1, 4)


# ------------------------------------------------------------------------------------------------ the settings


def test_every_search_is_there_once_and_costs_are_known():
    assert len(set(SETTINGS.values())) == len(SETTINGS)
    assert (BOTH.passes, RANDOM.passes) == (2, 0)
    known = {*SETTINGS, *CLOSED_LOOP, *OPEN_LOOP}
    assert {method for pair in PAIRS.values() for method in pair} <= known


def test_an_erring_planner_meets_right_and_wrong_actions():
    problem = buffered(problems("dev", 3, 0)[0])
    goal = blocksworld_of(problem).goal
    seen = list(walk(problem, wrong=0.5, seed=0))
    assert seen
    for choice, lowers in seen:
        here = Oracle(goal).distance(choice.trajectory.state.current)
        after = [Oracle(goal).distance(step(choice.trajectory.state.current, action)) for action in choice.actions]
        assert lowers == [distance < here for distance in after]
    assert list(walk(problem, wrong=0.5, seed=0))[-1][1] == seen[-1][1]


class Handle:
    """What a search needs of the lab: two models in folders, and a place for its tree."""

    device = torch.device("cpu")

    def __init__(self, folder):
        self.artifact_dir = folder
        for seed, name in enumerate(("expert", "amateur")):
            (folder / name).mkdir()
            save(fresh(TINY, WORDS, seed), stage_file(folder / name, 1.0))

    def artifact(self, name):
        return self.artifact_dir / name

    def progress(self, *args, **kwargs):
        pass


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return search(SearchConfig(four=1, five=0, prior_four=1, prior_five=1), 0, Handle(folder))


def test_searches_and_closed_loops_of_one_problem_set(searched):
    found = searched
    assert found.planner.values.tolist() == [*SETTINGS, *CLOSED_LOOP]
    assert set(np.unique(found.solved)) <= {0, 1}
    assert float(found.passes.sel(planner="random")) == 0
    assert float(found.passes.sel(planner="ll+se")) == 2 * float(found.nodes.sel(planner="ll+se"))
    tree = json.loads(found.trace.sel(traced="ll+se").item())
    assert tree["nodes"][0]["id"] == "root"
    assert set(tree["nodes"][1]["factors"]) == {"log-likelihood", "self-evaluation"}


def test_more_iterations_never_visit_fewer_nodes(searched):
    nodes = [float(searched.nodes.sel(planner=name)) for name in ("ll x1", "ll x3", "ll x7", "ll", "ll x30")]
    assert nodes == sorted(nodes)


def test_scorers_write_plain_words(tiny):
    written = scorer(tiny).generate("S a:b:none P", max_tokens=3, num=4, temperature=1.0)
    assert all(token < WORDS.n_plain for text in written for token in text.tokens)
