"""A claim at a glance: its interval, its threshold and its controls on one line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elegans.report.tables import number

if TYPE_CHECKING:
    from elegans.stats import Verdict
    from elegans.study import Claim

WIDTH, HEIGHT, MARGIN = 190, 30, 8
LOG_FROM = 100.0
"""Ratio of largest to smallest from which the line is logarithmic."""


@dataclass(frozen=True)
class ControlMark:
    """A control on the strip, its interval cut to the strip's ends."""

    at: float
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class Strip:
    """Horizontal positions in pixels, from 0 to `width`."""

    at: float
    low: float
    high: float
    threshold: float
    claimed_from: float
    claimed_to: float
    controls: tuple[ControlMark, ...]
    description: str
    width: int = WIDTH
    height: int = HEIGHT


def strip(claim: Claim, verdict: Verdict) -> Strip | None:
    """The strip of a claim; None if it has no value."""
    if verdict.value is None or not math.isfinite(verdict.value):
        return None
    ends = [x for x in (verdict.low, verdict.high) if x is not None and math.isfinite(x)]
    place = _place([verdict.value, claim.threshold, *ends, *(c.value for c in verdict.controls)])
    threshold = place(claim.threshold)
    above = claim.at_least is not None
    return Strip(
        at=place(verdict.value),
        low=place(-math.inf if verdict.low is None else verdict.low),
        high=place(math.inf if verdict.high is None else verdict.high),
        threshold=threshold,
        claimed_from=threshold if above else 0,
        claimed_to=WIDTH if above else threshold,
        controls=tuple(
            ControlMark(place(c.value), place(c.low), place(c.high), f"control {c.name}: {number(c.value)}")
            for c in verdict.controls
            if math.isfinite(c.value)
        ),
        description=f"{claim.name}: mean {number(verdict.value)}, claimed {claim.condition}"
        + "".join(f", control {c.name} {number(c.value)}" for c in verdict.controls),
    )


def _place(values: list[float]) -> Callable[[float], float]:
    """A function from numbers to pixels that shows all of `values`; what lies beyond is put at the end."""
    finite = [x for x in values if math.isfinite(x)]
    low, high = min(finite), max(finite)
    log = low > 0 and high / low > LOG_FROM
    left, right = (math.log(low), math.log(high)) if log else (low, high)
    span = right - left

    def place(x: float) -> float:
        if math.isnan(x):
            return 0.0
        x = (math.log(x) if x > 0 else -math.inf) if log else x
        if math.isinf(x):
            return 0.0 if x < 0 else float(WIDTH)
        share = (x - left) / span if span else 0.5
        return round(min(max(MARGIN + share * (WIDTH - 2 * MARGIN), 0.0), float(WIDTH)), 1)

    return place
