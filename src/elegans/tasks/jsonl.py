"""Items of a user's own, one JSON object per line; whatever is wrong is named with its line, nothing is left out.

==================== ================================================================================================
`load_items`         ``{"question": "2+2=", "answer": "4"}``, if wanted with ``"kind"`` (implicit, misleading, normal)
                     and ``"split"`` (train, select, test)
`load_hybrid`        ``{"text": "Oslo is cold", "label": "weather", "spans": [{"text": "Oslo", "type": "city"}]}``,
                     where a span whose text stands there more than once says with ``"start"`` (characters from 0)
                     which one is meant
==================== ================================================================================================

Files are UTF-8, with or without a byte order mark. Every error is a `ValueError` that names the file and the line.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from elegans.tasks.hash_split import SPLITS
from elegans.tasks.hybrid.items import HybridItem, Span
from elegans.tasks.implicit.items import KINDS, Item


@dataclass(frozen=True)
class LoadedItem(Item):
    """An item of a file, with its kind and split where the file tells."""

    kind: str | None = None
    split: str | None = None


def load_items(path: str | Path) -> list[LoadedItem]:
    """The questions and answers of a file, in order. Raises `ValueError`, see above; a question stands there once."""
    found: dict[str, LoadedItem] = {}
    lines: dict[str, int] = {}
    for number, value in objects(Path(path)):
        with at_line(path, number):
            check_keys(value, "the line", {"question": str, "answer": str}, {"kind": str, "split": str})
            item = LoadedItem(_text(value, "question"), _text(value, "answer"), value.get("kind"), value.get("split"))
            _choice(item.kind, "kind", KINDS)
            _choice(item.split, "split", SPLITS)
            check_once(item.question, "question", lines, number)
            found[item.question] = item
    return list(found.values())


def load_hybrid(path: str | Path) -> list[HybridItem]:
    """The texts of a file, in order, their spans sorted. Raises `ValueError`, see above; a text stands there once."""
    found: list[HybridItem] = []
    lines: dict[str, int] = {}
    for number, value in objects(Path(path)):
        with at_line(path, number):
            check_keys(value, "the line", {"text": str, "label": str, "spans": list})
            text, label = _text(value, "text"), _text(value, "label")
            check_once(text, "text", lines, number)
            spans = sorted((_span(text, i, span) for i, span in enumerate(value["spans"], 1)), key=lambda s: s.start)
            for one, other in pairwise(spans):
                if other.start < one.end:
                    raise ValueError(f"the spans {one.text!r} and {other.text!r} overlap")
            found.append(HybridItem(text, label, tuple(spans)))
    return found


# ---------------------------------------------------------------------------------------------------- machinery


@contextmanager
def at_line(path: str | Path, number: int) -> Iterator[None]:
    """Puts file and line before the message of a `ValueError`."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: {error}") from None


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers from 1, and what the lines hold."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    lines = data.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
    if lines == [b""]:
        raise ValueError(f"{path}, line 1: the file is empty")
    for number, line in enumerate(lines, 1):
        with at_line(path, number):
            value = _parse(line)
        yield number, value


def _parse(line: bytes) -> dict[str, Any]:
    if not line.strip():
        raise ValueError("the line is empty")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read: it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"must be an object, got {kind_of(value)}")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return found


NAMES = {str: "a text", int: "an integer", list: "a list", dict: "an object", float: "a number", bool: "a truth value"}


def kind_of(value: Any) -> str:
    """What JSON calls a value, with its article."""
    return NAMES.get(type(value), "null")


def check_keys(value: Any, where: str, needed: Mapping[str, type], optional: Mapping[str, type] | None = None) -> None:
    """Raise `ValueError` unless `value` is an object with these keys, of these types, and no others."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, got {kind_of(value)}")
    known = {**needed, **(optional or {})}
    for name in needed:
        if name not in value:
            raise ValueError(f"{where} has no {name!r}")
    for name, content in value.items():
        if name not in known:
            raise ValueError(f"{where} has the unknown key {name!r}; known are {', '.join(known)}")
        if type(content) is not known[name]:
            raise ValueError(f"{name!r} of {where} must be {NAMES[known[name]]}, got {kind_of(content)}")


def _text(value: Mapping[str, str], name: str) -> str:
    text = value[name]
    if not text.strip():
        raise ValueError(f"{name!r} is empty")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{name!r} has half of a surrogate pair, which is no character")
    return text


def _choice(given: str | None, name: str, known: tuple[str, ...]) -> None:
    if given is not None and given not in known:
        raise ValueError(f"{name!r} must be one of {', '.join(known)}, got {given!r}")


def check_once(text: str, name: str, lines: dict[str, int], number: int) -> None:
    """Raise `ValueError` for a text that stands in an earlier line; `lines` remembers."""
    if text in lines:
        raise ValueError(f"the same {name} stands in line {lines[text]}")
    lines[text] = number


def _span(text: str, number: int, value: Any) -> Span:
    where = f"span {number}"
    check_keys(value, where, {"text": str, "type": str}, {"start": int})
    content, kind = _text(value, "text"), _text(value, "type")
    starts = [i for i in range(len(text)) if text.startswith(content, i)]
    if not starts:
        raise ValueError(f"{where}, {content!r}, is not in the text")
    start = value.get("start", starts[0])
    if "start" not in value and len(starts) > 1:
        raise ValueError(
            f"{where}, {content!r}, is {len(starts)} times in the text; say with 'start' where it is meant"
        )
    if start not in starts:
        places = ", ".join(map(str, starts))
        raise ValueError(f"{where}, {content!r}, does not start at character {start}, but at {places}")
    return Span(content, kind, start, start + len(content))
