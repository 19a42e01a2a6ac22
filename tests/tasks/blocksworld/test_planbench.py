"""PDDL files and split files: what is read, and where a fault is said to be."""

import json

import pytest

from elegans.tasks.blocksworld import (
    DOMAIN,
    Compact,
    Oracle,
    Pddl,
    PddlError,
    blocksworld_of,
    draw_problems,
    from_stacks,
    load_pddl,
    load_split,
    parse_problem,
    problem_pddl,
)
from elegans.tasks.planning import solves

INSTANCE = """
(define (problem BW-rand-4)
(:domain blocksworld-4ops)
(:objects a b c d )
(:init
(handempty)
(on a b)
(on b c)
(ontable c)
(on d a)
(clear d)
)
(:goal
(and
(on a c)
(on b d))
)
)
"""
PLAN = (
    "(unstack d a)\n(put-down d)\n(unstack a b)\n(put-down a)\n(unstack b c)\n(stack b d)\n(pick-up a)\n(stack a c)\n"
)
WHERE = "LLMs-Planning/llm_planning_analysis/instances/blocksworld/generated_basic"


@pytest.fixture
def planbench(tmp_path):
    folder = tmp_path / WHERE
    folder.mkdir(parents=True)
    for number in (2, 10):
        (folder / f"instance-{number}.pddl").write_text(INSTANCE)
    (folder.parent / "generated_domain.pddl").write_text(DOMAIN)
    return tmp_path


def write_split(folder, *entries):
    path = folder / "split.json"
    path.write_text(json.dumps(entries))
    return path


def entry(plan=PLAN, length=8, name="instance-2"):
    return [f"{WHERE}/{name}.pddl", plan, length]


def test_an_instance_is_read():
    problem = parse_problem(INSTANCE)
    assert problem.name == "bw-rand-4" and problem.start == from_stacks([[2, 1, 0, 3]])
    world = blocksworld_of(problem)
    assert world.goal.atoms() == [(0, 2), (1, 3)] and world.notation.names == ("a", "b", "c", "d")
    assert solves(problem, Pddl("abcd").parse_plan(PLAN)) and Oracle(world.goal).distance(problem.start) == 8


def test_problems_round_trip():
    for problem in draw_problems("hard")[:10]:
        again = parse_problem(problem_pddl(problem), notation=Compact)
        assert again.start == problem.start and again.name == f"p-{problem.name}"
        assert blocksworld_of(again).goal == blocksworld_of(problem).goal
        assert blocksworld_of(again).notation.names == blocksworld_of(problem).notation.names


def test_other_collections_names_and_types_are_read():
    text = (
        INSTANCE.replace("ontable", "on-table")
        .replace("handempty", "arm-empty")
        .replace("a b c d )", "a b c d - block)")
    )
    assert parse_problem(text).start == parse_problem(INSTANCE).start
    single = INSTANCE.replace("(and\n(on a c)\n(on b d))", "(on a c)")
    assert blocksworld_of(parse_problem(single)).goal.atoms() == [(0, 2)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(on b c)\n", "", "line 10: nothing says where b is"),
        ("(on b c)", "(on b x)", "line 8: there is no block 'x'"),
        ("(on b c)", "(on b)", "line 8: there is no atom 'on' of 1 blocks"),
        ("(on b c)", "(on b b)", "line 11: block a does not stand on the table"),
        ("(clear d)", "(clear a)", "line 11: clear must name the blocks with nothing on them; look at a, d"),
        ("(handempty)\n", "", "line 10: handempty must hold"),
        ("(on d a)", "(on d a) (ontable d)", "line 10: d is at two places"),
        ("(on b d)", "(clear d)", "line 16: a goal of 'clear' is not supported"),
        ("(on b d)", "(on a d)", "line 16: the goal wants block a at two places"),
        ("a b c d )", "a b b d )", "line 4: blocks need different names"),
        ("(:objects a b c d )\n", "", "line 2: the problem has no :objects"),
        ("(clear d)\n)", "(clear d)\n", "line 2: a \\( without its \\)"),
        ("(on b d))\n)", "(on b d)))\n)", "line 18: a \\) without its \\("),
        ("(define", "(:define", "line 1: expected one \\(define"),
    ],
)
def test_faults_are_said_with_their_line(old, new, message):
    assert old in INSTANCE
    with pytest.raises(PddlError, match=message):
        parse_problem(INSTANCE.replace(old, new))


def test_a_split_is_read(planbench):
    items = load_split(write_split(planbench, entry(), entry(name="instance-10")))
    assert [item.problem.name for item in items] == ["generated_basic/instance-2", "generated_basic/instance-10"]
    assert all(item.problem.optimal_length == len(item.plan) == 8 for item in items)
    assert all(solves(item.problem, item.plan) for item in items)
    inside = load_split(planbench / "split.json", planbench / "LLMs-Planning")
    assert [item.problem.name for item in inside] == [item.problem.name for item in items]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([["a.pddl", PLAN]], r"split.json, item 2: expected \[path, plan, length\]"),
        ([entry(length=6)], "item 2: the plan has 8 actions, not 6"),
        ([entry(plan="(pick-up d)\n", length=1)], "item 2: the plan does not solve .*instance-2.pddl"),
        ([entry(plan="(pick-up d)\n(jump)\n")], "item 2: in the plan, there is no action 'jump'"),
    ],
)
def test_faults_of_a_split_are_said_with_their_item(planbench, wrong, message):
    with pytest.raises(ValueError, match=message):
        load_split(write_split(planbench, entry(), *wrong))


def test_faults_of_files_name_them(planbench):
    with pytest.raises(FileNotFoundError, match=r"item 1: no file .*instance-3.pddl in .*is this the folder"):
        load_split(write_split(planbench, entry(name="instance-3")))
    broken = planbench / WHERE / "instance-2.pddl"
    broken.write_text(INSTANCE.replace("(on b c)", "(on b x)"))
    with pytest.raises(ValueError, match=r"instance-2.pddl, line 8: there is no block 'x'"):
        load_split(write_split(planbench, entry()))
    path = planbench / "split.json"
    path.write_text('[\n["a.pddl",\n]')
    with pytest.raises(ValueError, match=r"split.json, line 3: not JSON"):
        load_split(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"split.json, line 1: expected a list"):
        load_split(path)


def test_a_folder_is_read_in_the_order_of_its_numbers(planbench):
    assert [p.name.split("/")[-1] for p in load_pddl(planbench)] == ["instance-2", "instance-10"]
    assert load_pddl(planbench / WHERE / "instance-10.pddl")[0].name == "instance-10"
    (planbench / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no PDDL problem"):
        load_pddl(planbench / "empty")
