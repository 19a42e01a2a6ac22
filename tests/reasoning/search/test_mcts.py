"""The search on worlds that can be enumerated."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.reasoning.scorer import ScorerError, Usage
from elegans.reasoning.search import (
    MCTS,
    PUCT,
    UCT,
    BestPath,
    BestValue,
    Budget,
    Composite,
    GoalSignal,
    Greedy,
    LookAhead,
    MaxBackup,
    MeanBackup,
    MostVisited,
    ProgressBackup,
    RandomReward,
    RegionalNormalizer,
    ScaleFreeUCT,
    SumBackup,
    act,
    trace,
)
from elegans.tasks.planning import Problem, shortest_plan, solves

from .conftest import Table, Walk, full_tree

SELECTIONS = (
    UCT(1.0),
    UCT(1.0, "parent"),
    UCT(1.0, "always"),
    ScaleFreeUCT(2.0, "always"),
    PUCT(2.0, first_play="always"),
)
EXPLORING = (UCT(8.0, "always"), ScaleFreeUCT(8.0, "always"), PUCT(40.0, first_play="always"))
BACKUPS = (SumBackup(), MeanBackup(), MaxBackup("sum"), MaxBackup("mean"), ProgressBackup(base=MeanBackup()))


def shape(result):
    """All that a search decided."""
    return [(node.id, node.visits, node.terminal, node.invalid) for node in result.tree.root.walk()]


def best_by_enumeration(seed, depth, branching):
    """The path with the highest sum of rewards, by looking at all."""
    totals = {}
    for address in itertools.product(range(branching), repeat=depth):
        values = [Table(seed=seed)(_choice(address[:i], branching))[address[i]] for i in range(depth)]
        totals[address] = sum(values)
    return max(totals, key=totals.get)


def _choice(address, branching):
    return type("Choice", (), {"address": address, "actions": range(branching)})


@pytest.mark.parametrize("selection", EXPLORING, ids=repr)
@pytest.mark.parametrize("backup", BACKUPS, ids=lambda b: type(b).__name__)
def test_where_every_child_is_tried_the_best_path_is_found(selection, backup, tree_problem):
    for seed in range(2):
        search = MCTS(
            rewards=Composite([Table(seed=seed)]),
            depth_limit=2,
            selection=selection,
            backup=backup,
            goal=None,
            budget=Budget(iterations=60),
        )
        result = search.search(tree_problem(2, 3))
        assert all(node.visits for node in result.tree.root.walk())
        assert tuple(result.actions) == best_by_enumeration(seed, 2, 3)


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_with_true_distances_as_the_reward_the_shortest_plan_is_found(data):
    size = data.draw(st.integers(3, 8))
    edges = tuple(tuple(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=3))) for _ in range(size))
    problem = Problem(Walk(edges, size - 1), 0, "walk")
    best = shortest_plan(problem)
    if not best:
        return
    world = problem.world

    def distance(state):
        plan = shortest_plan(Problem(world, state, ""))
        return math.inf if plan is None else len(plan)

    class Oracle:
        name = "oracle"

        def __call__(self, choice):
            return [-min(99.0, distance(choice.successor(k))) for k in range(len(choice.actions))]

    for backup in BACKUPS:
        result = MCTS(rewards=Composite([Oracle()]), depth_limit=len(best), backup=backup).search(problem)
        assert result.solved and len(result.actions) == len(best) and solves(problem, result.actions)


@pytest.mark.parametrize("selection", SELECTIONS, ids=repr)
def test_a_search_is_deterministic_and_its_seed_matters(selection, tree_problem):
    def run(seed):
        search = MCTS(rewards=Composite([RandomReward(seed)]), depth_limit=4, selection=selection)
        return shape(search.search(tree_problem(4, 3)))

    assert run(0) == run(0) != run(1)


def scaled(scale, selection, problem, backup=None):
    search = MCTS(
        rewards=Composite([Table(seed=4, scale=scale)]),
        depth_limit=4,
        selection=selection,
        goal=None,
        backup=backup or MeanBackup(),
        budget=Budget(iterations=40),
    )
    return shape(search.search(problem))


@pytest.mark.parametrize("first_play", ["reward", "parent", "always"])
def test_scale_free_selection_does_not_see_the_scale_of_rewards(first_play, tree_problem):
    problem = tree_problem(4, 3)
    for backup in (SumBackup(), MeanBackup(), MaxBackup("sum")):
        results = [scaled(s, ScaleFreeUCT(1.0, first_play), problem, backup) for s in (1.0, 1 / 128, 128.0)]
        assert results[0] == results[1] == results[2]


def test_a_fixed_constant_sees_it(tree_problem):
    problem = tree_problem(4, 3)
    assert scaled(128.0, UCT(1.0), problem) == scaled(1.0, UCT(1 / 128), problem)
    assert scaled(1.0, UCT(1.0), problem) != scaled(128.0, UCT(1.0), problem)
    assert scaled(2.0**20, UCT(1.0), problem) == scaled(1.0, UCT(0.0), problem)


def test_a_calibrated_constant_follows_the_scale_of_its_sample(tree_problem):
    sample = np.array([-2.0, 0.0, 1.0, 3.0])
    assert math.isclose(UCT.calibrated(sample, k=2.0).c, 2 * sample.std())
    problem = tree_problem(4, 3)
    assert scaled(128.0, UCT.calibrated(128 * sample), problem) == scaled(1.0, UCT.calibrated(sample), problem)


class Costly(Table):
    """A table that costs two passes and ten tokens each time, and may fail."""

    def __init__(self, *args, fails_at=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.scorer, self.fails_at = self, set(fails_at)
        self.usage = Usage()

    def __call__(self, choice):
        self.usage.passes += 2
        self.usage.read_tokens += 10
        if self.calls in self.fails_at:
            self.fails_at.discard(self.calls)
            raise ScorerError("the line is dead")
        return super().__call__(choice)


@pytest.mark.parametrize(("name", "limit", "most"), [("passes", 11, 12), ("tokens", 55, 60), ("iterations", 3, 24)])
def test_budgets_are_kept(name, limit, most, tree_problem):
    budget = Budget(**({"iterations": 1000} | {name: limit}))
    result = MCTS(rewards=Composite([Costly()]), depth_limit=4, budget=budget).search(tree_problem(4, 3))
    assert result.status == name
    spent = result.tree.spent
    used = {"passes": spent.passes, "tokens": spent.read_tokens, "iterations": result.tree.iterations}[name]
    assert limit <= used <= most
    assert result.tree.root.visits == result.tree.iterations
    visited = [node for node in result.tree.root.walk() if node.visits]
    assert all(node.children is None or node.visits for node in visited)


def test_no_time_is_no_search(tree_problem):
    result = MCTS(rewards=Composite([Table()]), depth_limit=4, budget=Budget(seconds=0.0)).search(tree_problem())
    assert (result.status, result.actions, result.solved, result.tree.iterations) == ("seconds", [], False, 0)


def learning():
    return {"table": RegionalNormalizer([0.0], [-1.0, 1.0], [0.5, 0.5], [4, 4])}


@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(0, 20), max_size=5), st.sampled_from(SELECTIONS))
def test_a_search_that_failed_goes_on_as_if_it_had_not(fails_at, selection):
    problem = Problem(full_tree(4, 3), 0, "tree")
    budget = Budget(iterations=12)
    whole = MCTS(
        rewards=Composite([Costly()], normalizers=learning()), depth_limit=4, selection=selection, budget=budget
    ).search(problem)
    search = MCTS(
        rewards=Composite([Costly(fails_at=fails_at)], normalizers=learning()),
        depth_limit=4,
        selection=selection,
        budget=budget,
    )
    result = search.search(problem)
    faults = 0
    while result.status == "fault":
        assert result.fault == "the line is dead" and not result.solved
        faults += 1
        result = search.search(problem, result.tree)
    assert faults == len([k for k in fails_at if k < whole.tree.expanded]) or faults <= len(fails_at)
    assert shape(result) == shape(whole)
    assert [n.value for n in result.tree.root.walk()] == [n.value for n in whole.tree.root.walk()]


def test_more_iterations_go_on_with_a_tree(tree_problem):
    rewards = Composite([Table()])
    first = MCTS(rewards=rewards, depth_limit=4, budget=Budget(iterations=4)).search(tree_problem(4, 3))
    more = MCTS(rewards=rewards, depth_limit=4, budget=Budget(iterations=9)).search(tree_problem(4, 3), first.tree)
    whole = MCTS(rewards=rewards, depth_limit=4, budget=Budget(iterations=9)).search(tree_problem(4, 3))
    assert shape(more) == shape(whole) and more.tree.iterations == 9


def test_an_action_that_the_world_refuses_is_left_out_and_recorded():
    problem = Problem(Walk(((-1, 1, -1), (-1, 2), (0,)), 2), 0, "holes")
    values = {(0,): 9.0, (1,): 0.0, (2,): 5.0, (1, 0): 9.0, (1, 1): 0.0}
    result = MCTS(rewards=Composite([Table(values)]), depth_limit=3).search(problem)
    assert result.actions == [1, 1] and result.solved
    refused = {node.id: node.invalid for node in result.tree.root.walk() if node.invalid}
    assert refused == {"0": "no edge 0 from 0", "2": "no edge 2 from 0", "1.0": "no edge 0 from 1"}
    assert all(not node.visits for node in result.tree.root.walk() if node.invalid)


def test_dead_ends_end_a_path():
    nowhere = Problem(Walk(((-1,), ()), 1), 0, "nowhere")
    result = MCTS(rewards=Composite([RandomReward()]), depth_limit=3).search(nowhere)
    assert (result.status, result.actions, result.solved) == ("complete", [], False)
    stuck = MCTS(rewards=Composite([RandomReward()]), depth_limit=3).search(Problem(Walk(((1,), ()), 5), 0, "stuck"))
    assert stuck.actions == [0] and not stuck.solved


def test_a_start_at_the_goal_needs_no_action():
    result = MCTS(rewards=Composite([RandomReward()]), depth_limit=3).search(Problem(Walk(((0,),), 0), 0, "there"))
    assert (result.status, result.actions, result.solved) == ("complete", [], True)


def test_the_search_can_stop_at_the_first_solution():
    problem = Problem(Walk(((0, 1), (1,)), 1), 0, "door")
    search = MCTS(rewards=Composite([RandomReward()]), depth_limit=4, stop_when_solved=True, budget=Budget(100))
    result = search.search(problem)
    assert result.status == "solved" and result.solved and result.tree.iterations < 20
    assert solves(problem, result.actions)


def test_without_goal_signal_rewards_are_the_factors_alone():
    problem = Problem(Walk(((0, 1), (1,)), 1), 0, "door")
    values = {address: 1.0 + address[-1] for n in range(1, 4) for address in itertools.product((0, 1), repeat=n)}
    result = MCTS(rewards=Composite([Table(values)]), depth_limit=2, goal=None, end_at_goal=False).search(problem)
    for node in result.tree.root.walk():
        if node.visits and node.parent:
            assert node.reward == node.estimate == 0.5 * node.factors["table"]
    assert all(node.depth == 2 for node in result.tree.root.walk() if node.terminal)
    with_signal = MCTS(rewards=Composite([Table(values)]), depth_limit=2, goal=GoalSignal(0.5, 8.0)).search(problem)
    end = with_signal.path[-1]
    assert end.goal and end.reward == end.estimate + 4.0


def test_only_the_best_children_are_kept(tree_problem):
    values = {address: float(address[-1] != 1) for n in (1, 2) for address in itertools.product(range(3), repeat=n)}
    result = MCTS(rewards=Composite([Table(values)]), depth_limit=2, max_children=2).search(tree_problem(2, 3))
    assert {node.id for node in result.tree.root.children} == {"0", "2"}


def test_states_are_computed_when_visited(tree_problem):
    result = MCTS(rewards=Composite([Table()]), depth_limit=3, budget=Budget(2)).search(tree_problem())
    for node in result.tree.root.walk():
        assert (node.trajectory is not None) == (node.visits > 0)


def test_greedy_with_one_step_adds_one_node_per_iteration(tree_problem):
    search = MCTS(rewards=Composite([Table()]), depth_limit=3, simulation=Greedy(1), budget=Budget(5))
    result = search.search(tree_problem())
    assert result.tree.expanded == 5 and len(result.path) > 1


def test_looking_ahead_mixes_the_best_reward_into_the_new_node(tree_problem):
    values = {address: 2.0 * address[-1] for n in (1, 2, 3) for address in itertools.product(range(3), repeat=n)}
    values[2, 2] = 10.0
    search = MCTS(
        rewards=Composite([Table(values)]), depth_limit=3, goal=None, budget=Budget(1), simulation=LookAhead(2, 0.25)
    )
    result = search.search(tree_problem())
    node = result.path[-1]
    assert node.id == "2" and node.children is None
    assert node.reward == 0.25 * 2.0 + 0.75 * 5.0
    assert result.tree.expanded == 1


@pytest.mark.parametrize("output", [BestPath("sum"), BestPath("mean"), MostVisited(), BestValue()])
def test_outputs_agree_on_a_clear_case(output, tree_problem):
    values = {a: 3.0 * (a[-1] == 2) for n in (1, 2, 3) for a in itertools.product(range(3), repeat=n)}
    search = MCTS(rewards=Composite([Table(values)]), depth_limit=3, output=output, goal=None, budget=Budget(30))
    assert search.search(tree_problem()).actions == [2, 2, 2]


def test_paths_of_several_lengths_are_compared_in_all_or_per_step():
    problem = Problem(Walk(((1, 2), (), (3,), ()), 9), 0, "fork")
    values = {(0,): -1.0, (1,): -0.75, (1, 0): -0.75}
    for output, want in ((BestPath("sum"), [0]), (BestPath("mean"), [1, 0])):
        search = MCTS(rewards=Composite([Table(values)]), depth_limit=3, goal=None, output=output)
        assert search.search(problem).actions == want


def test_the_trace_is_json_and_tells_the_whole_tree():
    problem = Problem(Walk(((-1, 1, 0), (-1, 2), (0,)), 2), 0, "holes", 2)
    result = MCTS(rewards=Composite([RandomReward(3), Table(name="other")]), depth_limit=3).search(problem)
    told = trace(result)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told == trace(result) and told["plan"] == ["edge 1", "edge 1"] and told["optimal_length"] == 2
    nodes = {node["id"]: node for node in told["nodes"]}
    assert len(nodes) == len(told["nodes"]) == len(list(result.tree.root.walk()))
    assert [n for n in nodes if nodes[n]["chosen"]] == told["path"] == ["root", "1", "1.1"]
    assert nodes["0"]["invalid"] and nodes["1"]["state"] == "at 1" and nodes["root"]["action"] is None
    assert set(nodes["1.1"]["factors"]) == {"random", "other"} and nodes["1.1"]["goal"]
    for node in told["nodes"][1:]:
        assert list(nodes).index(node["parent"]) < list(nodes).index(node["id"])
    assert {n["id"] for n in trace(result, expanded_only=True)["nodes"]} == {n for n in nodes if nodes[n]["visits"]}


def test_acting_without_search_takes_the_best_or_draws_by_the_softmax():
    problem = Problem(Walk(((1, -1, 0), (1, 2), ()), 2), 0, "walk")
    values = {a: 1.0 * a[-1] for n in range(1, 5) for a in itertools.product(range(3), repeat=n)}
    rewards = Composite([Table({a: v * (len(a) > 1) + (a[0] == 1) for a, v in values.items()})])
    assert act(problem, rewards, depth_limit=3).actions == (0, 1)
    firsts = [act(problem, rewards, depth_limit=1, temperature=0.5, seed=s).actions[0] for s in range(600)]
    assert abs(np.mean(np.array(firsts) == 0) - 0.5) < 0.08
    assert act(problem, rewards, depth_limit=0).actions == ()


def test_wrong_settings_are_refused(table):
    for wrong in ({"depth_limit": 0}, {"depth_limit": 1, "max_children": 0}, {"depth_limit": 1, "budget": Budget(-1)}):
        with pytest.raises(ValueError, match="depth_limit >= 1"):
            MCTS(rewards=table(), **wrong)
    for make in (
        lambda: UCT(-1.0),
        lambda: PUCT(temperature=0.0),
        lambda: LookAhead(0),
        lambda: Greedy(0),
    ):
        with pytest.raises(ValueError, match=r"need|temperature|steps"):
            make()
    with pytest.raises(ValueError, match="different names"):
        Composite([RandomReward(), RandomReward()])
    with pytest.raises(ValueError, match="no factor is called 'jsd'"):
        Composite([RandomReward()], {"jsd": 1.0})


def test_untried_actions_are_judged_on_the_scale_of_tried_ones():
    wide = Problem(Walk((tuple(range(1, 5)), *(() for _ in range(4))), 9), 0, "wide")
    rewards = Composite([Table({(k,): -1.0 for k in range(4)})])
    search = MCTS(rewards=rewards, depth_limit=1, budget=Budget(12), goal=None, selection=UCT(0.01))
    visits = [child.visits for child in search.search(wide).tree.root.children or ()]
    assert visits == [3, 3, 3, 3]
