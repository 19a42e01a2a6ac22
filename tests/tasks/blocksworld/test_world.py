"""The world and its two-step refresh."""

import pytest

from elegans.tasks.blocksworld import (
    Action,
    Blocksworld,
    BufferedState,
    Compact,
    English,
    blocksworld_of,
    buffered,
    draw_problems,
    from_stacks,
    make_goal,
)
from elegans.tasks.countdown import draw_countdown
from elegans.tasks.planning import Problem, execute, shortest_plan, solves

START = from_stacks([[1, 0], [2]])
WORLD = Blocksworld(make_goal([(2, 1), (0, 2)], 3), Compact("abc"))
PROBLEM = Problem(WORLD, START, "three")
PLAN = [Action("unstack", 0, 1), Action("put-down", 0), Action("pick-up", 2), Action("stack", 2, 1)]
PLAN += [Action("pick-up", 0), Action("stack", 0, 2)]


def test_a_plan_reaches_the_goal_bit_by_bit():
    states = execute(WORLD, START, PLAN)
    assert [WORLD.goal_fraction(state) for state in states] == [0, 0, 0, 0, 0.5, 0.5, 1]
    assert [WORLD.is_goal(state) for state in states] == [False] * 6 + [True]
    assert shortest_plan(PROBLEM) == PLAN


def test_text_is_in_the_worlds_notation():
    assert WORLD.render_state(START) == "a b b table c table"
    assert WORLD.render_action(PLAN[0]) == "unstack a b"
    assert Blocksworld(WORLD.goal, English("abc")).render_action(PLAN[1]) == "put down the red block"


def test_a_held_block_is_shown_as_the_action_that_took_it():
    problem = buffered(PROBLEM)
    states = execute(problem.world, problem.start, PLAN)
    assert [state.current for state in states] == execute(WORLD, START, PLAN)
    assert [len(state.buffer) for state in states] == [0, 1, 0, 1, 0, 1, 0]
    assert all(state.refreshed.held is None for state in states)
    assert problem.world.render_state(states[0]) == "a b b table c table"
    assert problem.world.render_state(states[1]) == "a b b table c table\nunstack a b"
    assert problem.world.render_state(states[2]) == "a table b table c table"
    assert solves(problem, PLAN) and problem.world.goal_fraction(states[4]) == 0.5


def test_where_a_block_came_from_tells_buffered_states_apart():
    world = buffered(PROBLEM).world
    one = world.apply(BufferedState(START, (), START), PLAN[0])
    aside = from_stacks([[1], [0], [2]])
    other = world.apply(BufferedState(aside, (), aside), Action("pick-up", 0))
    assert one.current == other.current and one != other
    assert world.actions(one) == world.actions(other)


def test_illegal_actions_stay_illegal():
    problem = buffered(PROBLEM)
    with pytest.raises(ValueError, match=r"^cannot pick-up block a: it is not on the table$"):
        problem.world.apply(problem.start, Action("pick-up", 0))


def test_the_plain_world_of_a_problem():
    assert blocksworld_of(PROBLEM) is blocksworld_of(buffered(PROBLEM)) is WORLD
    with pytest.raises(ValueError, match="'countdown-000' is a problem of Countdown, not of Blocksworld"):
        blocksworld_of(draw_countdown(1)[0])  # pyright: ignore


def test_problems_of_a_set_keep_their_lengths():
    problem = draw_problems("hard")[0]
    assert buffered(problem).optimal_length == problem.optimal_length
