"""Draw a study's figures with Altair, in one house style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from elegans.report import charts, heatmap, theme, trees
from elegans.study import Bars, Curves, Figure, Heatmap, Trees

if TYPE_CHECKING:
    import xarray as xr

MANY_MARKS = 3000
"""Above this many marks in view a browser draws on a canvas, which stays quick."""


def draw(figure: Figure, data: xr.DataArray) -> Any:
    """The Altair chart of `figure` for the array that its `data` function returned.

    What a reader must know beyond the caption (averaging, clipping, thinning) is in its ``usermeta["notes"]``. Raises
    ValueError if the array's dimensions do not fit the figure or it holds nothing to draw.
    """
    notes: list[str] = []
    if isinstance(figure, Curves):
        chart, num_marks = charts.curves(figure, data, notes)
    elif isinstance(figure, Bars):
        chart, num_marks = charts.bars(figure, data, notes)
    elif isinstance(figure, Heatmap):
        chart, num_marks = heatmap.heatmap(figure, data, notes)
    elif isinstance(figure, Trees):
        chart, num_marks = trees.trees(figure, data, notes)
    else:
        raise TypeError(f"figure {figure.name!r} is a {type(figure).__name__}, not Curves, Bars, Heatmap or Trees")
    options = {"actions": False, "renderer": "canvas" if num_marks > MANY_MARKS else "svg"}
    meta = {"notes": notes, "embedOptions": options}
    return chart.properties(description=figure.caption, usermeta=meta).configure(**theme.CONFIG)


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The Vega-Lite specification of `chart`, its data inside."""
    # Altair built every part of the chart from its schema; checking the whole again takes longer than all the rest.
    return chart.to_dict(validate=False)


def table(figure: Figure, data: xr.DataArray) -> pd.DataFrame:
    """The numbers of `figure` in full precision: a row per number, or per node of searched trees."""
    return trees.table(figure, data) if isinstance(figure, Trees) else to_frame(data)


def to_frame(data: xr.DataArray) -> pd.DataFrame:
    """`data` in long form: one row per number, in full precision."""
    name = str(data.name) if data.name is not None and data.name not in data.coords else "value"
    if not data.dims:
        return pd.DataFrame([{name: data.item()}])
    return data.to_dataframe(name=name).reset_index()
