"""The offline site: a claim board and one page per study, readable from ``file://`` with no network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elegans.report import settings, tables
from elegans.report.files import slug, write
from elegans.report.plates import final_numbers, make_plates
from elegans.report.strip import strip

if TYPE_CHECKING:
    import jinja2

    from elegans.report.page import StudyPage

ASSETS = ("style.css", "figures.js")


def write_site(pages: Sequence[StudyPage], out: Path, formats: Sequence[str] = ()) -> Path:
    """Write the pages of some studies into the site at `out` and rebuild its index; return the index.

    Studies that were written earlier stay: the index lists every study whose ``data/<study>/board.json`` is there.
    Every figure is there as SVG; `formats` adds ``png`` and ``pdf``.
    """
    out = Path(out)
    _write_assets(out)
    for page in pages:
        _write_study(page, out, formats)
    index = out / "index.html"
    write(index, _templates().get_template("index.html").render(**_board(out), symbols=tables.SYMBOLS))
    return index


def study_page(out: Path, study: str) -> Path:
    """Where the page of a study is in the site at `out`."""
    return Path(out) / f"{slug(study)}.html"


def _write_study(page: StudyPage, out: Path, formats: Sequence[str]) -> None:
    name = slug(page.study.name)
    rows = tables.verdict_rows(page)
    plates = make_plates(page.study, page.results, out, formats)
    finals = f"data/{name}/final-numbers.csv"
    write(out / finals, final_numbers(page.results))
    html = (
        _templates()
        .get_template("study.html")
        .render(
            page=page,
            study=page.study,
            rows=[(row, strip(claim, verdict)) for row, (claim, verdict) in zip(rows, page.judged(), strict=True)],
            counts=tables.count_verdicts(row.verdict for row in rows),
            plates=plates,
            groups=settings.arm_groups(page),
            missing=page.results.missing,
            seeds=tables.seed_range(page.seeds),
            duration=tables.duration(page.seconds),
            finals=finals,
            symbols=tables.SYMBOLS,
        )
    )
    write(study_page(out, page.study.name), html)
    write(out / f"data/{name}/board.json", json.dumps(_entry(page), indent=1))


def _entry(page: StudyPage) -> dict[str, Any]:
    """What the index shows of a study: its entry in the JSON document, and what it is about."""
    study = page.study
    return {
        **tables.study_json(page),
        "page": study_page(Path(), study.name).name,
        "title": study.title,
        "question": study.question,
        "paper": {"title": study.paper.title, "authors": study.paper.authors, "arxiv": study.paper.arxiv},
        "seed_range": tables.seed_range(page.seeds),
        "changed": len(page.overrides),
    }


def _board(out: Path) -> dict[str, Any]:
    """All studies of the site with their claims, and the verdicts counted over all."""
    studies = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((out / "data").glob("*/board.json"))]
    for entry in studies:
        entry["counts"] = tables.count_verdicts(claim["verdict"] for claim in entry["claims"])
    counts = tables.count_verdicts(claim["verdict"] for entry in studies for claim in entry["claims"])
    return {"studies": studies, "counts": counts}


# ------------------------------------------------------------------------------------------------ assets


def _write_assets(out: Path) -> None:
    import vl_convert

    templates = _templates()
    for name in ASSETS:
        assert templates.loader is not None
        write(out / "assets" / name, templates.loader.get_source(templates, name)[0])
    bundle = out / "assets" / "vega.js"
    stamp = f"/* Vega, Vega-Lite and Vega-Embed as bundled by vl-convert {version('vl-convert-python')} */\n"
    if bundle.exists():
        with bundle.open(encoding="utf-8") as file:
            if file.readline() == stamp:
                return
    write(bundle, stamp + vl_convert.javascript_bundle())  # pyright: ignore[reportCallIssue]


@cache
def _templates() -> jinja2.Environment:
    import jinja2
    import markupsafe

    def marked(text: str) -> markupsafe.Markup:
        """Text for a page; what stands between backquotes is code."""
        return markupsafe.Markup(re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", str(markupsafe.escape(text))))

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("elegans.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["marked"] = marked
    return templates
