"""Heat maps: one color scale for all panels and slider positions."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from elegans.report import encodings, shaping, theme

if TYPE_CHECKING:
    import xarray as xr

    from elegans.study import Heatmap

MAX_SIDE = 120
MAX_CELLS = 100_000
MAX_STOPS = 20


def heatmap(figure: Heatmap, data: xr.DataArray, notes: list[str]) -> tuple[Any, int]:
    """A matrix with its first row on top (mean over seeds), one panel per facet, and the number of marks in view."""
    data = shaping.arrange(figure, data, [figure.facet, figure.slider, figure.y, figure.x])
    shaping.say_seeds(data, notes, "Means over {} seeds.")
    mean = shaping.over_seeds(data, ["mean"])["mean"]
    if figure.slider:
        mean = shaping.thin(mean, figure.slider, MAX_STOPS, notes)
    num_panels = mean.size // (mean.sizes[figure.x] * mean.sizes[figure.y])
    side = min(MAX_SIDE, math.isqrt(MAX_CELLS // num_panels))
    mean = shaping.block_mean(mean, {figure.x: side, figure.y: side}, notes)

    dims: dict[str, Any] = {"facet": shaping.labels(mean, figure.facet, named=True)} if figure.facet else {}
    stops = shaping.labels(mean, figure.slider) if figure.slider else []
    if stops:
        dims["stop"] = list(range(len(stops)))
    dims |= {"y": shaping.labels(mean, figure.y), "x": shaping.labels(mean, figure.x)}
    frame, shared = _without_empty_lines(shaping.rows({"mean": mean}, dims))

    panel = encodings.panel_width(dims, theme.WIDTH - 40)
    cell_width = max(1, min(36, panel // len(dims["x"])))
    cell_height = max(1, min(max(cell_width, 22), 480 // len(dims["y"])))
    width, height = cell_width * len(dims["x"]), cell_height * len(dims["y"])
    x_axis = alt.Axis(labelAngle=encodings.angle(dims["x"], width), labelOverlap=len(dims["x"]) > 12, ticks=False)
    title = str(data.name or "value")
    chart: Any = alt.Chart(encodings.inline(frame)).mark_rect()
    chart = chart.encode(
        x=alt.X("x:O", sort=dims["x"], title=figure.x_label or figure.x, axis=x_axis),
        y=alt.Y("y:O", sort=dims["y"], title=figure.y_label or figure.y, axis=alt.Axis(ticks=False)),
        color=alt.Color(
            "mean:Q", scale=_scale(mean), title=title, legend=alt.Legend(gradientLength=max(60, min(200, height)))
        ),
        tooltip=encodings.tooltips(figure, dims, ["mean"], title),
    ).properties(width=width, height=height, view=alt.ViewConfig(fill="#80808026"))
    if stops:
        chart = chart.transform_filter("datum.stop == at")
    if figure.facet:
        chart = chart.facet(encodings.facet(dims), columns=encodings.num_columns(dims))
        if not shared:
            chart = chart.resolve_scale(x="independent", y="independent")
    if stops:
        notes.append(f"The slider steps through {figure.slider}; it starts at the last.")
        chart = _with_slider(chart, figure.slider, stops)
    return chart, len(frame) // max(len(stops), 1)


def _with_slider(chart: Any, name: str, stops: list[str]) -> Any:
    last = len(stops) - 1
    at = alt.param(name="at", value=last, bind=alt.binding_range(min=0, max=last, step=1, name=name))
    shown = alt.TitleParams(alt.expr(f"{json.dumps(name + ' ')} + {json.dumps(stops)}[at]"))
    return chart.add_params(at).properties(title=shown)


def _without_empty_lines(frame: Any) -> tuple[pd.DataFrame, bool]:
    """`frame` without lines of a panel that hold no number at all, and whether all panels keep the same ones."""
    known = frame[frame["mean"].notna()]
    panels = [name for name, _ in frame.groupby("facet")] if "facet" in frame else [None]
    kept, axes = [], set()
    for name in panels:
        here, seen = (frame, known) if name is None else (frame[frame["facet"] == name], known[known["facet"] == name])
        xs, ys = seen["x"].unique(), seen["y"].unique()
        kept.append(here[here["x"].isin(xs) & here["y"].isin(ys)])
        axes.add((frozenset(xs), frozenset(ys)))
    return pd.concat(kept, ignore_index=True), len(axes) == 1


def _scale(data: xr.DataArray) -> alt.Scale:
    """Diverging about zero if the data lie on both sides of it, else sequential over their range."""
    low, high = float(data.min()), float(data.max())
    if low < 0 < high:
        end = max(-low, high)
        return alt.Scale(scheme="blueorange", domain=[-end, end])
    if low == high:
        low, high = (low - 0.5, high + 0.5)
    return alt.Scale(scheme="viridis", domain=[float(f"{low:.4g}"), float(f"{high:.4g}")])
