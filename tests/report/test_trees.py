import csv
import io
import itertools
import json
import re

import numpy as np
import pytest
import vl_convert
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.report import figures, traces
from elegans.report.site import study_page, write_site
from elegans.report.tidy import spans, tidy
from elegans.report.trees import MAX_NODES, SHAPES
from elegans.study import Arm, Paper, Results, Study, Trees

from .browser import Visit, visit
from .conftest import StudyPage, ToyConfig

FIGURE = Trees(name="searched", caption="Searched trees.", data=lambda r: r["one"].tree, x="problem")


def node(name: str, **known) -> dict:
    """A visited node of a trace; its parent is in its name, as in ``0.2.1``."""
    above = None if name == "root" else name.rpartition(".")[0] or "root"
    empty = {"action": None if above is None else f"go {name}", "state": f"at {name}\nin line two", "visits": 1}
    numbers = {"value": 0.5, "reward": 0.25, "estimate": 0.25, "goal_fraction": 0.0}
    flags = {"goal": False, "terminal": False, "invalid": None, "chosen": False}
    factors = {} if above is None else {"likelihood": -1 / 3}
    return {"id": name, "parent": above, "factors": factors, **empty, **numbers, **flags, **known}


def judged(name: str, **known) -> dict:
    unknown = dict.fromkeys(["state", "value", "reward", "goal_fraction", "goal"])
    return node(name, **{"visits": 0, **unknown, **known})


def trace_of(*nodes: object, **known) -> str:
    outcome = {"status": "iterations", "fault": None, "solved": True, "plan": ["go 0", "go 0.1"], "optimal_length": 2}
    costs = {"iterations": 3, "expanded": 2, "passes": 4, "read_tokens": 50, "generated_tokens": 6, "seconds": 0.1}
    return json.dumps({"format": 1, "problem": "p", **outcome, **costs, "nodes": list(nodes), **known})


SMALL = trace_of(
    node("root", visits=3, value=2.0, chosen=True),
    node("0", visits=2, value=4.0, chosen=True),
    judged("0.0"),
    node("0.1", value=10.0, goal=True, terminal=True, chosen=True),
    node("1", value=None),
    judged("2", invalid="a wall is there"),
)
ALONE = trace_of(node("root", chosen=True), problem="alone", plan=[], solved=False, status="fault", fault="no answer")


def array(*texts: object, **coords) -> xr.DataArray:
    names = [f"maze {number}" for number in range(len(texts))]
    return xr.DataArray(np.array(texts, dtype=object), dims="problem", coords={"problem": names, **coords})


def spec_of(data: xr.DataArray, figure: Trees = FIGURE) -> dict:
    spec = figures.specification(figures.draw(figure, data))
    json.dumps(spec, allow_nan=False)
    assert vl_convert.vegalite_to_svg(spec).startswith("<svg")
    return spec


def rows_of(spec: dict) -> list[dict[str, str]]:
    (text,) = spec["datasets"].values()
    return list(csv.DictReader(io.StringIO(text)))


# ------------------------------------------------------------------------------------------------ layout

parents_of_trees = st.lists(st.integers(0, 10**6), max_size=60).map(
    lambda drawn: [-1, *(number % (place + 1) for place, number in enumerate(drawn))]
)


def depths(parents: list[int]) -> list[int]:
    found = [0]
    for parent in parents[1:]:
        found.append(found[parent] + 1)
    return found


def path(parents: list[int], row: int) -> list[int]:
    return [*(path(parents, parents[row]) if parents[row] >= 0 else []), row]


@given(parents_of_trees)
def test_nodes_of_one_depth_keep_apart_and_links_do_not_cross(parents):
    places, depth = tidy(parents), depths(parents)
    for level in set(depth):
        rows = sorted((row for row in range(len(parents)) if depth[row] == level), key=places.__getitem__)
        assert all(places[b] - places[a] >= 1 - 1e-9 for a, b in itertools.pairwise(rows))
        above = [places[parents[row]] for row in rows if row]
        assert above == sorted(above)


@given(parents_of_trees)
def test_parents_are_centered_over_children_that_keep_their_order(parents):
    places = tidy(parents)
    assert min(places) == 0
    for row in range(len(parents)):
        children = [places[child] for child, parent in enumerate(parents) if parent == row]
        assert children == sorted(children)
        if children:
            assert places[row] == pytest.approx((children[0] + children[-1]) / 2)


def test_subtrees_move_together_until_they_touch():
    # Below the first child there are three leaves, below the second nothing, below the third one chain.
    assert tidy([-1, 0, 1, 1, 1, 0, 0, 6]) == [2.0, 1.0, 0.0, 1.0, 2.0, 2.0, 3.0, 3.0]


def test_a_long_chain_is_a_straight_line():
    assert set(tidy([-1, *range(1500)])) == {0.0}


@given(parents_of_trees)
def test_a_span_holds_a_node_and_what_is_below_it(parents):
    found = spans(parents)
    for row, (number, _) in enumerate(found):
        inside = [above for above, (first, last) in enumerate(found) if first <= number <= last]
        assert sorted(inside) == path(parents, row)


@settings(max_examples=30)
@given(parents_of_trees, st.integers(1, 60), st.data())
def test_pruning_keeps_a_tree_of_the_most_visited(parents, limit, data):
    visits = data.draw(st.lists(st.integers(0, 5), min_size=len(parents), max_size=len(parents)))
    names = ["root"]
    for row, parent in enumerate(parents[1:], 1):
        names.append(f"{row}" if parent == 0 else f"{names[parent]}.{row}")
    trace = traces.read(trace_of(*(node(name, visits=n) for name, n in zip(names, visits, strict=True))))
    kept = traces.prune(trace, limit).nodes
    assert len(kept) == min(limit, len(parents))
    assert [kept["id"][row] if row >= 0 else None for row in kept["above"]] == [
        None if name == "root" else name.rpartition(".")[0] or "root" for name in kept["id"]
    ]


# ------------------------------------------------------------------------------------------------ drawing


def test_every_kind_of_node_is_drawn():
    spec = spec_of(array(SMALL))
    rows = rows_of(spec)
    assert [row["kind"] for row in rows] == ["visited", "visited", "only judged", "goal", "visited", "refused"]
    assert [row["x"] for row in rows] == ["0", "1", "2", "2", "1", "1"]
    assert [row["chosen"] for row in rows] == ["1", "1", "0", "1", "0", "0"]
    assert rows[3]["state"] == "at 0.1\nin line two" and rows[2]["state"] == ""
    assert rows[3]["factor likelihood"] == "-0.33333" and rows[5]["invalid"] == "a wall is there"
    shape = spec["layer"][3]["encoding"]["shape"]["scale"]
    assert shape == {"domain": list(SHAPES), "range": list(SHAPES.values())}
    svg = vl_convert.vegalite_to_svg(spec)
    for text in ("p: solved, plan of length 2 (shortest: 2)", "plan: go 0; go 0.1", "tokens read: 50", ">go 0.1<"):
        assert text in svg


def test_a_tree_of_one_node_and_a_fault_are_drawn():
    svg = vl_convert.vegalite_to_svg(spec_of(array(ALONE)))
    assert "alone: not solved" in svg and "status: fault (no answer)" in svg and "plan: none" in svg


def test_several_trees_are_chosen_from_a_list():
    spec = spec_of(array(SMALL, ALONE))
    choice = next(param for param in spec["params"] if param["name"] == "shown")
    assert choice["value"] == 0
    assert choice["bind"] == {
        "input": "select",
        "options": [0, 1],
        "labels": ["maze 0", "maze 1"],
        "name": "problem ",
    }
    assert "The list chooses one of 2 trees; pictures show the first." in spec["usermeta"]["notes"]
    single = next(param for param in spec_of(array(SMALL))["params"] if param["name"] == "shown")
    assert "bind" not in single
    first, last = (max(int(r["last"]) for r in rows_of(spec) if r["tree"] == tree) for tree in "01")
    assert first < last


def test_the_first_seed_is_shown_and_gaps_are_named():
    texts = np.array([[SMALL, ALONE], [np.nan, SMALL], ["", ""]], dtype=object)
    data = xr.DataArray(texts, dims=("problem", "seed"), coords={"problem": ["a", "b", "c"], "seed": [4, 5]})
    spec = spec_of(data)
    assert len(rows_of(spec)) == 6
    assert spec["usermeta"]["notes"][:2] == [
        "Seed 4 is shown, the first of 2; the CSV has all.",
        "No tree is stored for b, c.",
    ]
    table = figures.table(FIGURE, data)
    assert table.groupby(["problem", "seed"]).size().to_dict() == {("a", 4): 6, ("a", 5): 1, ("b", 5): 6}


def test_the_table_has_every_node_in_full_precision():
    table = figures.table(FIGURE, array(SMALL))
    assert table["id"].tolist() == ["root", "0", "0.0", "0.1", "1", "2"]
    assert table["factor likelihood"].tolist()[1:] == [-1 / 3] * 5
    assert table["problem"].unique().tolist() == ["maze 0"]
    assert table["state"].tolist()[3] == "at 0.1\nin line two"


def test_large_trees_lose_what_was_least_visited_and_stay_small():
    branches = [node(f"{i}", visits=2 if i == 70 else 1) for i in range(90)]
    leaves = [judged(f"{i}.{k}") for i in range(90) for k in range(40)]
    spec = spec_of(array(trace_of(node("root", visits=90), *branches, *leaves)))
    rows = rows_of(spec)
    assert len(rows) == MAX_NODES and sum(row["kind"] == "visited" for row in rows) == 91
    assert sum(row["action"].startswith("go 70.") for row in rows) == 40
    assert (
        "Of up to 3691 nodes of maze 0 the 2000 most visited are drawn; the CSV has all." in spec["usermeta"]["notes"]
    )
    assert spec["usermeta"]["embedOptions"]["renderer"] == "canvas"
    assert len(json.dumps(spec)) < 5e5


def test_texts_survive_the_store(tmp_path):
    stored = xr.Dataset({"tree": array(SMALL, ALONE).expand_dims(seed=[0])})
    (tmp_path / "a.nc").write_bytes(bytes(stored.to_netcdf(engine="h5netcdf")))
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as dataset:
        read = dataset.load().tree
    assert rows_of(spec_of(read)) == rows_of(spec_of(array(SMALL, ALONE)))


def test_what_the_search_traces_is_drawn():
    from elegans.reasoning.search import MCTS, Budget, Composite, GoalFraction, RandomReward, trace
    from elegans.tasks.countdown import draw_countdown

    (problem,) = draw_countdown(1)
    rewards = Composite([RandomReward(), GoalFraction(problem.world)])
    result = MCTS(rewards=rewards, depth_limit=3, budget=Budget(iterations=5)).search(problem)
    rows = rows_of(spec_of(array(json.dumps(trace(result)))))
    assert len(rows) == sum(1 for _ in result.tree.root.walk())
    assert {"factor random", "factor goal-fraction"} <= set(rows[0])


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON: "),
        ("[1, 2]", "is not the trace of a search: it has no 'format'"),
        (trace_of(format=2), "has format 2; this version reads format 1"),
        (trace_of(), "is broken: it has no nodes"),
        (trace_of(node("root"), iterations="ten"), "is broken: the search has 'ten' as 'iterations'"),
        (trace_of(["root"]), r"is broken: node 0 is \['root'\]"),
        (trace_of(node("root", value="high")), "is broken: node 0 has 'high' as 'value'"),
        (trace_of(node("root", factors={"ll": "x"})), "is broken: a factor of node 0 has 'x' as 'll'"),
        (trace_of({k: v for k, v in node("root").items() if k != "visits"}), "is broken: node 0 has no 'visits'"),
        (trace_of(node("0")), "is broken: node 0 has the parent 'root', which is not before it"),
        (trace_of(node("root"), node("0.1")), "is broken: node 1 has the parent '0', which is not before it"),
        (trace_of(node("root"), node("root", parent="root")), "is broken: two nodes have the id 'root'"),
        (1.5, "is a float, not a text"),
    ],
)
def test_what_is_no_tree_is_refused_in_one_line_that_names_figure_and_tree(text, message):
    with pytest.raises(ValueError, match=f"^figure 'searched': the tree of 'maze 1' {message}") as refused:
        figures.draw(FIGURE, array(SMALL, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (xr.DataArray([SMALL], dims="task"), "needs dimension 'problem'"),
        (xr.DataArray([[SMALL, SMALL]], dims=("problem", "arm")), "dimension 'arm' has no place"),
        (array("", ""), "its data hold no tree"),
    ],
)
def test_data_that_do_not_fit_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        figures.draw(FIGURE, data)


# ------------------------------------------------------------------------------------------------ in a browser

HAND = """
const list = document.querySelector('select');
list.selectedIndex = 1;
list.dispatchEvent(new Event('change'));
setTimeout(() => {
  const nodes = document.querySelectorAll('.mark-symbol.role-mark path');
  const point = nodes[2].getBoundingClientRect();
  const at = {bubbles: true, clientX: point.x + point.width / 2, clientY: point.y + point.height / 2};
  nodes[2].dispatchEvent(new MouseEvent('click', at));
  nodes[2].dispatchEvent(new PointerEvent('pointermove', at));
}, 500);
"""


def drawn(page: Visit) -> str:
    """The drawing, without the specification behind it."""
    return page.document.split('<div class="plate', 1)[1].split('<script type="application/json"')[0]


def test_a_tree_is_chosen_and_a_node_clicked(tmp_path):
    study = Study(
        name="search",
        title="Search",
        paper=Paper(arxiv="2410.01707", title="t", authors="a"),
        question="?",
        arms={"laptop": {"one": Arm("toy:experiment", ToyConfig())}},
        claims=[],
        figures=[FIGURE],
    )
    results = Results({"one": xr.Dataset({"tree": array(ALONE, SMALL)})})
    page = StudyPage(
        study=study, scale="laptop", seeds=(0,), arms=study.arms["laptop"], results=results, verdicts=(), command="x"
    )
    write_site([page], tmp_path / "site", formats=("png",))
    assert (tmp_path / "site/figures/search/searched.png").read_bytes().startswith(b"\x89PNG")
    before = visit(study_page(tmp_path / "site", "search"), tmp_path)
    assert before.console == () and before.requests == () and before.plates() == ["drawn"]
    assert ">alone: not solved" in drawn(before) and 'aria-label="problem "' in before.document
    after = visit(study_page(tmp_path / "site", "search"), tmp_path, script=HAND)
    assert after.console == ()
    assert ">p: solved" in drawn(after) and ">alone: not solved" not in drawn(after)
    tooltip = after.document.split('id="vg-tooltip-element"')[1]
    assert "<h2>go 0.1</h2>" in tooltip and "at 0.1\nin line two" in tooltip
    before_and_after = [re.findall(r'<path [^>]*stroke="#d55e00"[^>]*>', drawn(page)) for page in (before, after)]
    assert [len(paths) for paths in before_and_after] == [0, 1]
    assert before_and_after[1][0].count("M") == 2  # links from the root to the node clicked
