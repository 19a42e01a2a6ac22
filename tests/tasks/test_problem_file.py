"""Files of problems: what is read, and where a fault is said to be."""

import json
from fractions import Fraction

import pytest

from elegans.tasks.blocksworld import Compact, English, Pddl, from_stacks, problem_pddl
from elegans.tasks.countdown import Countdown
from elegans.tasks.planning import Problem, solves
from elegans.tasks.problem_file import load_problems

LINE = {"init": [["a", "b"], ["c"]], "goal": [["b", "c"]]}
SUM = {"numbers": [8, 2, 6, 4], "target": 24}


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return path

    return write


def test_stacks_are_from_below(write):
    (problem,) = load_problems(write(LINE))
    assert problem.name == "line-1" and problem.start == from_stacks([[0, 1], [2]])
    assert problem.world.goal.atoms() == [(2, 1)]
    assert problem.world.notation.goal(problem.world.goal) == "the orange block is on top of the blue block"


@pytest.mark.parametrize("notation", [English, Compact, Pddl])
def test_stacks_and_atoms_want_the_same(write, notation):
    goals = ([["c", "a", "b"]], [["on", "b", "a"], ["on", "a", "c"]], [["a", "b"], ["on", "a", "c"]])
    lines = [LINE | {"name": f"p{number}", "goal": goal} for number, goal in enumerate(goals)]
    problems = load_problems(write(*lines), notation=notation)
    assert [problem.name for problem in problems] == ["p0", "p1", "p2"]
    assert len({problem.world.goal for problem in problems}) == 1
    assert solves(problems[0], problems[0].world.notation.parse_plan(_plan(problems[0])))


def _plan(problem):
    names = problem.world.notation
    steps = ["unstack b a", "put-down b", "pick-up a", "stack a c", "pick-up b", "stack b a"]
    return names.plan([Compact("abc").parse_action(step) for step in steps])


def test_a_block_may_be_wanted_on_the_table(write):
    (problem,) = load_problems(write(LINE | {"goal": [["ontable", "b"]]}))
    assert problem.world.notation.goal(problem.world.goal) == "the blue block is on the table"


def test_countdown(write):
    one, other = load_problems(write(SUM, SUM | {"name": "any", "use_all": False}), "countdown")
    assert one.world == Countdown(Fraction(24)) and one.start == (2, 4, 6, 8)
    assert other.name == "any" and not other.world.use_all


def test_pddl_and_folders_of_it_are_read_too(write, tmp_path):
    (problem,) = load_problems(write(LINE), notation=Pddl)
    for name in ("p2.pddl", "p10.pddl"):
        (tmp_path / name).write_text(problem_pddl(problem))
    assert load_problems(tmp_path / "p2.pddl")[0].start == problem.start
    assert [found.name for found in load_problems(tmp_path)] == ["p2", "p10"]
    (tmp_path / "split.json").write_text(json.dumps([["x/p2.pddl", "(pick-up c)\n(stack c b)", 2]]))
    (found,) = load_problems(tmp_path / "split.json", notation=Compact)
    assert found.optimal_length == 2 and found.world.goal == problem.world.goal


def make(value):
    return Problem(Countdown(Fraction(value["wanted"])), (Fraction(1), Fraction(2)), value.get("called", "mine"))


@pytest.fixture
def own(monkeypatch):
    import sys
    import types

    module = types.ModuleType("ones_own")
    module.make, module.number = make, 3
    module.nothing = lambda value: None
    monkeypatch.setitem(sys.modules, "ones_own", module)


def test_a_function_of_ones_own_makes_the_problem(write, own):
    (problem,) = load_problems(write({"wanted": 3}), "ones_own:make")
    assert problem.name == "mine" and problem.world.target == 3


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ("ones_own:nothing", "line 1: ones_own:nothing must return a Problem with a World, got NoneType"),
        ("ones_own:make", "line 1: ones_own:make fails with KeyError: 'wanted'"),
        ("ones_own:number", "number is no function"),
        ("ones_own:absent", "no world 'ones_own:absent'"),
        ("no_such_module:make", "no world 'no_such_module:make'"),
    ],
)
def test_a_world_that_fails_is_named(write, own, world, message):
    with pytest.raises(ValueError, match=message):
        load_problems(write({"other": 3}), world)


BAD = [
    ("{", "not JSON"),
    ("", "the line is empty"),
    ([1], "must be an object, got a list"),
    ({"init": LINE["init"]}, "has no 'goal'"),
    (LINE | {"x": 1}, "unknown key 'x'"),
    (LINE | {"name": 3}, "'name' of the line must be a text"),
    (LINE | {"name": " "}, "'name' is empty"),
    (LINE | {"name": "one"}, "the same name stands in line 1"),
    (LINE | {"init": "abc"}, "'init' of the line must be a list, got a text"),
    (LINE | {"init": [["a"], "b"]}, "stack 2 of 'init' must be a list of names, got a text"),
    (LINE | {"init": [["a"], []]}, "stack 2 of 'init' must be a list of names, got an empty one"),
    (LINE | {"init": [["a", 2]]}, "but one is an integer"),
    (LINE | {"init": [["a", "b"], ["a"]]}, "different names"),
    (LINE | {"init": [["a", "on"]]}, "cannot be called 'on'"),
    (LINE | {"init": [["a", "red"]]}, "no distinct English words"),
    (LINE | {"goal": []}, "wants nothing"),
    (LINE | {"goal": [["a"]]}, "entry 1 of 'goal', a stack of one block, wants nothing"),
    (LINE | {"goal": [["a", "x"]]}, "names 'x', which is not in 'init'"),
    (LINE | {"goal": [["on", "a"]]}, "must be \\['on', x, y\\]"),
    (LINE | {"goal": [["a", "b"], ["a", "c"]]}, "two blocks are on block a"),
    (LINE | {"goal": [["a", "b"], ["b", "a"]]}, "block a does not stand on the table in the end"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_bad_line_is_named_with_its_number_and_reason(write, line, message):
    path = write(LINE | {"name": "one"}, LINE, line if isinstance(line, str) else json.dumps(line), LINE)
    with pytest.raises(ValueError, match=f"line 3: .*{message}"):
        load_problems(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"numbers": [1], "target": 2}, "two or more integers"),
        ({"numbers": [1, 2.5], "target": 2}, "two or more integers"),
        ({"numbers": [1, True], "target": 2}, "two or more integers"),
        ({"numbers": [1, 2], "target": "2"}, "'target' of the line must be an integer"),
    ],
)
def test_a_bad_sum_is_named_with_its_number_and_reason(write, line, message):
    with pytest.raises(ValueError, match=f"line 2: .*{message}"):
        load_problems(write(SUM, line), "countdown")


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.jsonl: cannot be read"):
        load_problems(tmp_path / "none.jsonl")
    for path in (tmp_path, tmp_path / "none.pddl"):
        with pytest.raises(ValueError, match=f"no PDDL problem at {path}"):
            load_problems(path)
    (tmp_path / "split.json").write_text('[["x/none.pddl", "", 1]]')
    with pytest.raises(ValueError, match="no file"):
        load_problems(tmp_path / "split.json")


def test_a_problem_of_a_split_stands_there_once(write, tmp_path):
    (problem,) = load_problems(write(LINE), notation=Pddl)
    (tmp_path / "p.pddl").write_text(problem_pddl(problem))
    (tmp_path / "split.json").write_text(json.dumps([["x/p.pddl", "(pick-up c)\n(stack c b)", 2]] * 2))
    with pytest.raises(ValueError, match="stands there twice"):
        load_problems(tmp_path / "split.json")
