"""States, goals, the four operators: against a STRIPS executor over sets of atoms."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.blocksworld import (
    ANYWHERE,
    HAND,
    TABLE,
    Action,
    BlocksworldState,
    from_below,
    from_stacks,
    goal_of,
    inverse,
    legal_actions,
    make_goal,
    state_space,
    step,
)

quick = settings(max_examples=60, deadline=None)


@st.composite
def states(draw, most=5):
    space = state_space(draw(st.integers(1, most)))
    return space.state(draw(st.integers(0, len(space.below) - 1)))


def atoms(state):
    found = {("clear", x) for x in state.clear()}
    found |= {("handempty",)} if state.held is None else {("holding", state.held)}
    for x, y in enumerate(state.below):
        if y != HAND:
            found.add(("ontable", x) if y == TABLE else ("on", x, y))
    return found


def strips(action):
    """Preconditions, added and deleted atoms."""
    name, x, y = action
    free, full = {("clear", x), ("handempty",)}, {("holding", x)}
    if name in ("pick-up", "put-down"):
        standing = free | {("ontable", x)}
        return (standing, full, standing) if name == "pick-up" else (full, standing, full)
    stacked = free | {("on", x, y)}
    if name == "unstack":
        return stacked, full | {("clear", y)}, stacked
    return full | {("clear", y)}, stacked, full | {("clear", y)}


def all_actions(n_blocks):
    for x in range(n_blocks):
        yield from (Action("pick-up", x), Action("put-down", x))
        for y in range(n_blocks):
            if x != y:
                yield from (Action("stack", x, y), Action("unstack", x, y))


@quick
@given(states())
def test_transitions_are_those_of_strips(state):
    facts = atoms(state)
    legal = legal_actions(state)
    assert len(set(legal)) == len(legal)
    for action in all_actions(len(state.below)):
        needed, added, deleted = strips(action)
        if needed <= facts:
            assert action in legal
            after = step(state, action)
            assert from_below(after.below) == after
            assert atoms(after) == (facts - deleted) | added
            assert step(after, inverse(action)) == state
        else:
            assert action not in legal
            with pytest.raises(ValueError, match="cannot"):
                step(state, action)


@quick
@given(states())
def test_stacks_round_trip(state):
    assert from_stacks(state.stacks(), held=state.held) == state


@pytest.mark.parametrize(
    "action",
    [
        Action("stack", 0),
        Action("pick-up", 0, 1),
        Action("pick-up", 7),
        Action("stack", 0, -1),
        Action("stack", 0, 0),
        Action("jump", 0),  # pyright: ignore
    ],
)
def test_actions_that_are_none(action):
    with pytest.raises(ValueError, match=r"there is no|not clear"):
        step(BlocksworldState((HAND, TABLE)), action)


@pytest.mark.parametrize(
    ("below", "message"),
    [
        ((1, 0), "does not stand on the table"),
        ((0, TABLE), "does not stand on the table"),
        ((2, 2, TABLE), "two blocks are on block 2"),
        ((HAND, HAND), "at most one"),
        ((HAND, 0), "with a block on it"),
        ((5, TABLE), "not there"),
        ((ANYWHERE, TABLE), "not there"),
    ],
)
def test_impossible_states(below, message):
    with pytest.raises(ValueError, match=message):
        from_below(below)


def test_stacks_name_each_block_once():
    for stacks in ([[0, 1], [1]], [[0, 2]], [[1], [2]]):
        with pytest.raises(ValueError, match="every block"):
            from_stacks(stacks)


def test_a_goal_is_partial():
    goal = make_goal([(0, 1), (2, TABLE)], 4)
    assert goal.wants == (1, ANYWHERE, TABLE, ANYWHERE) and goal.atoms() == [(0, 1), (2, TABLE)]
    assert goal.holds(from_stacks([[3, 1, 0], [2]])) and goal.holds(from_stacks([[1, 0], [2]], held=3))
    half = from_stacks([[1, 0, 2], [3]])
    assert not goal.holds(half) and goal.satisfied(half) == 1


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "wants nothing"),
        ([(0, 1), (0, 2)], "at two places"),
        ([(0, 1), (2, 1)], "two blocks are on"),
        ([(0, 1), (1, 2), (2, 0)], "does not stand on the table"),
        ([(0, 5)], "block 5 of 3"),
        ([(0, HAND)], "block 0 of 3"),
    ],
)
def test_impossible_goals(wanted, message):
    with pytest.raises(ValueError, match=message):
        make_goal(wanted, 3)


def test_the_goal_of_a_state_is_what_stands_on_blocks():
    assert goal_of(from_stacks([[2, 0], [1]])).atoms() == [(0, 2)]
    assert goal_of(from_stacks([[0], [1]])).atoms() == []


def test_every_consistent_set_of_on_atoms_is_the_goal_of_one_state():
    space = state_space(3)
    goals = [goal_of(space.state(row)) for row in range(space.n_free)]
    pairs = list(itertools.permutations(range(3), 2))
    possible = set()
    for size in range(1, 4):
        for chosen in itertools.combinations(pairs, size):
            try:
                possible.add(make_goal(chosen, 3))
            except ValueError:
                continue
    assert set(goals) - {goal_of(from_stacks([[0], [1], [2]]))} == possible
    assert len(set(goals)) == len(goals) == sum(math.comb(2, k - 1) * 6 // math.factorial(k) for k in (1, 2, 3))
