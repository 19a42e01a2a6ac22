import importlib.util
import itertools

import pytest

from elegans.ops.rng import numpy_rng
from elegans.tasks.blocksworld import Action, draw_problems, legal_actions, step
from elegans.tasks.blocksworld.crosscheck import validate_with_unified_planning
from elegans.tasks.planning import shortest_plan, solves


def plans(problem):
    """A solution, and plans that are incomplete, out of order, aimless, or illegal in the beginning."""
    solution = shortest_plan(problem)
    rng = numpy_rng("crosscheck", problem.name)
    yield solution
    yield solution[:-1]
    yield [solution[int(i)] for i in rng.permutation(len(solution))]
    state, walk = problem.start, []
    for _ in range(4):
        actions = legal_actions(state)
        walk.append(actions[int(rng.integers(len(actions)))])
        state = step(state, walk[-1])
    yield walk
    yield [Action("stack", 0, 0), *solution]
    yield [solution[0], *solution]


def test_verdicts_are_those_of_the_executor():
    pytest.importorskip("unified_planning")
    problems = draw_problems("standard")[::30]
    pairs = list(itertools.chain.from_iterable([(problem, plan) for plan in plans(problem)] for problem in problems))
    verdicts = [validate_with_unified_planning(problem, plan) for problem, plan in pairs]
    assert verdicts == [solves(problem, plan) for problem, plan in pairs]
    assert len(problems) <= sum(verdicts) < len(verdicts) // 2


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    problem = draw_problems("standard")[0]
    with pytest.raises(ValueError, match=r"pip install 'elegans\[pddl\]'"):
        validate_with_unified_planning(problem, [])
