"""Verdicts as plain rows, Markdown and JSON. The one place where their numbers are formatted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans.report.page import StudyPage
    from elegans.stats import Verdict

SYMBOLS = {"supported": "✓", "refuted": "✗", "inconclusive": "~", "uninformative": "○", "not testable": "–"}  # noqa: RUF001
"""A sign for every verdict, so that none is told by color alone; in the order in which they are counted."""


@dataclass(frozen=True)
class VerdictRow:
    """One claim as text, ready for any medium."""

    claim: str
    statement: str
    source: str
    value: str
    threshold: str
    control: str
    """The mean of the control that came nearest to passing."""
    control_name: str
    controls: tuple[str, ...]
    """Every control: name, mean and interval."""
    verdict: str
    symbol: str
    reason: str
    method: str
    """How the interval was made: seeds, level, method."""


def verdict_rows(page: StudyPage) -> list[VerdictRow]:
    """The rows of a study's verdict table, in the order of its claims."""
    return [
        VerdictRow(
            claim=claim.name,
            statement=claim.statement,
            source=claim.source,
            value=_with_unit(interval(v.value, v.low, v.high, claim.threshold, exact=v.method == "exact"), claim.unit),
            threshold=claim.condition,
            control=number(v.control),
            control_name=v.control_name,
            controls=tuple(f"{c.name}: {interval(c.value, c.low, c.high, claim.threshold)}" for c in v.controls),
            verdict=v.verdict,
            symbol=SYMBOLS[v.verdict],
            reason=v.reason,
            method=_method(v),
        )
        for claim, v in page.judged()
    ]


def count_verdicts(verdicts: Iterable[str]) -> dict[str, int]:
    """How many verdicts of each kind, those that occur, in the order of `SYMBOLS`."""
    found = list(verdicts)
    return {name: found.count(name) for name in SYMBOLS if name in found}


def seed_range(seeds: Sequence[int]) -> str:
    """Seeds as a person writes them: ``3 seeds (0-2)``."""
    return f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'} ({spell(seeds)})" if seeds else "no seeds"


def spell(seeds: Sequence[int]) -> str:
    """Seeds in order: ``0-2`` if none is left out, else ``0, 2, 5``."""
    ordered = sorted(seeds)
    if len(ordered) > 1 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}-{ordered[-1]}"
    return ", ".join(map(str, ordered))


# ------------------------------------------------------------------------------------------------ numbers


def number(x: float | None, digits: int = 3) -> str:
    """`x` with that many significant digits and no trailing zeros; a dash if there is none."""
    if x is None or math.isnan(x):
        return "-"
    if math.isinf(x):
        return "inf" if x > 0 else "-inf"
    magnitude = _magnitude(x)
    if x and not -4 <= magnitude < 6:
        mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
        return f"{_trim(mantissa)}e{int(exponent)}"
    return _trim(f"{x:.{max(0, digits - 1 - magnitude)}f}")


def interval(
    value: float | None, low: float | None, high: float | None, threshold: float, *, exact: bool = False
) -> str:
    """A mean with its interval, as ``1.01 [1.00, 1.02]``.

    Two digits of the interval's width are shown, and more where rounding would move an end across the
    threshold.
    """
    if value is None or not math.isfinite(value):
        return "-"
    if low is None or high is None or not math.isfinite(high - low):
        return f"{number(value)} (no interval)"
    if exact and (high - low) <= 1e-3 * abs(value):
        return f"{number(value)} exactly"
    if high == low:
        return f"{number(value, 4)} [{number(low, 4)}, {number(high, 4)}]"
    numbers = (value, low, high)
    top = max(_magnitude(x) for x in numbers)
    scientific = not -4 <= top < 6
    digits = max(2, top - _magnitude(high - low) + 2)
    while digits < 6 and any(_crosses(x, threshold, top, digits) for x in numbers):
        digits += 1
    digits = min(digits, 6)
    if scientific:
        mean, left, right = (_scientific(x, top, digits) for x in numbers)
    else:
        places = max(0, digits - 1 - top)
        mean, left, right = (f"{round(x, places) + 0.0:.{places}f}" for x in numbers)
    return f"{mean} [{left}, {right}]"


def duration(seconds: float) -> str:
    """Seconds as ``2:41`` or ``1:02:03``, and as days and hours beyond two days."""
    whole = max(0, math.ceil(seconds) if seconds < 1 else round(seconds))
    minutes, secs = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def _crosses(x: float, threshold: float, top: int, digits: int) -> bool:
    shown = round(x, digits - 1 - top)
    return (shown >= threshold) != (x >= threshold)


def _scientific(x: float, top: int, digits: int) -> str:
    return f"{round(x / 10.0**top, digits - 1) + 0.0:.{digits - 1}f}e{top}"


def _magnitude(x: float) -> int:
    return math.floor(math.log10(abs(x))) if x else 0


def _trim(text: str) -> str:
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}" if unit and text != "-" else text


def _method(v: Verdict) -> str:
    if not v.method:
        return ""
    if v.method == "exact":
        return "deterministic: decided exactly"
    level = f"{100 * v.level:.4g} %"
    return f"{v.n_seeds} seeds, {v.method} interval at level {level}, so that the study's claims hold together at 95 %"


# ------------------------------------------------------------------------------------------------ documents


def markdown(pages: Sequence[StudyPage]) -> str:
    """One section with a table per study. It holds no date and no timing: equal results give equal text."""
    head = "# Results\n\nWritten by `elegans report --markdown`; `make reproduce` computes it anew.\n"
    return "\n".join([head, *(_section(page) for page in pages)])


def _section(page: StudyPage) -> str:
    rows = verdict_rows(page)
    paper = page.study.paper
    counts = ", ".join(f"{n} {name}" for name, n in count_verdicts(row.verdict for row in rows).items())
    lines = [
        f"## {_cell(page.study.name)}",
        "",
        f"{_cell(page.study.question)}",
        "",
        f"Paper: [{_cell(paper.title)}]({paper.url}) (arXiv:{paper.arxiv}). "
        f"Scale `{page.scale}`, {len(page.arms)} arms, {seed_range(page.seeds)}. {counts.capitalize() or 'No claims'}.",
        "",
    ]
    if page.overrides:
        lines += ["Changed from the preset: " + ", ".join(f"`{o}`" for o in page.overrides) + ".", ""]
    if rows:
        lines += ["| claim | value [95 %] | threshold | nearest control | verdict |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        claim = f"**{_cell(row.claim)}**: {_cell(row.statement)} ({_cell(row.source)})"
        control = _cell(f"{row.control_name} {row.control}".strip())
        verdict = row.verdict if row.verdict == "supported" else f"{row.verdict}: {_cell(row.reason)}"
        lines.append(f"| {claim} | {_cell(row.value)} | {_cell(row.threshold)} | {control} | {verdict} |")
    if page.failed:
        lines += ["", "Failed jobs: " + ", ".join(f"`{failure}`" for failure in page.failed) + "."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """`text` for a Markdown table: on one line, no cell border, no HTML tag."""
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def as_json(pages: Sequence[StudyPage]) -> dict[str, Any]:
    """The document that every ``--json`` prints. A number that is not finite is null."""
    return {"studies": [study_json(page) for page in pages]}


def study_json(page: StudyPage) -> dict[str, Any]:
    """One entry of `as_json`."""
    claims = [
        {
            "name": claim.name,
            "verdict": v.verdict,
            "value": _finite(v.value),
            "low": _finite(v.low),
            "high": _finite(v.high),
            "threshold": _finite(claim.threshold),
            "control": _finite(v.control),
            "n_seeds": v.n_seeds,
            "paper": f"arXiv:{page.study.paper.arxiv}, {claim.source}",
        }
        for claim, v in page.judged()
    ]
    return {
        "study": page.study.name,
        "scale": page.scale,
        "seeds": list(page.seeds),
        "claims": claims,
        "failed_jobs": [{"arm": f.arm, "seeds": list(f.seeds), "error": f.error} for f in page.failed],
    }


def _finite(x: float | None) -> float | None:
    return float(x) if x is not None and math.isfinite(x) else None
