"""A study in words: what it claims, which arms it trains, what each setting means."""

from __future__ import annotations

import dataclasses
from typing import Any

from elegans.study import Study, field_type, type_name


def describe(study: Study, scale: str) -> dict[str, Any]:
    """Everything that can be known of a study before it runs, as a JSON document."""
    arms = study.at(scale)
    configs = {type(arm.config).__name__: type(arm.config) for arm in arms.values()}
    return {
        "study": study.name,
        "question": study.question,
        "paper": dataclasses.asdict(study.paper),
        "expected_minutes": dict(study.expected_minutes),
        "claims": [
            {
                "name": claim.name,
                "statement": claim.statement,
                "condition": claim.condition,
                "source": claim.source,
                "controls": list(claim.controls),
                "guards": list(claim.guards),
            }
            for claim in study.claims
        ],
        "arms": {
            name: {"config": type(arm.config).__name__, **dataclasses.asdict(arm.config)} for name, arm in arms.items()
        },
        "fields": {
            name: {
                f.name: {"type": type_name(field_type(config, f.name)), "doc": f.metadata.get("doc", "")}
                for f in dataclasses.fields(config)
            }
            for name, config in configs.items()
        },
        "differences": list(study.differences),
    }


def as_text(study: Study, parts: dict[str, Any]) -> str:
    """The same for a person."""
    paper = study.paper
    cited = ". ".join(filter(None, (paper.title, paper.venue, paper.url)))
    lines = [f"{study.name}: {study.question}", f"  {paper.authors}", f"  {cited}"]
    lines += ["", "claims"]
    for claim in parts["claims"]:
        lines += [f"  {claim['name']}  {claim['condition']}  ({claim['source']})", f"    {claim['statement']}"]
        lines += [f"    control: {name}" for name in claim["controls"]]
        lines += [f"    guard: {name}" for name in claim["guards"]]
    lines += ["", "arms"]
    lines += [f"  {name:<28} {config['config']}" for name, config in parts["arms"].items()]
    for name, fields in parts["fields"].items():
        lines += ["", f"fields of {name}  (change with --set ARM.config.FIELD=VALUE)"]
        lines += [f"  {field:<20} {about['type']}\n      {about['doc']}" for field, about in fields.items()]
    lines += ["", "how it differs from the paper and its code"] + [f"  - {text}" for text in study.differences]
    times = ", ".join(f"{scale} {spell_minutes(minutes)}" for scale, minutes in study.expected_minutes.items())
    return "\n".join([*lines, "", f"expected time on two CPU cores: {times}"])


def spell_minutes(minutes: float) -> str:
    """A duration in the unit a person would use."""
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    return (
        f"{minutes:.0f} min"
        if minutes < 120
        else f"{minutes / 60:.0f} h"
        if minutes < 2880
        else f"{minutes / 1440:.0f} days"
    )
