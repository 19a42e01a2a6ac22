import csv
import io
import json

import numpy as np
import pytest
import vl_convert
import xarray as xr

from elegans.report import figures, shaping
from elegans.study import Bars, Curves, Figure, Heatmap


def spec_of(figure: Figure, data: xr.DataArray) -> dict:
    spec = figures.specification(figures.draw(figure, data))
    json.dumps(spec, allow_nan=False)
    assert vl_convert.vegalite_to_svg(spec).startswith("<svg")
    return spec


def rows_of(spec: dict) -> list[dict[str, str]]:
    (text,) = spec["datasets"].values() if "datasets" in spec else [spec["data"]["values"]]
    return list(csv.DictReader(io.StringIO(text)))


def curves(**kwargs) -> Curves:
    return Curves(name="f", caption="c", data=lambda r: None, **({"x": "step"} | kwargs))  # type: ignore[arg-type]


def array(shape, dims, **kwargs) -> xr.DataArray:
    return xr.DataArray(np.random.default_rng(0).random(shape), dims=dims, **kwargs)


def test_curves_are_means_with_ranges_over_seeds():
    data = xr.DataArray([[1.0, 2.0], [3.0, np.nan]], dims=("seed", "step"), coords={"step": [0, 10]})
    spec = spec_of(curves(), data)
    (first, second) = rows_of(spec)
    assert (first["mean"], first["low"], first["high"]) == ("2", "1", "3")
    assert (second["mean"], second["low"], second["high"]) == ("2", "2", "2")
    assert spec["usermeta"]["notes"] == ["Lines are means over 2 seeds, bands their range."]


def test_curves_that_end_at_different_steps_keep_their_own_points():
    a = array(300, ("step",), coords={"step": np.arange(300) * 3})
    b = array(200, ("step",), coords={"step": np.arange(200) * 5})
    data = xr.concat([a, b], "arm", join="outer").assign_coords(arm=["a", "b"])
    rows = rows_of(spec_of(curves(color="arm"), data))
    for arm, last in (("a", 897), ("b", 995)):
        steps = [int(row["x"]) for row in rows if row["color"] == arm]
        assert len(steps) == 200 and steps[0] == 0 and steps[-1] == last


def test_log_axes_say_where_they_clip():
    data = xr.DataArray([0.0, 0.02, 5.0], dims=("step",), coords={"step": [0, 10, 100]})
    spec = spec_of(curves(log_y=True, log_x=True, rules={"chance": 0.5, "nothing": 0.0}), data)
    assert [row["mean"] for row in rows_of(spec)] == ["0.01", "0.02", "5", "0.5"]
    assert [float(row["x"] or "nan") for row in rows_of(spec)][:3] == [1, 10, 100]
    notes = " ".join(spec["usermeta"]["notes"])
    assert "drawn at 0.01 on the logarithmic vertical axis" in notes
    assert "cannot show nothing (0)" in notes
    assert "drawn at 1 on the logarithmic horizontal axis" in notes


def test_rules_are_drawn_in_every_facet():
    spec = spec_of(curves(facet="layer", rules={"chance": 0.5, "floor": 0.1}), array((3, 5), ("layer", "step")))
    rules = [row for row in rows_of(spec) if row["rule"]]
    assert {(row["facet"], row["rule"]) for row in rules} == {
        (f"layer {i}", rule) for i in range(3) for rule in ("chance", "floor")
    }


def test_many_lines_get_patterns_and_numbers_get_a_ramp():
    many = array((12, 5), ("arm", "step"), coords={"arm": [f"arm {i}" for i in range(12)]})
    assert "strokeDash" in json.dumps(spec_of(curves(color="arm"), many)["layer"][0]["encoding"])
    ramp = spec_of(curves(color="width"), array((12, 5), ("width", "step")))
    colors = ramp["layer"][0]["encoding"]["color"]["scale"]["range"]
    assert len(set(colors)) == 12
    assert "strokeDash" not in ramp["layer"][0]["encoding"]


def test_bars_show_every_seed():
    data = array((2, 3, 4), ("arm", "split", "seed"), coords={"arm": ["a", "b"], "split": ["train", "id", "ood"]})
    figure = Bars(name="f", caption="c", data=lambda r: data, x="arm", color="split", rules={"chance": 0.1})
    rows = rows_of(spec_of(figure, data))
    assert sum(row["seed"] != "" for row in rows) == 24
    assert sum(row["seed"] == "" and row["rule"] == "" for row in rows) == 6
    logarithmic = Bars(name="f", caption="c", data=lambda r: data, x="arm", facet="split", color="arm", log_y=True)
    spec_of(logarithmic, data)


def test_heat_maps_share_a_scale_that_is_centered_where_signs_differ():
    data = xr.DataArray([[[-1.0, 3.0]], [[0.5, np.nan]]], dims=("head", "q", "k"))
    figure = Heatmap(name="f", caption="c", data=lambda r: data, x="k", y="q", facet="head")
    assert spec_of(figure, data)["spec"]["encoding"]["color"]["scale"]["domain"] == [-3, 3]
    assert spec_of(figure, abs(data))["spec"]["encoding"]["color"]["scale"]["domain"] == [0.5, 3]
    constant = xr.zeros_like(data)
    assert spec_of(figure, constant)["spec"]["encoding"]["color"]["scale"]["domain"] == [-0.5, 0.5]


def test_panels_with_other_labels_get_their_own_axes():
    a = xr.DataArray(np.ones((1, 2)), dims=("q", "k"), coords={"k": ["x", "y"]})
    b = xr.DataArray(np.ones((1, 2)), dims=("q", "k"), coords={"k": ["y", "z"]})
    data = xr.concat([a, b], "prompt", join="outer").assign_coords(prompt=["one", "two"])
    figure = Heatmap(name="f", caption="c", data=lambda r: data, x="k", y="q", facet="prompt")
    spec = spec_of(figure, data)
    assert spec["resolve"]["scale"] == {"x": "independent", "y": "independent"}
    assert {(row["facet"], row["x"]) for row in rows_of(spec)} == {
        ("one", "x"),
        ("one", "y"),
        ("two", "y"),
        ("two", "z"),
    }


def test_large_heat_maps_are_block_means_and_say_so():
    data = xr.DataArray(np.arange(250 * 130, dtype=float).reshape(250, 130), dims=("q", "k"))
    figure = Heatmap(name="f", caption="c", data=lambda r: data, x="k", y="q")
    spec = spec_of(figure, data)
    assert len(rows_of(spec)) == 84 * 65
    assert float(rows_of(spec)[0]["mean"]) == pytest.approx(data.values[:3, :2].mean(), rel=1e-4)
    assert "mean of a block of 2 (k) x 3 (q)" in spec["usermeta"]["notes"][0]
    assert spec["usermeta"]["embedOptions"]["renderer"] == "canvas"


def test_repeated_tokens_stay_apart():
    data = array((2, 4), ("q", "k"), coords={"k": ["A", "B", "A", ""]})
    figure = Heatmap(name="f", caption="c", data=lambda r: data, x="k", y="q")
    assert spec_of(figure, data)["encoding"]["x"]["sort"] == ["0: A", "1: B", "2: A", "3: "]


def test_specifications_stay_small():
    data = array((24, 4, 90, 90, 2), ("epoch", "head", "q", "k", "seed"))
    figure = Heatmap(name="f", caption="c", data=lambda r: data, x="k", y="q", facet="head", slider="epoch")
    assert len(json.dumps(spec_of(figure, data))) < 2e6


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (xr.DataArray([1.0, 2.0], dims=("epoch",)), "needs dimension 'step'"),
        (xr.DataArray(np.ones((2, 3)), dims=("head", "step")), "dimension 'head' has no place"),
        (xr.DataArray([np.nan, np.inf], dims=("step",)), "no finite number"),
        (xr.DataArray(np.ones((0,)), dims=("step",)), "no finite number"),
    ],
)
def test_data_that_do_not_fit_are_refused_with_a_reason(data, message):
    with pytest.raises(ValueError, match=message):
        figures.draw(curves(), data)


def test_long_form_keeps_full_precision():
    data = xr.DataArray([[1 / 3, 2 / 3]], dims=("arm", "seed"), coords={"arm": ["a"], "seed": [0, 1]}, name="loss")
    frame = figures.to_frame(data)
    assert list(frame.columns) == ["arm", "seed", "loss"]
    assert frame["loss"].tolist() == [1 / 3, 2 / 3]
    assert figures.to_frame(xr.DataArray(0.25)).to_dict("records") == [{"value": 0.25}]


def test_labels_of_numbers_carry_their_name_in_facets():
    data = array((2, 2), ("layer", "step"), coords={"layer": [1, 2]})
    assert shaping.labels(data, "layer", named=True) == ["layer 1", "layer 2"]
    assert shaping.labels(data.assign_coords(layer=[1_234_567, 1_234_568]), "layer") == ["1234567", "1234568"]
