"""Searched trees as the store has them: read, checked, made small.

A tree is the JSON text of an `elegans.reasoning.search.trace`, which this floor reads without the search.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

FORMAT = 1
MAX_QUOTE = 60
"""Letters in an error that quotes what was stored."""

_TEXT, _COUNT, _NUMBER = (str, type(None)), (int,), (int, float, type(None))
_SEARCH: dict[str, tuple[type, ...]] = {
    "problem": (str,),
    "status": (str,),
    "solved": (bool,),
    "plan": (list,),
    "iterations": _COUNT,
    "expanded": _COUNT,
    "passes": _COUNT,
    "read_tokens": _COUNT,
    "generated_tokens": _COUNT,
    "nodes": (list,),
}
_NODE: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "parent": _TEXT,
    "action": _TEXT,
    "state": _TEXT,
    "visits": _COUNT,
    "value": _NUMBER,
    "reward": _NUMBER,
    "estimate": _NUMBER,
    "factors": (dict,),
    "goal_fraction": _NUMBER,
    "goal": (bool, type(None)),
    "terminal": (bool,),
    "invalid": _TEXT,
    "chosen": (bool,),
}
FACTOR = "factor "
"""Begins the column of a factor."""


@dataclass(frozen=True)
class Trace:
    """A searched tree.

    Attributes:
        search: what is known of the search as a whole.
        nodes: a row each, parents first, with the fields of the trace, a column per factor, and `above`, the row of the
            parent, -1 for the root.
    """

    search: dict[str, Any]
    nodes: pd.DataFrame


def read(text: str) -> Trace:
    """The tree that a JSON text holds. Raises ValueError, one line that goes on after "the tree ...", for any other."""
    try:
        search = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(search, dict) or "format" not in search:
        raise ValueError("is not the trace of a search: it has no 'format'")
    if search["format"] != FORMAT:
        raise ValueError(f"has format {_shown(search['format'])}; this version reads format {FORMAT}")
    _check(search, _SEARCH, "the search")
    records = search.pop("nodes")
    rows: dict[str, int] = {}
    above = []
    for number, record in enumerate(records):
        _check(record, _NODE, f"node {number}")
        _check(record["factors"], dict.fromkeys(record["factors"], _NUMBER), f"a factor of node {number}")
        if record["parent"] not in (rows if number else [None]):
            raise ValueError(
                f"is broken: node {number} has the parent {_shown(record['parent'])}, which is not before it"
            )
        if record["id"] in rows:
            raise ValueError(f"is broken: two nodes have the id {_shown(record['id'])}")
        above.append(rows[record["parent"]] if number else -1)
        rows[record["id"]] = number
    if not records:
        raise ValueError("is broken: it has no nodes")
    return Trace(search, _frame(records).assign(above=above))


def _check(record: Any, fields: dict[str, tuple[type, ...]], what: str) -> None:
    if not isinstance(record, dict):
        raise ValueError(f"is broken: {what} is {_shown(record)}")
    for name, kinds in fields.items():
        if name not in record:
            raise ValueError(f"is broken: {what} has no {name!r}")
        if not isinstance(record[name], kinds):
            raise ValueError(f"is broken: {what} has {_shown(record[name])} as {name!r}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_QUOTE else f"{text[:MAX_QUOTE]}..."


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame([{name: record[name] for name in _NODE if name != "factors"} for record in records])
    factors = pd.DataFrame([record["factors"] for record in records], index=frame.index).add_prefix(FACTOR)
    numbers = [name for name, kinds in _NODE.items() if kinds == _NUMBER]
    return pd.concat([frame.astype(dict.fromkeys(numbers, float)), factors.astype(float)], axis=1)


def prune(trace: Trace, limit: int) -> Trace:
    """At most `limit` nodes: the most visited and, among those that were only judged, the alternatives to these."""
    if len(trace.nodes) <= limit:
        return trace
    above, visits = trace.nodes["above"].tolist(), trace.nodes["visits"].tolist()
    for row, parent in enumerate(above[1:], 1):
        visits[row] = min(visits[row], visits[parent])
    # No node ranks before its parent, so what is kept hangs together.
    rank = sorted(range(1, len(above)), key=lambda row: (-visits[row], -visits[above[row]], row))
    kept = [0, *sorted(rank[: limit - 1])]
    places = {row: place for place, row in enumerate(kept)} | {-1: -1}
    nodes = trace.nodes.iloc[kept].reset_index(drop=True)
    return replace(trace, nodes=nodes.assign(above=[places[row] for row in nodes["above"]]))
