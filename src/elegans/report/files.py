"""Files of the site: whole or absent, with names that every file system takes."""

from __future__ import annotations

import re
from pathlib import Path

from elegans.ops.files import write_whole


def write(path: Path, content: str | bytes) -> None:
    """Write `path` in one stroke, making its folder."""
    write_whole(path, content.encode() if isinstance(content, str) else content)


def slug(name: str) -> str:
    """`name` as a file name: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"
