import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.hash_split import split_of
from elegans.tasks.implicit import (
    KINDS,
    BooleanExpressions,
    CodeReading,
    EquationSystems,
    Expressions,
    PointerReading,
    Relations,
)

quick = settings(max_examples=8, deadline=None)

TASKS = [Expressions(), CodeReading(), Relations(), BooleanExpressions(), EquationSystems(), PointerReading(pattern=2)]
BINARY = [task for task in TASKS if task.choices == ("True", "False")]


def computed(question):
    """The true answer to a question of any task, by means that the tasks do not use."""
    if question.endswith(")="):
        return str(eval(question[:-1]))
    if question.endswith("The result is:"):
        return str(eval(question.split("\n")[0]))
    if question.startswith("The code is"):
        program, given = re.fullmatch(
            r"The code is: \n(.*)The input is: (\d+), so the output is:", question, re.S
        ).groups()
        printed = []
        exec(program, {"input": lambda: given, "print": printed.append})
        return str(printed[0])
    if "cities A and Z" in question:
        component = {city: city for city in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
        for one, other in re.findall(r"^(\w) is connected with (\w)$", question, re.M):
            old, new = component[one], component[other]
            component = {city: new if at == old else at for city, at in component.items()}
        return str(component["A"] == component["Z"])
    if "The solution is" in question:
        lines = [[int(n) for n in re.findall(r"\d+", line)] for line in question.split("\n")[:-1]]
        known = re.search(r"a = (\d+), b", question)
        solutions = [
            b
            for a in ([int(known[1])] if known else range(1, 6))
            for b in range(1, 6)
            if all(k * a + m * b == c for k, m, c in lines)
        ]
        assert len(solutions) == 1
        return str(solutions[0])
    start, *cells = map(int, question.removesuffix("=").split())
    return str(follow(start, cells, 5))


def follow(cell, cells, hops):
    return cells[cell] if hops == 0 else follow(cells[cell] % len(cells), cells, hops - 1)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_the_truth(task, kind):
    @quick
    @given(st.integers(0, 9999), st.sampled_from(["train", "select", "test"]))
    def check(seed, split):
        for item in task.items(kind, 3, split, seed):
            assert item.answer == task.formal(item.question) == computed(item.question)
            assert (task.choices is None) or item.answer in task.choices
            shortcut = task.shortcut(item.question)
            assert {"implicit": shortcut == item.answer, "misleading": shortcut != item.answer}.get(kind, True)

    check()


@pytest.mark.parametrize(
    "task",
    [Expressions(released=True), Relations(released=True), BooleanExpressions(released=True)],
    ids=lambda t: t.name,
)
def test_released_labels_are_the_truth_but_for_code(task):
    for kind in KINDS:
        assert all(item.answer == computed(item.question) for item in task.items(kind, 100))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_splits_share_no_question(task):
    questions = [{item.question for item in task.items("normal", 100, split)} for split in task.splits]
    assert not questions[0] & questions[1] and not questions[0] & questions[2] and not questions[1] & questions[2]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_items_are_distinct_pure_and_nested(task):
    items = task.items("implicit", 60, "test", seed=3)
    assert len({item.question for item in items}) == 60
    assert items[:7] == task.items("implicit", 7, "test", seed=3)
    assert items != task.items("implicit", 60, "test", seed=4)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_vocabulary_covers_every_text(task):
    for kind in KINDS:
        for item in task.items(kind, 100):
            text = task.text(item)
            assert set(text.split() if task.unit == "word" else text) <= set(task.vocabulary())


@pytest.mark.parametrize("task", BINARY, ids=lambda task: task.name)
@pytest.mark.parametrize("kind", KINDS)
def test_half_of_the_binary_answers_are_true(task, kind):
    share = Counter(item.answer for item in task.items(kind, 300))["True"] / 300
    assert abs(share - 0.5) < 0.1


@pytest.mark.parametrize(
    ("task", "rate"),
    [
        (Expressions(), 1 - 40 / 41 * 20 / 21),
        (Relations(), 0.5),
        (BooleanExpressions(), 0.5),
        (EquationSystems(), 0.38),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_shortcut_has_its_stated_rate_on_normal_items(task, rate):
    assert abs(task.shortcut_rate("normal", count=400, split="train") - rate) < 0.08


def test_the_shortcut_reads_code_right_more_often_than_not():
    assert 0.5 < CodeReading().shortcut_rate("normal", count=300, split="train") < 0.65


# ------------------------------------------------------------------------------------------------ repairs


def terms(question):
    return [int(number) for number in re.findall(r"\d+", question)]


def test_terms_stay_in_their_range():
    assert max(max(terms(item.question)) for item in Expressions().items("normal", 500)) <= 20
    assert max(max(terms(item.question)) for item in Expressions(released=True).items("normal", 500)) > 20


def test_the_zero_is_not_written_out():
    literal = re.compile(r"\+\(0\)\*")
    assert not any(literal.search(item.question) for item in Expressions().items("implicit", 500))
    released = Expressions(min_terms=1, max_terms=3, number_range=10, released=True).items("implicit", 500)
    assert 0.25 < sum(bool(literal.search(item.question)) for item in released) / 500 < 0.42


def test_released_misleading_items_are_implicit_by_chance_at_a_rate():
    assert Expressions(released=True).shortcut_rate("misleading", split="train") == pytest.approx(0.07, abs=0.03)
    assert BooleanExpressions(released=True).shortcut_rate("misleading", split="train") == pytest.approx(0.5, abs=0.06)
    assert Relations(released=True).shortcut_rate("misleading", split="train") == 1
    assert EquationSystems(released=True).shortcut_rate("misleading", split="train") == 1


def test_released_boolean_items_lack_the_pattern():
    items = BooleanExpressions(released=True).items("implicit", 200)
    assert all(item.question.split("\n")[0].endswith(")") for item in items)
    assert BooleanExpressions(released=True).shortcut_rate("implicit", split="train") < 0.7


def test_released_groups_shrink():
    def mean_terms(task):
        counts = [re.findall(r"\(([^()]*)\)", item.question) for item in task.items("normal", 300)]
        return [sum(len(groups[i].split()) // 2 + 1 for groups in counts) / 300 for i in range(3)]

    assert max(abs(mean - 3) for mean in mean_terms(BooleanExpressions())) < 0.2
    first, _, last = mean_terms(BooleanExpressions(released=True))
    assert last < first - 0.4


def test_misleading_relations_have_one_length():
    lines = {answer: set() for answer in ("True", "False")}
    for item in Relations().items("misleading", 300):
        lines[item.answer].add(item.question.count("\n"))
    assert lines == {"True": {10}, "False": {10}}


def test_programs_are_many_and_their_first_function_does_not_matter():
    items = CodeReading().items("implicit", 200)
    functions = {item.question[: item.question.index("def function2")] for item in items}
    assert len(functions) > 195
    for item in items[:50]:
        assert computed(re.sub(r"return y % \d+", "return 7", item.question)) == item.answer


def test_released_code_has_one_training_label():
    task = CodeReading(released=True)
    assert len({item.answer for item in task.items("implicit", 50)}) == 1
    assert len({item.answer for item in task.items("implicit", 50, "test")}) > 5
    assert any(item.answer.endswith(".0") for item in task.items("implicit", 50, "test"))
    with pytest.raises(ValueError, match="no misleading items"):
        task.items("misleading", 1)


def test_first_two_equations_are_independent():
    for item in EquationSystems().items("normal", 200):
        k, m, _, p, q, *_ = terms(item.question)
        assert k * q != m * p
        assert item.question.count("\n") == 3


# ------------------------------------------------------------------------------------------------ what is refused


def test_wrong_calls_are_named(monkeypatch):
    with pytest.raises(ValueError, match="kind must be one of implicit, misleading, normal, got 'odd'"):
        Expressions().items("odd", 1)
    with pytest.raises(ValueError, match="no split 'id'; there are train, select, test"):
        Relations().items("normal", 1, "id")
    monkeypatch.setattr("elegans.tasks.implicit.items.TRIES", 300)
    with pytest.raises(ValueError, match=r"equations has only \d+ of 5000 implicit items for split 'test'"):
        EquationSystems().items("implicit", 5000, "test")
    with pytest.raises(ValueError, match="min_terms must be from 1 to 2"):
        Expressions(min_terms=3, max_terms=2)
    with pytest.raises(ValueError, match="n_cities must be from 5"):
        Relations(n_cities=3)
    with pytest.raises(ValueError, match="n_statements"):
        CodeReading(n_statements=(3, 2))


@pytest.mark.parametrize("program", ["import os", "open('x')", "x = [1]", "while True: pass", "print(", "x = y"])
def test_foreign_programs_are_refused(program):
    with pytest.raises(ValueError, match=r"no |not a program"):
        CodeReading().formal(f"The code is: \n{program}\nThe input is: 1, so the output is:")
    with pytest.raises(ValueError, match="not an expression"):
        Expressions().formal("(1+=")


def test_a_hash_divides_six_to_one_to_one():
    counts = Counter(split_of(str(i)) for i in range(8000))
    assert abs(counts["train"] - 6000) < 200 and abs(counts["test"] - 1000) < 120
