"""Colors, sizes and the Vega-Lite configuration that all figures share.

Text and axes are drawn in ``currentColor`` on a transparent ground: in the page they follow its light or dark scheme,
in a standalone SVG, PNG or PDF they are black.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WIDTH = 820
"""Inner width in pixels of a figure, or of a row of facets."""

PALETTE = ("#1580c8", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8f6fc4", "#8c8c8c")
"""Distinct in common kinds of color blindness and on both light and dark ground (after Okabe and Ito)."""

DASHES = ([1, 0], [6, 3], [2, 2])
"""Patterns that tell lines apart once the palette is used up."""

_RAMP = ((0x3F, 0x5F, 0xC4), (0x1F, 0xA1, 0x9C), (0x8F, 0xB0, 0x3A), (0xE8, 0x8B, 0x2E), (0xCF, 0x3F, 0x4F))

FONT = "system-ui, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "mark": {"aria": False},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "domainColor": "currentColor",
        "tickColor": "currentColor",
        "gridColor": "currentColor",
        "domainOpacity": 0.5,
        "tickOpacity": 0.5,
        "gridOpacity": 0.12,
        "labelFontSize": 12,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelLimit": 220,
        "labelOverlap": "greedy",
        "labelSeparation": 5,
    },
    "legend": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 300,
        "symbolStrokeWidth": 3,
    },
    "header": {"labelColor": "currentColor", "titleColor": "currentColor", "labelFontSize": 13, "labelLimit": 300},
    "title": {"color": "currentColor", "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
    "text": {"color": "currentColor", "fontSize": 12},
    "rule": {"color": "currentColor"},
}


def colors(num: int, *, ordered: bool) -> list[str]:
    """`num` colors: neighbors on a ramp if the categories are ordered numbers, else the palette, repeating."""
    if not ordered:
        return [PALETTE[i % len(PALETTE)] for i in range(num)]
    return [_on_ramp(i / max(num - 1, 1)) for i in range(num)]


def dashes(num: int) -> Sequence[Sequence[int]]:
    """A line pattern for each of `num` categories, which changes when the palette starts again."""
    return [DASHES[i // len(PALETTE) % len(DASHES)] for i in range(num)]


def _on_ramp(t: float) -> str:
    position = t * (len(_RAMP) - 1)
    left = min(int(position), len(_RAMP) - 2)
    share = position - left
    mixed = (round(a + (b - a) * share) for a, b in zip(_RAMP[left], _RAMP[left + 1], strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
