"""Curves and bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from elegans.report import encodings, shaping, theme

if TYPE_CHECKING:
    import xarray as xr

    from elegans.study import Bars, Curves

MAX_POINTS = 2400
"""Points of all curves of a figure together; at least 50 and at most 200 for each."""
FEW_POINTS = 25
"""Up to this many points a curve shows them."""
CURVE = "datum.rule == null"
MEAN_BAR = "datum.rule == null && datum.seed == null"
SEED_POINT = "datum.seed != null"


def curves(figure: Curves, data: xr.DataArray, notes: list[str]) -> tuple[Any, int]:
    """A line per color (mean over seeds) in a band (their range), and the number of marks."""
    data = shaping.arrange(figure, data, [figure.facet, figure.color, figure.x])
    numeric = shaping.is_numeric(data, figure.x)
    if numeric:
        data = data.sortby(figure.x)
    banded = shaping.say_seeds(data, notes, "Lines are means over {} seeds, bands their range.")

    xs: Any = data[figure.x].values if numeric else shaping.labels(data, figure.x)
    if numeric and figure.log_x:
        xs = shaping.clip_to_positive(xs.astype(float), notes, "horizontal")[0]
    dims = encodings.facet_and_color(figure, data) | {"x": list(xs)}
    frame = shaping.rows(shaping.over_seeds(data), dims).dropna(subset=["mean"])
    num_lines = len(dims.get("facet", "x")) * len(dims.get("color", "x"))
    limit = int(np.clip(MAX_POINTS // num_lines, 50, 200))
    frame = shaping.thin_lines(frame, [name for name in dims if name != "x"], limit, notes, log=figure.log_x)
    if figure.log_y:
        frame[[*shaping.STATISTICS]], _ = shaping.clip_to_positive(
            frame[[*shaping.STATISTICS]].to_numpy(), notes, "vertical"
        )
    rules = shaping.visible_rules(figure.rules, figure.log_y, notes)
    frame = encodings.with_rules(frame, rules, dims)

    title = encodings.y_title(figure, data)
    y = {"title": title, "scale": encodings.scale(figure.log_y, zero=_near_zero(frame["mean"]))}
    base = alt.Chart().encode(x=_curve_x(figure, dims, numeric), **encodings.color(figure, data, dims))
    base = base.transform_filter(CURVE)
    mean = alt.Y("mean:Q", **y)
    tips = encodings.tooltips(figure, dims, shaping.STATISTICS if banded else ["mean"], title, numeric_x=numeric)
    dots: dict[str, Any] = (
        {"size": 28, "opacity": 1} if data.sizes[figure.x] <= FEW_POINTS else {"size": 90, "opacity": 0}
    )
    layers = [
        base.mark_line(strokeWidth=2).encode(y=mean, **encodings.dash(figure, data, dims)),
        base.mark_point(filled=True, **dots).encode(y=mean, tooltip=tips),
        *encodings.rule_layers(rules, y, dims),
    ]
    if banded:
        layers.insert(0, base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", **y), y2="high:Q"))
    table = encodings.inline(frame, numeric_x=numeric)
    return encodings.assemble(layers, table, dims, theme.WIDTH, 300), len(frame)


def bars(figure: Bars, data: xr.DataArray, notes: list[str]) -> tuple[Any, int]:
    """A bar per x and color (mean over seeds) with a point per seed, and the number of marks."""
    data = shaping.arrange(figure, data, [figure.facet, figure.color, figure.x])
    several = shaping.say_seeds(data, notes, "Bars are means over {} seeds, points the single seeds.")
    dims = encodings.facet_and_color(figure, data) | {"x": shaping.labels(data, figure.x)}
    frame = shaping.rows({"mean": shaping.over_seeds(data, ["mean"])["mean"]}, dims).assign(seed=None)
    if several:
        single = shaping.rows({"mean": data}, dims | {"seed": data["seed"].values.tolist()})
        frame = pd.concat([frame.astype(object), single.astype(object)], ignore_index=True)
    frame["mean"] = frame["mean"].astype(float)
    floor: Any = alt.Undefined
    if figure.log_y:
        frame["mean"], floor = shaping.clip_to_positive(frame["mean"].to_numpy(), notes, "vertical")
        floor = alt.Y2Datum(min(floor, 10.0 ** np.floor(np.log10(frame["mean"].min()))))
    rules = shaping.visible_rules(figure.rules, figure.log_y, notes)
    frame = encodings.with_rules(frame.dropna(subset=["mean"]), rules, dims)

    snug = len(dims["x"]) * len(dims.get("color", "x")) * 46 + 40
    width = theme.WIDTH if "facet" in dims else int(np.clip(snug, 160, theme.WIDTH))
    label_angle = encodings.angle(dims["x"], encodings.panel_width(dims, width))
    axis = alt.Axis(labelAngle=label_angle, labelOverlap=False, ticks=False)
    place: dict[str, Any] = {"x": alt.X("x:N", sort=dims["x"], title=figure.x_label or figure.x, axis=axis)}
    if "color" in dims:
        place["xOffset"] = alt.XOffset("color:N", sort=dims["color"])
    title = encodings.y_title(figure, data)
    y = {"title": title, "scale": encodings.scale(figure.log_y, zero=True)}
    tips = encodings.tooltips(figure, dims, ["mean"], title)
    bar = alt.Chart().transform_filter(MEAN_BAR).mark_bar(opacity=0.85)
    bar = bar.encode(
        y=alt.Y("mean:Q", stack=None, **y), y2=floor, tooltip=tips, **place, **encodings.color(figure, data, dims)
    )
    layers = [bar]
    if several:
        point = (
            alt.Chart().transform_filter(SEED_POINT).mark_point(filled=True, size=24, opacity=0.7, color="currentColor")
        )
        tips = [alt.Tooltip("seed:Q"), *tips]
        layers.append(point.encode(y=alt.Y("mean:Q", **y), tooltip=tips, **place))
    layers += encodings.rule_layers(rules, y, dims)
    return encodings.assemble(layers, encodings.inline(frame), dims, width, 280), len(frame)


def _curve_x(figure: Curves, dims: encodings.Dims, numeric: bool) -> alt.X:
    title, xs, width = figure.x_label or figure.x, list(dims["x"]), encodings.panel_width(dims, theme.WIDTH)
    if not numeric:
        return alt.X("x:O", title=title, sort=xs, axis=alt.Axis(labelAngle=encodings.angle(xs, width)))
    whole = all(float(x).is_integer() for x in xs)
    by_one: dict[str, Any] = {"tickMinStep": 1, "format": ",d"} if whole and not figure.log_x else {}
    values = xs if (figure.log_x or whole) and len(xs) <= 10 else alt.Undefined
    axis = alt.Axis(values=values, tickCount=width // 80, **by_one)
    return alt.X("x:Q", title=title, scale=encodings.scale(figure.log_x, zero=False, nice=False), axis=axis)


def _near_zero(values: Any) -> bool:
    low, high = min(values), max(values)
    return 0 <= low <= 0.4 * high or 0.4 * low <= high <= 0
