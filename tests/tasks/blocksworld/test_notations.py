"""Every notation reads what it writes; what PlanBench writes is read; what is wrong is said in one line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.blocksworld import (
    HAND,
    TABLE,
    Action,
    BlocksworldState,
    Compact,
    English,
    Oracle,
    Pddl,
    from_stacks,
    goal_of,
    legal_actions,
    make_goal,
    state_space,
)

quick = settings(max_examples=60, deadline=None)
every_notation = pytest.mark.parametrize("notation", [Compact, English, Pddl])
START = from_stacks([[2, 1], [0], [3]])

STATEMENT = """\
[STATEMENT]
As initial conditions I have that, the red block is clear, the blue block is clear, the yellow block is clear, \
the hand is empty, the blue block is on top of the orange block, the red block is on the table, \
the orange block is on the table and the yellow block is on the table.
My goal is to have that the orange block is on top of the blue block.

My plan is as follows:

[PLAN]
"""
PLAN = """\
unstack the blue block from on top of the orange block
put down the blue block
pick up the orange block
stack the orange block on top of the blue block
[PLAN END]
"""


@every_notation
@quick
@given(st.integers(1, 5), st.permutations("abcdefgxyz"), st.integers(0, 10**6), st.integers(0, 10**6))
def test_round_trips(notation, n_blocks, names, first, second):
    space = state_space(n_blocks)
    text = notation(names[:n_blocks])
    state = space.state(first % len(space.below))
    assert text.parse_state(text.state(state)) == state
    for action in legal_actions(state):
        assert text.parse_action(text.action(action)) == action
    goal = goal_of(space.state(second % space.n_free))
    if goal.atoms():
        assert text.parse_goal(text.goal(goal)) == goal
        plan = Oracle(goal).plan(state)
        assert text.parse_plan(text.plan(plan)) == plan


@every_notation
def test_a_goal_may_want_a_block_on_the_table(notation):
    goal = make_goal([(1, TABLE), (0, 2)], 3)
    assert notation("abc").parse_goal(notation("abc").goal(goal)) == goal


def test_english_is_that_of_planbench():
    english = English("abcd")
    goal = make_goal([(2, 1)], 4)
    assert english.statement(START, goal) == STATEMENT
    assert english.example(START, goal, Oracle(goal).plan(START)) == STATEMENT + PLAN


def test_plans_are_read_out_of_an_answer():
    english = English("abcd")
    plan = english.parse_plan(PLAN)
    assert [action.operator for action in plan] == ["unstack", "put-down", "pick-up", "stack"]
    answer = f"{STATEMENT}{STATEMENT}1. Unstack the BLUE block from the orange block.\n\n2) put down the blue block"
    assert english.parse_plan(answer + "\n[STATEMENT]\nand so on") == plan[:2]
    assert Compact("abcd").parse_plan("unstack b c put-down b E stack a b") == plan[:2]
    assert Pddl("abcd").parse_plan("(UNSTACK b c) ; first\n(put-down\n b)\n; cost = 2 (unit cost)\n") == plan[:2]


def test_other_wordings_of_a_full_hand():
    english = English("ab")
    for fact in (
        "the hand is holding the red block",
        "the hand is currently holding red block",
        "I am holding the red block",
    ):
        assert english.parse_state(f"{fact} and the blue block is on the table.") == BlocksworldState((HAND, TABLE))
    assert english.parse_state("the red block is in the hand, the blue block is on the table").held == 0


def test_blocks_beyond_the_colors_keep_their_names():
    assert English(["a", "crate7"]).action(Action("stack", 1, 0)) == "stack the crate7 block on top of the red block"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no action"),
        ("lift the red block", "no action in 'lift the red block'"),
        ("pick up the green block", "there is no green block; there are red, blue"),
        ("stack the red block", "stack takes 2 blocks, got 1"),
        ("pick up the red block and the blue block", "cannot read 'and'"),
    ],
)
def test_unreadable_english_actions(line, message):
    with pytest.raises(ValueError, match=message):
        English("ab").parse_action(line)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the red block is on the table", "nothing is said of where the blue block is"),
        ("the red block is near the blue block", "cannot read the fact"),
        ("the red block is on the table and the red block is in the hand", "at two places"),
        ("the red block is in the hand, the hand is empty, the blue block is on the table", "said to be empty"),
        ("the red block is clear, the red block is on the table, the blue block is on the table", "not these blocks"),
    ],
)
def test_unreadable_english_states(text, message):
    with pytest.raises(ValueError, match=message):
        English("ab").parse_state(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b b", "not made of pairs"),
        ("a table", "does not place every block"),
        ("a table a b", "places a block twice"),
        ("a x b table", "there is no block 'x'; there are a, b"),
        ("a b b a", "does not stand on the table"),
    ],
)
def test_unreadable_compact_states(text, message):
    with pytest.raises(ValueError, match=message):
        Compact("ab").parse_state(text)


@pytest.mark.parametrize(
    ("notation", "line", "message"),
    [
        (Compact, "jump a", "there is no action 'jump'"),
        (Compact, "stack a", "stack takes 2 blocks, got 1"),
        (Compact, "", "there is no action ''"),
        (Pddl, "(pick-up a) (put-down a)", "expected one action"),
        (Pddl, "(pick-up c)", "there is no block 'c'"),
        (Pddl, "pick-up a", "line 1: expected a list in parentheses"),
    ],
)
def test_unreadable_actions(notation, line, message):
    with pytest.raises(ValueError, match=message):
        notation("ab").parse_action(line)


@every_notation
def test_names_must_be_different_words(notation):
    for names in (["a", "a"], ["a b"], [""]):
        with pytest.raises(ValueError, match="different names of one word"):
            notation(names)


def test_english_names_must_differ_in_english():
    with pytest.raises(ValueError, match="no distinct English words"):
        English(["a", "red"])
