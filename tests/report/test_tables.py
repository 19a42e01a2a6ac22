import json
import math
import subprocess
import sys
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from elegans.report import tables
from elegans.report.terminal import verdict_table


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (math.inf, "inf"),
        (0.0, "0"),
        (0.004, "0.004"),
        (1.0, "1"),
        (-0.00001, "-1e-5"),
        (12345.0, "12345"),
        (0.98765, "0.988"),
        (2.5e9, "2.5e9"),
    ],
)
def test_number(x, text):
    assert tables.number(x) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "threshold", "text"),
    [
        (1.01, 1.0, 1.02, 0.98, "1.010 [1.000, 1.020]"),
        (12.34, 11.9, 12.8, 0.0, "12.34 [11.90, 12.80]"),
        (1e-5, 0.9e-5, 1.1e-5, 1.0, "1.00e-5 [0.90e-5, 1.10e-5]"),
        (1.0, -math.inf, math.inf, 0.5, "1 (no interval)"),
        (0.5, 0.5, 0.5, 0.1, "0.5 [0.5, 0.5]"),
        (-0.001, -0.02, 0.02, 1.0, "-0.001 [-0.020, 0.020]"),
        (None, None, None, 1.0, "-"),
    ],
)
def test_interval(value, low, high, threshold, text):
    assert tables.interval(value, low, high, threshold) == text


def test_rounding_never_moves_an_end_across_the_threshold():
    shown = tables.interval(0.985, 0.9796, 0.9904, 0.98)
    assert float(shown.split("[")[1].split(",")[0]) < 0.98


def test_exact_values_say_so():
    assert tables.interval(0.25, 0.25, 0.25, 0.1, exact=True) == "0.25 exactly"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (0.2, "0:01"), (161, "2:41"), (3723, "1:02:03"), (200_000, "2 d 7 h")]
)
def test_duration(seconds, text):
    assert tables.duration(seconds) == text


@pytest.mark.parametrize(
    ("seeds", "text"),
    [((0, 1, 2), "3 seeds (0-2)"), ((4,), "1 seed (4)"), ((0, 2, 5), "3 seeds (0, 2, 5)"), ((), "no seeds")],
)
def test_seed_range(seeds, text):
    assert tables.seed_range(seeds) == text


def test_json_has_exactly_the_documented_shape(toy_page):
    document = json.loads(json.dumps(tables.as_json([toy_page]), allow_nan=False))
    assert set(document) == {"studies"}
    (study,) = document["studies"]
    assert set(study) == {"study", "scale", "seeds", "claims", "failed_jobs"}
    assert study["seeds"] == [0, 1, 2]
    assert [(job["arm"], job["seeds"]) for job in study["failed_jobs"]] == [("three", [0])]
    keys = {"name", "verdict", "value", "low", "high", "threshold", "control", "n_seeds", "paper"}
    assert all(set(claim) == keys for claim in study["claims"])
    assert study["claims"][0]["paper"] == "arXiv:2405.04669, Thm 3"
    assert study["claims"][0]["threshold"] == 0.98
    one_seed = study["claims"][-1]
    assert one_seed["low"] is None and one_seed["high"] is None and one_seed["value"] == 1.0


def test_markdown_is_a_function_of_the_results_alone(toy_page):
    text = tables.markdown([toy_page])
    assert text == tables.markdown([replace(toy_page, seconds=1.0, environment={})])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(toy_page.verdicts)
    assert all(line.replace("\\|", "").count("|") == 6 for line in table)
    assert "depth &lt;helps> \\| a & b" in text
    assert "inconclusive: about 5 more seeds would decide" in text
    assert text.startswith("# Results\n") and "\n## toy-study\n" in text


@pytest.mark.parametrize("width", [100, 80])
def test_terminal_table_fits_and_keeps_numbers_whole(toy_page, width):
    out = StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    console.print(verdict_table(toy_page))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for row in tables.verdict_rows(toy_page):
        assert any(row.value in line and row.threshold in line and row.verdict in line for line in lines)


def test_terminal_colors_verdicts(toy_page):
    out = StringIO()
    Console(file=out, width=100, force_terminal=True, color_system="standard").print(verdict_table(toy_page))
    assert "\x1b[32m✓ supported" in out.getvalue()
    assert "\x1b[31m✗ refuted" in out.getvalue()


def test_terminal_says_once_why_several_claims_fail(toy_page):
    verdicts = [replace(v, verdict="not testable", reason="smoke judges nothing") for v in toy_page.verdicts]
    out = StringIO()
    Console(file=out, width=100).print(verdict_table(replace(toy_page, verdicts=verdicts)))
    assert out.getvalue().count("smoke judges nothing") == 1
    assert "toy-study  ·  laptop  ·  3 seeds (0-2)" in out.getvalue()


def test_tables_load_neither_torch_nor_xarray():
    code = "import sys, elegans.report.tables, elegans.report.terminal, elegans.report.site; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "xarray", "pandas", "altair", "rich", "jinja2", "numpy"} & set(loaded)
