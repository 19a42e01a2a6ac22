import math

import pytest
import torch
from torch import tensor

from elegans.benchmarks import harness
from elegans.benchmarks.document import as_json, as_table, count_goals
from elegans.benchmarks.harness import Case, Contender, Goal, measure


class FakeTime:
    """A clock that stands still but for the contenders; `load` is how much slower the machine is at each reading."""

    def __init__(self, load=lambda now: 1.0):
        self.now, self.load, self.calls = 0.0, load, []

    def __call__(self):
        return self.now

    def contender(self, name, seconds, value=1.0, **more):
        def call():
            self.calls.append(name)
            self.now += seconds * self.load(len(self.calls))
            return [tensor([value])]

        return Contender(name=name, call=call, **more)


def case(*contenders, **more):
    return Case(name="a case", contenders=contenders, **more)


def test_the_ratio_is_to_the_first_contender():
    clock = FakeTime()
    result = measure(case(clock.contender("a", 2.0), clock.contender("b", 3.0)), clock)
    first, second = result.timings
    assert first.ms == pytest.approx(2000) and first.ratio is None
    assert second.ms == pytest.approx(3000) and second.ratio == pytest.approx((1.5, 1.5, 1.5))


def test_quartiles_are_those_of_the_ratios_of_rounds():
    clock = FakeTime()
    lengths = iter([1.0, 1.0, 4.0, 2.0, 6.0])  # check, warm-up, three rounds

    def call():
        clock.now += next(lengths)
        return [tensor([1.0])]

    result = measure(case(clock.contender("a", 2.0), Contender(name="b", call=call)), clock)
    assert result.rounds == 3
    assert result.timings[1].ratio == pytest.approx((1.5, 2.0, 2.5))


def test_load_that_lasts_a_round_does_not_matter():
    clock = FakeTime(load=lambda calls: 1.0 + (calls + 1) // 2)
    result = measure(case(clock.contender("a", 2.0), clock.contender("b", 3.0)), clock)
    assert result.timings[1].ratio == pytest.approx((1.5, 1.5, 1.5))


def test_contenders_take_turns_at_going_first():
    clock = FakeTime()
    measure(case(clock.contender("a", 9.0), clock.contender("b", 9.0)), clock)
    assert "".join(clock.calls) == "ab" + "ab" + "ab" + "ba" + "ab"


@pytest.mark.parametrize("seconds", [1e-4, 0.03, 0.2, 50.0])
def test_short_calls_are_repeated_and_rounds_bounded(seconds):
    clock = FakeTime()
    result = measure(case(clock.contender("a", seconds)), clock)
    low, high = harness.ROUNDS
    assert low <= result.rounds <= high
    repeats = (len(clock.calls) - 2) / result.rounds
    assert repeats == math.ceil(harness.ROUND_SECONDS / seconds)


def test_quick_is_two_calls_without_a_goal():
    clock = FakeTime()
    result = measure(case(clock.contender("a", 1e-4, goal=Goal(at_most=0.5))), clock, quick=True)
    assert len(clock.calls) == 3 and result.rounds == 2
    assert result.timings[0].met is None


@pytest.mark.parametrize(
    ("found", "says"),
    [(1.01, "off by 1.0e-02"), (math.nan, "off by nan"), (math.inf, "off by inf"), ([1.0, 1.0], "shape")],
)
def test_wrong_numbers_are_not_timed(found, says):
    clock = FakeTime()
    wrong = Contender(name="wrong", call=lambda: [tensor(found) if isinstance(found, list) else tensor([found])])
    result = measure(case(clock.contender("right", 1.0), wrong), clock)
    assert result.refused and result.refused.startswith("wrong") and says in result.refused
    assert clock.calls == ["right"]
    assert all(t.ms is None and t.ratio is None for t in result.timings)


def test_too_few_values_are_refused():
    clock = FakeTime()
    result = measure(case(clock.contender("a", 1.0), Contender(name="b", call=lambda: [])), clock)
    assert result.refused == "b has 0 values, not 1"


def test_later_calls_are_checked_too():
    clock = FakeTime()
    values = iter([1.0, 2.0])
    drifting = Contender(name="b", call=lambda: [tensor([next(values)])])
    result = measure(case(clock.contender("a", 1.0), drifting, checks=2), clock)
    assert result.refused and "off by 1.0e+00" in result.refused


def test_a_contender_may_have_its_own_truth():
    clock = FakeTime()
    other = clock.contender("b", 1.0, value=2.0, expected=lambda: [tensor([2.0])])
    assert measure(case(clock.contender("a", 1.0), other), clock).refused is None


def test_what_is_not_installed_is_listed_and_not_timed():
    clock = FakeTime()
    result = measure(case(clock.contender("a", 1.0), Contender(name="peer", call=None, goal=Goal(at_least=2))), clock)
    peer = as_json("name", "about", [result])["cases"][0]["contenders"][1]
    assert peer["installed"] is False and peer["ms"] is None and peer["met"] is None
    assert peer["goal"] == ">= 2"


def test_goals_are_held_against_the_median():
    clock = FakeTime()
    fast, slow = (
        clock.contender(name, 2.0, goal=goal)
        for name, goal in zip("bc", (Goal(at_least=2), Goal(at_most=1)), strict=True)
    )
    result = measure(case(clock.contender("a", 1.0), fast, slow), clock)
    assert [t.met for t in result.timings] == [None, True, False]
    assert count_goals([result]) == "goals: 1 met, 1 missed"


def test_the_table_has_facts_and_refusals(capsys):
    from rich.console import Console

    clock = FakeTime()
    good = measure(case(clock.contender("a", 1.0, facts={"state_bytes": 4096})), clock)
    bad = measure(case(clock.contender("a", 1.0), Contender(name="b", call=lambda: [tensor([5.0])])), clock)
    Console(width=100).print(as_table("name", "about", [good, bad]))
    out = capsys.readouterr().out
    assert "state bytes" in out and "4,096" in out and "1,000.0" in out
    assert "not timed: a case: b: value 0 is off by 4.0e+00" in out


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), harness.num_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
