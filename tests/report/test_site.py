import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from elegans.report.site import study_page, write_site
from elegans.report.strip import strip
from elegans.study import Results

from .browser import visit

DRAWN = ("loss", "ramp", "accuracy", "attention", "large")


@pytest.fixture(scope="session")
def vega(tmp_path_factory):
    """A site without studies, whose scripts the tests copy: bundling them takes a second."""
    return write_site([], tmp_path_factory.mktemp("assets")).parent


@pytest.fixture
def site(tmp_path, vega):
    folder = tmp_path / "site"
    (folder / "assets").mkdir(parents=True)
    (folder / "assets/vega.js").symlink_to(vega / "assets/vega.js")
    return folder


def test_everything_is_written_and_linked(site, toy_page):
    index = write_site([toy_page], site)
    assert index == site / "index.html"
    pages = {path: path.read_text() for path in (index, study_page(site, "toy-study"))}
    for path, text in pages.items():
        for address in re.findall(r'(?:href|src|data-svg)="([^"]+)"', text):
            if not address.startswith(("https://arxiv.org/", "https://example.org/", "data:", "#")):
                assert (path.parent / address.split("#")[0]).is_file(), address
    for name in DRAWN:
        assert (site / f"data/toy-study/{name}.csv").is_file()
        assert (site / f"figures/toy-study/{name}.svg").read_text().startswith("<svg")
    assert not [path for path in site.rglob(".*")]


def test_page_says_what_a_reader_needs(site, toy_page):
    write_site([toy_page], site)
    text = study_page(site, "toy-study").read_text()
    for expected in (
        "1.010 [1.001, 1.019] nats",
        "about 5 more seeds would decide",
        "elegans run toy-study --set two.config.lr=0.01",
        "The released code has a switch, <code>&lt;x&gt;</code>, that does nothing.",
        "Results are missing: arm &#39;three&#39; failed on 3 of 3 seeds",
        "KeyError: &#39;a &lt;mistake&gt; in the study&#39;",
        "(preset: 0.001)",
        "one (same seed)",
        "share input and output embeddings",
        "2:41 of compute",
    ):
        assert expected in text
    assert len(text) < 2e6


def test_text_is_escaped_everywhere(site, toy_page):
    index = write_site([toy_page], site)
    for text in (index.read_text(), study_page(site, "toy-study").read_text()):
        assert "<script>alert" not in text
        assert "<b>held" not in text and "<helps>" not in text and "<Theory>" not in text and "<mistake>" not in text
        for spec in re.findall(r'<script type="application/json">(.*?)</script>', text, re.S):
            json.loads(spec)


def test_a_site_grows_study_by_study(site, toy_page):
    write_site([toy_page], site)
    other = replace(
        toy_page,
        study=replace(toy_page.study, name="other", title="Another", figures=()),
        verdicts=toy_page.verdicts[:1],
    )
    index = write_site([other], site)
    text = index.read_text()
    assert 'href="toy-study.html"' in text and 'href="other.html"' in text
    assert "2 supported" in text
    write_site([replace(toy_page, verdicts=())], site)
    assert "2 supported" not in index.read_text() and 'href="other.html"' in index.read_text()


def test_empty_site_says_how_to_begin(vega):
    assert "elegans list" in (vega / "index.html").read_text()


def test_final_numbers(site, toy_page):
    write_site([toy_page], site)
    rows = list(csv.DictReader((site / "data/toy-study/final-numbers.csv").read_text().splitlines()))
    assert {row["variable"] for row in rows} == {"loss", "accuracy[split=train]", "accuracy[split=ood]"}
    loss = toy_page.results["one"].loss.isel(step=-1)
    found = [float(row["value"]) for row in rows if row["arm"] == "one" and row["variable"] == "loss"]
    assert found == loss.values.tolist()


def test_results_without_seeds_or_steps(site, toy_page):
    bare = Results({"one": xr.Dataset({"x": ((), 1.5), "flag": (("seed",), np.array([True]))}, coords={"seed": [0]})})
    write_site([replace(toy_page, results=bare)], site)
    rows = (site / "data/toy-study/final-numbers.csv").read_text().splitlines()
    assert "one,x,,1.5" in rows and "one,flag,0,1.0" in rows


def test_other_formats_on_request(site, toy_page):
    study = replace(toy_page.study, figures=toy_page.study.figures[2:3])
    write_site([replace(toy_page, study=study)], site, formats=("svg", "png", "pdf"))
    assert (site / "figures/toy-study/accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert (site / "figures/toy-study/accuracy.pdf").read_bytes().startswith(b"%PDF")
    assert 'href="figures/toy-study/accuracy.pdf"' in study_page(site, "toy-study").read_text()


def test_strip_puts_everything_in_its_place(toy_page):
    judged = dict((claim.name, (claim, verdict)) for claim, verdict in toy_page.judged())
    supported = strip(*judged["reverse-stays-unknown"])
    assert supported is not None
    (control,) = supported.controls
    assert control.at < supported.threshold < supported.low < supported.at < supported.high <= supported.width
    assert (supported.claimed_from, supported.claimed_to) == (supported.threshold, supported.width)
    one_seed = strip(*judged["one-seed"])
    assert one_seed is not None and (one_seed.low, one_seed.high) == (0, one_seed.width)
    assert strip(*judged["needs-three"]) is None


# ------------------------------------------------------------------------------------------------ in a browser


def test_the_browser_notices_errors_and_requests(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<img src='https://example.org/a.png'><script>console.error('oh'); throw new Error('no')</script>")
    found = visit(page, tmp_path)
    assert len(found.console) == 2 and "https://example.org/a.png" in found.requests


def test_pages_open_from_the_disk_without_errors_or_requests(site, tmp_path, toy_page):
    index = write_site([toy_page], site)
    board = visit(index, tmp_path)
    assert board.console == () and board.requests == ()
    assert board.document.count('class="chip') >= 6 + 5
    page = visit(study_page(site, "toy-study"), tmp_path)
    assert page.console == () and page.requests == ()
    assert page.plates() == ["drawn"] * len(DRAWN)
    for name in DRAWN:
        figure = page.document.split(f'id="figure-{name}"')[1].split("<figcaption")[0]
        if name == "large":
            assert "<canvas" in figure
        else:
            assert len(re.findall(r'class="mark-\w+ role-mark', figure)) >= 1
            assert figure.count("<path") > 10


def test_slider_steps_through_the_panels(site, tmp_path, toy_page):
    study = replace(toy_page.study, figures=toy_page.study.figures[3:4])
    write_site([replace(toy_page, study=study)], site)
    path = study_page(site, "toy-study")
    before = visit(path, tmp_path).document
    move = "const s = document.querySelector('input[type=range]'); s.value = 1; s.dispatchEvent(new Event('input'));"
    after = visit(path, tmp_path, script=move).document
    assert "epoch 1000" in before and "epoch 10<" not in before
    assert "epoch 10<" in after
    fills = [re.findall(r'<path aria[^>]*fill="([^"]+)"|fill="(rgb[^"]+)"', text) for text in (before, after)]
    assert fills[0] and fills[1] and fills[0] != fills[1]


def test_a_figure_that_cannot_be_drawn_falls_back_to_its_picture(site, tmp_path, toy_page):
    study = replace(toy_page.study, figures=toy_page.study.figures[2:3])
    write_site([replace(toy_page, study=study)], site)
    (site / "assets/vega.js").unlink()
    page = visit(study_page(site, "toy-study"), tmp_path)
    assert page.plates() == ["fallback"]
    assert any("vegaEmbed" in line for line in page.console)
    assert 'src="figures/toy-study/accuracy.svg"' in page.document
