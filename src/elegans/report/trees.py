"""Searched trees: depth to the right, siblings below each other, one tree at a time.

A node is a state; the link that ends in it is the action that led there, whose name stands on the link.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from elegans.report import shaping, theme, traces
from elegans.report.tidy import spans, tidy

if TYPE_CHECKING:
    import xarray as xr

    from elegans.report.traces import Trace
    from elegans.study import Trees

MAX_TREES = 40
MAX_NODES = 2000
"""Nodes of one tree."""
MAX_ALL_NODES = 12_000
"""Nodes of all trees of a figure together."""
MARKS_PER_NODE = 3
MAX_STATE = 1500
"""Letters of a state in a tooltip."""
TITLE_WIDTH, PLAN_LINES = 130, 5

ROW, MIN_HEIGHT, MAX_HEIGHT = 21, 160, 760
"""Pixels from node to node, where there is room, and of the whole."""
TRUNK = 0.14
"""Where the links of a node part, in columns right of it."""
LABEL_ROOM = 13
"""Pixels that a label needs above its link."""
COLUMN_PIXELS, ROW_PIXELS = "abs(scale('x', 1) - scale('x', 0))", "abs(scale('y', 1) - scale('y', 0))"
MIN_SIZE, MAX_SIZE = 25, f"pow(clamp({ROW_PIXELS}, 8, 20), 2) * PI / 4"
"""Areas in square pixels of the least and the most visited node; the latter grows with the space as one zooms in."""

GRAY, PICKED = theme.PALETTE[-1], theme.PALETTE[1]
RAMP = theme.colors(5, ordered=True)
DOT = "M0.45,0A0.45,0.45,0,1,1,-0.45,0A0.45,0.45,0,1,1,0.45,0Z"
STAR = "M0,-1.25L0.32,-0.44L1.19,-0.39L0.52,0.17L0.73,1.01L0,0.55L-0.73,1.01L-0.52,0.17L-1.19,-0.39L-0.32,-0.44Z"
CROSS = "M-1,-0.7L-0.7,-1L0,-0.3L0.7,-1L1,-0.7L0.3,0L1,0.7L0.7,1L0,0.3L-0.7,1L-1,0.7L-0.3,0Z"
SHAPES = {"visited": "circle", "goal": STAR, "only judged": DOT, "refused": CROSS}
"""The kinds of nodes, with their marks."""

NUMBERS = ("tree", "node", "last", "x", "y", "up_x", "up_y", "free", "visits", "value", "chosen")
ON_PICKED_PATH = "(picked.node && datum.node <= picked.node[0] && picked.node[0] <= datum.last)"
HANDLING = (
    "Actions are named where there is room; pointing at a node tells all, a click marks the path to it. "
    "Drag to move, turn the wheel with Ctrl held to zoom, double-click for the whole."
)


def trees(figure: Trees, data: xr.DataArray, notes: list[str]) -> tuple[Any, int]:
    """Trees to choose from, and the number of marks of the largest. Raises ValueError for a text that is no tree."""
    data = shaping.fit(figure, data, [figure.x])
    if data.sizes.get("seed", 1) > 1:
        notes.append(f"Seed {data['seed'].values[0]} is shown, the first of {data.sizes['seed']}; the CSV has all.")
    first = data.isel(seed=0, drop=True) if "seed" in data.dims else data
    first = shaping.thin(first, figure.x, MAX_TREES, notes)
    names = shaping.labels(first, figure.x, named=True)
    read = {name: _read(figure, name, text) for name, text in zip(names, first.values.tolist(), strict=True)}
    found = {name: trace for name, trace in read.items() if trace}
    if not found:
        raise ValueError(f"figure {figure.name!r}: its data hold no tree")
    if absent := [name for name in names if name not in found]:
        notes.append(f"No tree is stored for {', '.join(absent)}.")
    shown = _pruned(found, notes)
    if len(found) > 1:
        notes.append(f"The list chooses one of {len(found)} trees; pictures show the first.")
    notes.append(HANDLING)

    frames = [_rows(number, trace) for number, trace in enumerate(shown)]
    place = _place(frames)
    data_of_all = _inline(pd.concat(frames, ignore_index=True))
    chart = alt.layer(*_links(place), _nodes(figure, frames, place), _labels(place), data=data_of_all)
    chart = chart.transform_filter("datum.tree == shown").add_params(_choice(figure, list(found)))
    title = alt.TitleParams(_by_tree(_titles(shown)), lineHeight=18, offset=12)
    height = int(np.clip(ROW * (max(_greatest(frames, "y")) + 1), MIN_HEIGHT, MAX_HEIGHT))
    num_marks = MARKS_PER_NODE * max(map(len, frames))
    return chart.properties(title=title, width=theme.WIDTH, height=height), num_marks


def table(figure: Trees, data: xr.DataArray) -> pd.DataFrame:
    """All nodes of all trees and seeds, one row each, in full precision."""
    data = shaping.fit(figure, data, [figure.x])
    parts = []
    for index, text in np.ndenumerate(data.values):
        where = {str(dim): data[dim].values[place] for dim, place in zip(data.dims, index, strict=True)}
        if trace := _read(figure, str(where[figure.x]), text):
            nodes = trace.nodes.drop(columns="above")
            parts.append(pd.concat([pd.DataFrame(where, index=nodes.index), nodes], axis=1))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _read(figure: Trees, name: str, text: Any) -> Trace | None:
    """The tree; None where nothing is stored: an empty text, or the gap that joining arms leaves."""
    if not isinstance(text, str):
        if pd.isna(text):
            return None
        raise ValueError(f"figure {figure.name!r}: the tree of {name!r} is a {type(text).__name__}, not a text")
    try:
        return traces.read(text) if text else None
    except ValueError as error:
        raise ValueError(f"figure {figure.name!r}: the tree of {name!r} {error}") from None


def _pruned(found: Mapping[str, Trace], notes: list[str]) -> list[Trace]:
    limit = min(MAX_NODES, MAX_ALL_NODES // len(found))
    cut = {name: len(trace.nodes) for name, trace in found.items() if len(trace.nodes) > limit}
    if cut:
        where = ", ".join(cut) if len(cut) <= 3 else f"{len(cut)} trees"
        notes.append(
            f"Of up to {max(cut.values())} nodes of {where} the {limit} most visited are drawn; the CSV has all."
        )
    return [traces.prune(trace, limit) for trace in found.values()]


# ------------------------------------------------------------------------------------------------ data


def _rows(number: int, trace: Trace) -> pd.DataFrame:
    """What is drawn of a tree: its nodes with their places, kinds and texts."""
    nodes, above = trace.nodes, trace.nodes["above"].tolist()
    depth = [0] * len(above)
    for row, parent in enumerate(above[1:], 1):
        depth[row] = depth[parent] + 1
    frame = pd.DataFrame({"tree": number, "x": depth, "y": tidy(above)})
    frame[["node", "last"]] = np.array(spans(above)) + number * MAX_NODES
    for axis in ("x", "y"):
        frame[f"up_{axis}"] = frame[axis].take(above).to_numpy(dtype=float)
    frame.loc[0, ["up_x", "up_y"]] = np.nan
    frame["free"] = _free(frame, nodes["chosen"].to_numpy())
    kinds = [nodes["invalid"].notna(), nodes["goal"].eq(True), nodes["visits"].gt(0) | nodes["above"].lt(0)]
    frame["kind"] = np.select(kinds, ["refused", "goal", "visited"], "only judged")
    shown = nodes.drop(columns=["id", "parent", "goal", "terminal", "above"]).astype({"chosen": int})
    shown["state"] = shown["state"].map(_shortened, na_action="ignore")
    return pd.concat([frame, shown], axis=1)


def _free(frame: pd.DataFrame, chosen: np.ndarray) -> np.ndarray:
    """Rows that are free for each label: up to the node above, and away from the label of the chosen path."""
    gap = frame.sort_values("y").groupby("x")["y"].diff().reindex(frame.index)
    path = dict(zip(frame["x"][chosen], frame["y"][chosen], strict=True))
    away = [abs(y - path.get(x, np.nan)) for x, y in zip(frame["x"], frame["y"], strict=True)]
    return np.where(chosen, np.nan, np.fmin(gap, away))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_STATE else f"{text[:MAX_STATE]} ..."


def _inline(frame: pd.DataFrame) -> alt.InlineData:
    parse = {name: "number" if name in NUMBERS else "string" for name in frame.columns}
    values = frame.to_csv(index=False, lineterminator="\n", float_format="%.5g")
    return alt.InlineData(values=values, format=alt.CsvDataFormat(parse=parse, type="csv"))


# ------------------------------------------------------------------------------------------------ marks


def _by_tree(values: Sequence[Any]) -> Any:
    """The expression for the value of the tree that is shown."""
    return alt.expr(f"{json.dumps(values)}[shown]")


def _greatest(frames: Sequence[pd.DataFrame], name: str) -> list[float]:
    """Of each tree, and at least 1."""
    return [max(1, *frame[name].tolist()) for frame in frames]


def _place(frames: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """The axes that all layers share: each tree fills the panel."""
    depths = _greatest(frames, "x")
    depth, rows = _by_tree(depths), _by_tree(_greatest(frames, "y"))
    steps = _by_tree([list(range(int(depth) + 1)) for depth in depths])
    axis = alt.Axis(title="actions from the start", values=steps, format="d", grid=False, domain=False, ticks=False)
    return {
        "x": alt.X("x:Q", scale=alt.Scale(domain=[0, depth], nice=False, padding=14), axis=axis),
        "y": alt.Y("y:Q", scale=alt.Scale(domain=[0, rows], nice=False, padding=12, reverse=True), axis=None),
    }


def _links(place: Mapping[str, Any]) -> Iterator[alt.Chart]:
    """All links as one line with gaps; the chosen path over them; the path to the picked node over both."""
    xs = f"[datum.up_x, datum.up_x + {TRUNK}, datum.up_x + {TRUNK}, datum.x, null]"
    ys = "[datum.up_y, datum.up_y, datum.y, datum.y, null]"
    looks: list[tuple[str, dict[str, Any]]] = [
        ("true", {"color": GRAY, "strokeWidth": 1, "opacity": 0.6}),
        ("datum.chosen", {"color": "currentColor", "strokeWidth": 3, "opacity": 0.85}),
        (ON_PICKED_PATH, {"color": PICKED, "strokeWidth": 3}),
    ]
    for condition, look in looks:
        links = alt.Chart().transform_filter(f"isValid(datum.up_x) && {condition}")
        corners = links.transform_calculate(xs=xs, ys=ys).transform_flatten(["xs", "ys"], ["x", "y"])
        yield corners.mark_line(order=False, **look).encode(**place)


def _nodes(figure: Trees, frames: Sequence[pd.DataFrame], place: Mapping[str, Any]) -> alt.Chart:
    """Colored by value, as large as they were visited, shaped by kind; the scales are each tree's own."""
    refused, visited = "datum.kind == 'refused'", "datum.visits > 0"
    color = alt.Color(
        "value:Q",
        scale=alt.Scale(domain=_stops(frames), range=RAMP),
        title=figure.y_label or "value",
        legend=alt.Legend(orient="top", gradientLength=130),
        condition=[_where(refused, "currentColor"), _where("!isValid(datum.value)", GRAY)],
    )
    most = _greatest(frames, "visits")
    few = [sorted({1, max(1, round(greatest / 4)), greatest}) for greatest in most]
    size = alt.Size(
        "visits:Q",
        scale=alt.Scale(domain=[0, _by_tree(most)], range=[MIN_SIZE, alt.expr(MAX_SIZE)]),
        legend=alt.Legend(orient="top", symbolStrokeWidth=0, values=_by_tree(few)),
        condition=[_where(refused, 50), _where(f"!({visited})", 100)],
    )
    kinds = [kind for kind in SHAPES if kind in set().union(*(frame["kind"] for frame in frames))]
    shape = alt.Shape(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[SHAPES[kind] for kind in kinds]),
        title="node",
        legend=alt.Legend(orient="top", symbolStrokeWidth=0),
    )
    mark = alt.Chart().mark_point(
        filled=True,
        invalid=None,
        opacity=1,
        stroke="currentColor",
        strokeWidth=alt.expr(f"datum.chosen || {ON_PICKED_PATH} ? 1.5 : {visited} ? 0.6 : 0"),
        fillOpacity=alt.expr(f"{visited} || {refused} ? 1 : 0.55"),
        tooltip=alt.expr(_tooltip(figure, list(dict.fromkeys(str(name) for frame in frames for name in frame)))),
        cursor="pointer",
    )
    encoded = mark.encode(**place, color=color, size=size, shape=shape, order="visits:Q")
    return encoded.add_params(
        alt.selection_point(name="picked", fields=["node"], toggle=False),
        alt.selection_interval(name="window", bind="scales", zoom="wheel![event.ctrlKey || event.metaKey]"),
    )


def _where(test: str, value: Any) -> dict[str, Any]:
    return {"test": test, "value": value}


def _stops(frames: Sequence[pd.DataFrame]) -> list[Any]:
    """The values of each tree that the colors of the ramp stand for."""
    ends = []
    for values in (frame["value"].dropna() for frame in frames):
        low, high = (min(values), max(values)) if len(values) else (0.0, 0.0)
        ends.append((low - 0.5, high + 0.5) if low == high else (low, high))
    lows, highs = np.array(ends).T
    return [_by_tree(stops.tolist()) for stops in np.linspace(lows, highs, len(RAMP))]


def _labels(place: Mapping[str, Any]) -> alt.Chart:
    """The action on the link to each node: on the chosen and the picked path always, else where there is room."""
    roomy = f"!isValid(datum.free) || datum.free * {ROW_PIXELS} >= {LABEL_ROOM}"
    label = alt.Chart().transform_filter("isValid(datum.up_x)").transform_calculate(x=f"datum.up_x + {TRUNK}")
    return label.mark_text(
        align="left",
        baseline="bottom",
        dx=3,
        dy=-1,
        fontSize=11,
        fontWeight=alt.expr("datum.chosen ? 'bold' : 'normal'"),
        limit=alt.expr(f"{1 - TRUNK} * {COLUMN_PIXELS} - 12"),
        text=alt.expr(f"datum.chosen || {ON_PICKED_PATH} || {roomy} ? datum.action : ''"),
    ).encode(**place)


def _choice(figure: Trees, names: Sequence[str]) -> alt.Parameter:
    """Which tree is shown: a list to choose from, if there are several."""
    label = f"{figure.x_label or figure.x} "
    several = alt.binding_select(options=list(range(len(names))), labels=list(names), name=label)
    return alt.param(name="shown", value=0, bind=several if len(names) > 1 else alt.Undefined)


def _tooltip(figure: Trees, columns: Sequence[str]) -> str:
    """The expression for a table of what is known of a node."""
    factors = [name for name in columns if name.startswith(traces.FACTOR)]
    names = ["invalid", "state", "visits", "value", "reward", "estimate", *factors, "goal_fraction"]
    titles = {"invalid": "refused", "value": figure.y_label or "value", "goal_fraction": "share of the goal"}
    parts = ["{title: datum.action || 'the start'}"]
    for name in names:
        field = f"datum[{json.dumps(name)}]"
        parts.append(f"(isValid({field}) && {field} !== '' ? {{{json.dumps(titles.get(name, name))}: {field}}} : {{}})")
    return f"merge({', '.join(parts)})"


def _titles(shown: Sequence[Trace]) -> list[list[str]]:
    """What came of each search, what it cost, and its plan; equally many lines of each, for which room is made once."""
    titles = [_title(trace.search) for trace in shown]
    longest = max(map(len, titles))
    return [[*title, *[""] * (longest - len(title))] for title in titles]


def _title(search: Mapping[str, Any]) -> list[str]:
    plan, shortest, fault = (
        [str(action) for action in search["plan"]],
        search.get("optimal_length"),
        search.get("fault"),
    )
    known = "" if shortest is None else f" (shortest: {shortest})"
    costs = {
        "iterations": search["iterations"],
        "nodes expanded": search["expanded"],
        "passes": search["passes"],
        "tokens read": search["read_tokens"],
        "generated": search["generated_tokens"],
        "status": search["status"] + (f" ({fault})" if fault else ""),
    }
    cost = ", ".join(f"{name}: {value}" for name, value in costs.items())
    return [
        f"{search['problem']}: {'solved' if search['solved'] else 'not solved'}, plan of length {len(plan)}{known}",
        *textwrap.wrap(cost, TITLE_WIDTH, max_lines=2, placeholder=" ..."),
        *textwrap.wrap(f"plan: {'; '.join(plan) or 'none'}", TITLE_WIDTH, max_lines=PLAN_LINES, placeholder=" ..."),
    ]
