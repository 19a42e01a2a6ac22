"""Exact arithmetic, every combination once, and an oracle against brute force over expressions."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.countdown import Combine, Countdown, CountdownOracle, draw_countdown, numbers
from elegans.tasks.planning import Problem, shortest_plan, solves

quick = settings(max_examples=40, deadline=None)
game = Countdown(Fraction(24))
small = st.lists(st.integers(1, 9), min_size=1, max_size=3)


def values(ordered):
    """Everything that parentheses and signs make of numbers in this order."""
    if len(ordered) == 1:
        return {ordered[0]}
    found = set()
    for cut in range(1, len(ordered)):
        for a, b in itertools.product(values(ordered[:cut]), values(ordered[cut:])):
            found |= {a + b, a - b, a * b} | ({a / b} if b else set())
    return found


@quick
@given(small, st.integers(1, 30))
def test_solvable_exactly_where_some_expression_has_the_value(state, target):
    state = numbers(state)
    reachable = set().union(*(values(order) for order in itertools.permutations(state)))
    oracle = CountdownOracle(Countdown(Fraction(target)))
    assert oracle.solvable(state) is (target in reachable)


@quick
@given(small, st.integers(1, 20), st.booleans())
def test_oracle_agrees_with_breadth_first_search(state, target, use_all):
    world = Countdown(Fraction(target), use_all=use_all, negative=False, fractional=False)
    state = numbers(state)
    oracle, problem = CountdownOracle(world), Problem(world, state, "test")
    plan = shortest_plan(problem)
    assert oracle.distance(state) == (None if plan is None else len(plan))
    if plan is None:
        assert not oracle.optimal_actions(state)
        with pytest.raises(ValueError, match="cannot be made of"):
            oracle.plan(state)
    else:
        assert solves(problem, oracle.plan(state)) and len(oracle.plan(state)) == len(plan)


@quick
@given(small, st.integers(0, 100), st.integers(0, 100))
def test_text_round_trips(state, first, second):
    state = numbers(state)
    for choice in (first, second):
        assert game.parse_state(game.render_state(state)) == state
        actions = game.actions(state)
        if actions:
            action = actions[choice % len(actions)]
            assert game.parse_action(game.render_action(action)) == action
            state = game.apply(state, action)


@quick
@given(small)
def test_actions_differ_and_are_legal(state):
    state = numbers(state)
    actions = game.actions(state)
    kinds = {(a.sign, frozenset((a.left, a.right)), a.result()) for a in actions}
    assert len(kinds) == len(actions)
    assert all(len(game.apply(state, action)) == len(state) - 1 for action in actions)


def test_known_games():
    oracle = CountdownOracle(game)
    assert oracle.solvable(numbers([3, 3, 8, 8])), "8 / (3 - 8 / 3)"
    assert not oracle.solvable(numbers([1, 1, 1, 1]))
    whole = CountdownOracle(Countdown(Fraction(24), fractional=False))
    assert not whole.solvable(numbers([3, 3, 8, 8]))


def test_only_the_target_may_be_left_if_all_are_used():
    assert not game.is_goal(numbers([24, 1])) and game.goal_fraction(numbers([24])) == 1
    loose = Countdown(Fraction(24), use_all=False)
    assert loose.is_goal(numbers([24, 1])) and loose.actions(numbers([24, 1])) == []


@pytest.mark.parametrize(
    ("world", "action", "message"),
    [
        (game, Combine(Fraction(5), "+", Fraction(5)), "5 is not among 0 4 5"),
        (game, Combine(Fraction(5), "/", Fraction(0)), "division by zero"),
        (Countdown(Fraction(24), negative=False), Combine(Fraction(4), "-", Fraction(5)), "-1 is not allowed"),
        (Countdown(Fraction(24), fractional=False), Combine(Fraction(5), "/", Fraction(4)), "5/4 is not allowed"),
    ],
)
def test_illegal_actions(world, action, message):
    with pytest.raises(ValueError, match=message):
        world.apply(numbers([0, 4, 5]), action)
    assert action not in world.actions(numbers([0, 4, 5]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("13 minus 4", "no action"),
        ("13 - 4 = 8", "13 - 4 is 9, not 8"),
        ("13 / 0", "division by zero"),
        ("13 / 0 = 1", "division by zero"),
        ("1/0 + 2", "division by zero"),
    ],
)
def test_unreadable_actions(line, message):
    with pytest.raises(ValueError, match=message):
        game.parse_action(line)


def test_plans_of_the_tree_of_thoughts_can_be_read():
    plan = game.parse_plan("13 - 9 = 4 (left: 4 4 10)\n10 - 4 = 6 (left: 4 6)\n\n4 * 6 = 24 (left: 24)\n")
    state = numbers([4, 9, 10, 13])
    for action in plan:
        state = game.apply(state, action)
    assert game.is_goal(state)


def test_drawn_problems_are_different_solvable_and_reproducible():
    for options in ({}, {"target": None, "n_numbers": 3, "high": 9}):
        problems = draw_countdown(3, seed=3, **options)
        assert problems == draw_countdown(3, seed=3, **options) != draw_countdown(3, seed=4, **options)
        assert len({(p.start, p.world.target) for p in problems}) == 3
        for problem in problems:
            plan = CountdownOracle(problem.world).plan(problem.start)
            assert solves(problem, plan) and len(plan) == problem.optimal_length


def test_too_few_problems():
    with pytest.raises(ValueError, match="found only"):
        draw_countdown(2, n_numbers=2, target=24, high=5)
