"""The figures of one study as files: specification for the page, SVG beside it, numbers as CSV."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elegans.report.files import slug, write
from elegans.study import Figure, MissingResults

if TYPE_CHECKING:
    from elegans.study import Results, Study

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plate:
    """A figure on a page: drawn, or with the reason why it is not."""

    name: str
    caption: str
    spec: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    svg: str = ""
    files: tuple[tuple[str, str], ...] = ()
    """Label and address of everything that the figure can be had as."""
    obstacle: str = ""


def make_plates(study: Study, results: Results, out: Path, formats: Sequence[str]) -> list[Plate]:
    """Draw every figure of `study` and write its files under `out`. A figure that fails says so in its place."""
    plates = []
    for figure in study.figures:
        try:
            plates.append(_plate(study.name, figure, results, out, formats))
        except MissingResults as missing:
            plates.append(Plate(figure.name, figure.caption, obstacle=f"Results are missing: {missing}"))
        except Exception as error:
            log.warning("figure %r of %r cannot be drawn: %s: %s", figure.name, study.name, type(error).__name__, error)
            plates.append(Plate(figure.name, figure.caption, obstacle=f"{type(error).__name__}: {error}"))
    return plates


def _plate(study: str, figure: Figure, results: Results, out: Path, formats: Sequence[str]) -> Plate:
    data = figure.data(results)

    import vl_convert

    from elegans.report import figures

    spec = figures.specification(figures.draw(figure, data))
    picture = f"figures/{slug(study)}/{slug(figure.name)}"
    table = f"data/{slug(study)}/{slug(figure.name)}.csv"
    write(out / f"{picture}.svg", vl_convert.vegalite_to_svg(spec))
    write(out / table, figures.table(figure, data).to_csv(index=False, lineterminator="\n"))
    files = [("CSV", table), ("SVG", f"{picture}.svg")]
    for kind in (name for name in formats if name != "svg"):
        white = {**spec, "background": "white"}
        convert = {"png": partial(vl_convert.vegalite_to_png, scale=2), "pdf": vl_convert.vegalite_to_pdf}[kind]
        write(out / f"{picture}.{kind}", convert(white))
        files.append((kind.upper(), f"{picture}.{kind}"))
    notes = spec["usermeta"]["notes"]
    return Plate(figure.name, figure.caption, spec, notes, f"{picture}.svg", tuple(files))


def final_numbers(results: Results) -> str:
    """CSV of every number per seed that the arms ended with: ``arm, variable, seed, value``.

    A variable over ``step`` is taken at its last step. Variables over anything longer than 16 are left to the figures'
    own data.
    """
    import pandas as pd

    from elegans.report.figures import to_frame

    parts = []
    for arm, dataset in results.items():
        for name, data in dataset.data_vars.items():
            if data.dtype.kind not in "biuf":
                continue
            last = data.isel(step=-1) if "step" in data.dims else data
            others = [str(dim) for dim in last.dims if dim != "seed"]
            if last.size > 16 * last.sizes.get("seed", 1):
                continue
            frame = to_frame(last.rename(None).reset_coords(drop=True).rename("value"))
            where = [f"[{', '.join(f'{d}={row[d]}' for d in others)}]" if others else "" for _, row in frame.iterrows()]
            seeds = frame.get("seed")
            parts.append(
                pd.DataFrame(
                    {"arm": arm, "variable": [f"{name}{w}" for w in where], "seed": seeds, "value": frame["value"]}
                )
            )
    columns = ["arm", "variable", "seed", "value"]
    return (pd.concat(parts) if parts else pd.DataFrame(columns=columns)).to_csv(index=False, lineterminator="\n")
