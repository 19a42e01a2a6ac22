"""Parts that the kinds of figures share: data, scales, color, facets, tooltips, reference rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from elegans.report import shaping, theme

if TYPE_CHECKING:
    import xarray as xr

    from elegans.study import Bars, Curves, Figure

NUMERIC = frozenset({*shaping.STATISTICS, "seed", "stop"})
LETTER = 6.6
"""Mean width in pixels of a letter of a label."""

Dims = Mapping[str, Sequence[Any]]
"""The axes of a figure's rows (facet, color, x, ...) with their labels in order."""


def inline(frame: pd.DataFrame, *, numeric_x: bool = False) -> alt.InlineData:
    """`frame` as a part of the specification, in a form that takes few bytes."""
    numeric = NUMERIC | {"x"} if numeric_x else NUMERIC
    parse = {name: "number" if name in numeric else "string" for name in frame.columns}
    return alt.InlineData(values=shaping.as_csv(frame), format=alt.CsvDataFormat(parse=parse, type="csv"))


def facet_and_color(figure: Curves | Bars, data: xr.DataArray) -> dict[str, Any]:
    """The first axes of a figure's rows: its facets and its colors, where it has them."""
    dims = {"facet": shaping.labels(data, figure.facet, named=True)} if figure.facet else {}
    if figure.color and figure.color != figure.x:
        dims["color"] = shaping.labels(data, figure.color)
    return dims


def y_title(figure: Figure, data: xr.DataArray) -> str:
    """What the vertical axis says."""
    return figure.y_label or str(data.name or "")


def scale(log: bool, **options: Any) -> alt.Scale:
    """A linear or logarithmic scale; `zero` and the like apply to the linear one."""
    return alt.Scale(type="log", nice=False) if log else alt.Scale(**options)


def angle(labels: Sequence[str], width: float) -> int:
    """The angle of axis labels: flat if they fit into `width`, else slanted, or upright if there are very many."""
    room = width / max(len(labels), 1)
    longest = max((len(str(label)) for label in labels), default=0)
    if longest * LETTER + 8 <= room or longest <= 3:
        return 0
    return -35 if room >= 14 else -90


def color(figure: Curves | Bars, data: xr.DataArray, dims: Dims) -> dict[str, Any]:
    """The color encoding: one legend above the figure, or one color for all."""
    if figure.color and figure.color == figure.x:
        values = list(dims["x"])
        return {"color": alt.Color("x:N", scale=_color_scale(values, ordered=False), legend=None)}
    if "color" not in dims:
        return {"color": alt.value(theme.PALETTE[0])}
    values = list(dims["color"])
    entry = max(len(value) for value in values) * LETTER + 40
    numeric = shaping.is_numeric(data, figure.color)
    legend = alt.Legend(
        orient="top",
        direction="horizontal",
        title=figure.color if numeric else None,
        columns=max(1, min(len(values), int(theme.WIDTH // entry))),
        symbolType="stroke" if hasattr(figure, "log_x") else "square",
        symbolOpacity=1,
    )
    return {"color": alt.Color("color:N", sort=values, scale=_color_scale(values, ordered=numeric), legend=legend)}


def dash(figure: Curves, data: xr.DataArray, dims: Dims) -> dict[str, Any]:
    """A line pattern as well, where there are more lines than colors."""
    values = list(dims.get("color", ()))
    if len(values) <= len(theme.PALETTE) or shaping.is_numeric(data, figure.color):
        return {}
    return {"strokeDash": alt.StrokeDash("color:N", scale=alt.Scale(domain=values, range=theme.dashes(len(values))))}


def _color_scale(values: list[str], *, ordered: bool) -> alt.Scale:
    return alt.Scale(domain=values, range=theme.colors(len(values), ordered=ordered))


# ------------------------------------------------------------------------------------------------ facets


def num_columns(dims: Dims) -> int:
    """Panels per row."""
    num = len(dims.get("facet", ())) or 1
    return num if num <= 3 else 2 if num == 4 else 3


def panel_width(dims: Dims, width: int) -> int:
    """The inner width of one panel, so that a row of them is `width` wide with its axes."""
    columns = num_columns(dims)
    return (width - (columns - 1) * 60) // columns


def facet(dims: Dims) -> alt.Facet:
    """The facet encoding, panels in the order of the data."""
    return alt.Facet("facet:N", title=None, sort=list(dims["facet"]), header=alt.Header(labelFontWeight="bold"))


def assemble(layers: Sequence[alt.Chart], data: alt.InlineData, dims: Dims, width: int, height: int) -> Any:
    """The layers over one table, in one panel or in one per facet."""
    size = {"width": panel_width(dims, width), "height": height if num_columns(dims) == 1 else round(height * 0.75)}
    if "facet" not in dims:
        return alt.layer(*layers, data=data).properties(**size)
    return alt.layer(*layers).properties(**size).facet(data=data, facet=facet(dims), columns=num_columns(dims))


# ------------------------------------------------------------------------------------------------ tooltips and rules


def tooltips(figure: Any, dims: Dims, statistics: Sequence[str], title: str, *, numeric_x: bool = False) -> list[Any]:
    """What hovering over a mark tells: where it is, and its numbers."""
    names = {"facet": figure.facet, "color": getattr(figure, "color", ""), "y": getattr(figure, "y", ""), "x": figure.x}
    where = [
        alt.Tooltip(key, type="quantitative" if key == "x" and numeric_x else "nominal", title=name)
        for key, name in names.items()
        if key in dims
    ]
    what = {"mean": title or "value", "low": "lowest seed", "high": "highest seed"}
    return where + [alt.Tooltip(f"{name}:Q", title=what[name], format=".4~g") for name in statistics]


def with_rules(frame: pd.DataFrame, rules: Mapping[str, float], dims: Dims) -> pd.DataFrame:
    """`frame` with a row per reference rule and facet, told apart by the column ``rule``."""
    frame = frame.assign(rule=None)
    if not rules:
        return frame
    facets = [{"facet": name} for name in dims["facet"]] if "facet" in dims else [{}]
    extra = pd.DataFrame([{"rule": name, "mean": float(at), **panel} for panel in facets for name, at in rules.items()])
    return pd.concat([frame.astype(object), extra.astype(object)], ignore_index=True)


def rule_layers(rules: Mapping[str, float], y: Mapping[str, Any], dims: Dims) -> list[alt.Chart]:
    """A dashed line per reference rule with its name: at its right end or, between facets, above it inside the panel."""
    if not rules:
        return []
    every = alt.Chart().transform_filter("datum.rule != null").encode(y=alt.Y("mean:Q", **y))
    inside = "facet" in dims
    name = every.mark_text(
        align="right" if inside else "left",
        baseline="bottom" if inside else "middle",
        dx=-4 if inside else 6,
        dy=-3 * inside,
    )
    return [every.mark_rule(strokeDash=[5, 4], opacity=0.7), name.encode(x=alt.value("width"), text="rule:N")]
