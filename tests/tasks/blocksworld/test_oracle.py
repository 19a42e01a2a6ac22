"""The table of states, distances and A*, against search that knows nothing but the rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.ops.rng import numpy_rng
from elegans.tasks.blocksworld import (
    ANYWHERE,
    TABLE,
    Action,
    Blocksworld,
    Compact,
    Goal,
    Oracle,
    from_stacks,
    goal_of,
    legal_actions,
    make_goal,
    random_state,
    state_space,
    step,
)
from elegans.tasks.planning import Problem, shortest_plan, solves

quick = settings(max_examples=40, deadline=None)


def reachable(start):
    found, front = {start}, [start]
    while front:
        front = [
            after for state in front for action in legal_actions(state) if (after := step(state, action)) not in found
        ]
        found.update(front)
        front = list(set(front))
    return found


def blocks_problem(goal, start):
    return Problem(Blocksworld(goal, Compact("abcdefghijkl"[: len(start.below)])), start, "test")


def a_goal(space, row):
    return goal_of(space.state(row % space.n_free))


@pytest.mark.parametrize(("n_blocks", "n_free"), [(1, 1), (2, 3), (3, 13), (4, 73), (5, 501), (6, 4051), (7, 37633)])
def test_numbers_of_states(n_blocks, n_free):
    space = state_space(n_blocks)
    rest = state_space(n_blocks - 1).n_free if n_blocks > 1 else 1
    assert space.n_free == n_free and len(space.below) == n_free + n_blocks * rest
    assert len(np.unique(space.below, axis=0)) == len(space.below)


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 4])
def test_the_table_holds_every_state_and_every_action(n_blocks):
    space = state_space(n_blocks)
    rows = range(len(space.below))
    assert {space.state(row) for row in rows} == reachable(from_stacks([[x] for x in range(n_blocks)]))
    for row in rows:
        state = space.state(row)
        assert space.index(state) == row
        assert (state.held is None) == (row < space.n_free)
        moves = {
            space.action(row, column): space.state(after)
            for column, after in enumerate(space.successors[row])
            if after >= 0
        }
        assert moves == {action: step(state, action) for action in legal_actions(state)}


def test_distances_of_three_blocks_equal_brute_force():
    space = state_space(3)
    states = [space.state(row) for row in range(len(space.below))]
    goals = [goal for row in range(space.n_free) if (goal := a_goal(space, row)).atoms()]
    goals += [make_goal([(0, TABLE)], 3), make_goal([(0, 1), (1, TABLE)], 3)]
    table = space.distances(goals)
    for column, goal in enumerate(goals):
        oracle = Oracle(goal)
        for row, state in enumerate(states):
            plan = shortest_plan(blocks_problem(goal, state))
            assert plan is not None and table[row, column] == len(plan) == oracle.distance(state)


def test_distances_between_states_are_symmetric():
    space = state_space(4)
    exact = space.distances(space.below[: space.n_free].astype(int))[: space.n_free]
    assert (exact == exact.T).all() and (exact.diagonal() == 0).all() and (exact[exact > 0] % 2 == 0).all()


def test_tables_take_goals_as_objects_or_rows():
    space = state_space(3)
    wants = np.array([[1, ANYWHERE, ANYWHERE], [2, TABLE, ANYWHERE]])
    assert (space.distances(wants) == space.distances([Goal(tuple(row)) for row in wants.tolist()])).all()


@quick
@given(st.integers(2, 5), st.integers(0, 10**6), st.integers(1, 10**6))
def test_search_beyond_the_tables_agrees_with_them(n_blocks, first, second):
    space = state_space(n_blocks)
    goal, state = a_goal(space, second), space.state(first % len(space.below))
    tabulated, searching = Oracle(goal), Oracle(goal)
    for action in legal_actions(state):
        after = step(state, action)
        assert abs(searching.at_least(state) - searching.at_least(after)) <= 1 or goal.holds(state) or goal.holds(after)
    assert searching.at_least(state) <= tabulated.distance(state) == searching._search(state)
    for action in legal_actions(state):
        assert searching._search(step(state, action)) == tabulated.distance(step(state, action))


@quick
@given(st.integers(2, 5), st.integers(0, 10**6), st.integers(1, 10**6))
def test_optimal_actions_are_those_after_which_one_less_is_to_go(n_blocks, first, second):
    space = state_space(n_blocks)
    goal, state = a_goal(space, second), space.state(first % len(space.below))
    oracle = Oracle(goal)
    best = oracle.optimal_actions(state)
    if goal.holds(state):
        assert best == [] == oracle.plan(state)
        return
    lengths = {
        action: len(shortest_plan(blocks_problem(goal, step(state, action))) or []) for action in legal_actions(state)
    }
    assert best == [action for action, length in lengths.items() if length == min(lengths.values())]
    for plan in (oracle.plan(state), oracle.plan(state, numpy_rng("test", first))):
        assert solves(blocks_problem(goal, state), plan) and len(plan) == oracle.distance(state)


def test_random_plans_differ():
    start, goal = from_stacks([[0], [1], [2], [3], [4]]), goal_of(from_stacks([[0, 1], [2, 3], [4]]))
    plans = {tuple(Oracle(goal).plan(start, numpy_rng("plans", seed))) for seed in range(20)}
    assert len(plans) == 2


def test_ten_blocks():
    rng = numpy_rng("ten-blocks")
    for _ in range(3):
        start, goal = random_state(10, rng), goal_of(random_state(10, rng))
        plan = Oracle(goal).plan(start)
        assert solves(blocks_problem(goal, start), plan)


def test_a_tower_turned_over():
    start, goal = from_stacks([range(8)]), goal_of(from_stacks([range(8)[::-1]]))
    assert Oracle(goal).distance(start) == 2 * 8
    assert Oracle(goal).optimal_actions(start) == [Action("unstack", 7, 6)]


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="the goal has 3 blocks, the state 2"):
        Oracle(make_goal([(0, 1)], 3)).distance(from_stacks([[0], [1]]))
    with pytest.raises(ValueError, match="n_blocks must be from 1 to 8"):
        state_space(9)
