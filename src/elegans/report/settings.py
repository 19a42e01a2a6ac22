"""The settings of a study's arms: what they share, where they differ, what was changed from the preset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elegans.study import field_type, type_name

if TYPE_CHECKING:
    from elegans.report.page import StudyPage
    from elegans.study import Arm, Config


@dataclass(frozen=True)
class Cell:
    """One setting of one arm."""

    text: str
    differs: bool
    """Whether it is not what the group's first arm has."""
    preset: str | None
    """What the preset has, if that is something else."""


@dataclass(frozen=True)
class Setting:
    """A field of a config."""

    name: str
    doc: str
    kind: str
    text: str
    """The value that all arms of the group share; empty if they differ."""


@dataclass(frozen=True)
class ArmRow:
    """One arm with those settings in which its group differs."""

    name: str
    cells: tuple[Cell, ...]
    needs: str


@dataclass(frozen=True)
class ArmGroup:
    """The arms that run the same experiment."""

    experiment: str
    varying: tuple[Setting, ...]
    shared: tuple[Setting, ...]
    rows: tuple[ArmRow, ...]


def arm_groups(page: StudyPage) -> list[ArmGroup]:
    """The arms of a page by experiment and kind of config, in order of appearance."""
    groups: dict[tuple[str, type[Config]], dict[str, Arm]] = {}
    for name, arm in page.arms.items():
        groups.setdefault((arm.experiment, type(arm.config)), {})[name] = arm
    presets = dict(page.study.arms).get(page.scale, {})  # pyright: ignore[reportArgumentType, reportCallIssue]
    return [_group(experiment, arms, presets) for (experiment, _), arms in groups.items()]


def show(value: Any) -> str:
    """A setting's value as a person writes it on the command line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(show(item) for item in value) or "(empty)"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _group(experiment: str, arms: Mapping[str, Arm], presets: Mapping[str, Arm]) -> ArmGroup:
    first = next(iter(arms.values())).config
    varying, shared = [], []
    for f in dataclasses.fields(first):
        values = [getattr(arm.config, f.name) for arm in arms.values()]
        same = all(value == values[0] for value in values)
        touched = any(_preset(presets, name, arm, f.name) is not None for name, arm in arms.items())
        kind = type_name(field_type(type(first), f.name))
        setting = Setting(f.name, f.metadata.get("doc", ""), kind, show(values[0]) if same else "")
        (shared if same and not touched else varying).append(setting)
    rows = []
    for name, arm in arms.items():
        cells = []
        for setting in varying:
            value = getattr(arm.config, setting.name)
            differs = value != getattr(first, setting.name)
            cells.append(Cell(show(value), differs, _preset(presets, name, arm, setting.name)))
        needs = ", ".join(
            f"{need.arm} ({'same seed' if need.seed is None else f'seed {need.seed}'})" for need in arm.needs.values()
        )
        rows.append(ArmRow(name, tuple(cells), needs))
    return ArmGroup(experiment, tuple(varying), tuple(shared), tuple(rows))


def _preset(presets: Mapping[str, Arm], name: str, arm: Arm, field: str) -> str | None:
    """What the preset has in `field`, if the arm has something else there."""
    if name not in presets or type(presets[name].config) is not type(arm.config):
        return None
    before = getattr(presets[name].config, field)
    return show(before) if before != getattr(arm.config, field) else None
