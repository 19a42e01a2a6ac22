"""The protocol on a world of a few lines: a counter that may add one or double."""

from dataclasses import dataclass

import pytest

from elegans.tasks.planning import Problem, execute, shortest_plan, solves


@dataclass(frozen=True)
class Counter:
    target: int
    most: int = 100

    def actions(self, state):
        return [name for name, after in (("add", state + 1), ("double", 2 * state)) if after <= self.most]

    def apply(self, state, action):
        if action not in self.actions(state):
            raise ValueError(f"cannot {action} {state}")
        return state + 1 if action == "add" else 2 * state

    def is_goal(self, state):
        return state == self.target

    def goal_fraction(self, state):
        return float(self.is_goal(state))

    def render_state(self, state):
        return str(state)

    def render_action(self, action):
        return action


def counting(target, start=1, most=100):
    return Problem(Counter(target, most), start, f"to-{target}")


def test_states_of_a_plan():
    assert execute(Counter(10), 2, ["double", "add", "double"]) == [2, 4, 5, 10]


def test_an_illegal_action_is_named_by_its_step():
    with pytest.raises(ValueError, match=r"^step 2: cannot double 60$"):
        execute(Counter(10), 59, ["add", "double", "add"])


@pytest.mark.parametrize(
    ("plan", "answer"),
    [
        (["double", "double", "add", "double"], True),
        (["double", "double", "add", "double", "add"], False),
        (["double", "jump"], False),
        ([], False),
    ],
)
def test_a_plan_solves_if_it_is_legal_and_ends_at_the_goal(plan, answer):
    assert solves(counting(10), plan) is answer


def test_shortest_plans():
    assert shortest_plan(counting(10)) == ["add", "double", "add", "double"]
    assert shortest_plan(counting(1)) == []
    assert shortest_plan(counting(5, start=6)) is None


def test_search_gives_up_at_its_limit():
    with pytest.raises(ValueError, match="more than max_states = 20"):
        shortest_plan(counting(99), max_states=20)
