"""The vocabulary: a paper as arms, claims and figures.

Nothing here trains or draws, and nothing heavy is imported, so that listing all studies takes milliseconds. An
experiment is therefore named by import path; its module may import what it likes.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import xarray as xr

Scale = Literal["smoke", "laptop", "paper"]
SCALES: tuple[Scale, ...] = typing.get_args(Scale)


class UsageError(ValueError):
    """The caller asked for something that does not exist or cannot be; the message is one line for a person."""


def own_name(kind: str, path: str | Path) -> str:
    """The name of a study of a user's file: the kind of question and the file, in lower-case letters, digits and dashes."""
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', Path(path).stem.lower()).strip('-') or 'own'}"


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not there, with the nearest name that is."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return UsageError(f"no {kind} {name!r}; {hint}")


# ------------------------------------------------------------------------------------------------ configurations


def setting(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
) -> Any:
    """A documented field of a `Config`: its default, what it is (unit, source), and its bounds."""
    bounds = {"at_least": at_least, "at_most": at_most, "above": above, "choices": choices}
    return field(default=default, metadata={"doc": doc, **{k: v for k, v in bounds.items() if v is not None}})


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all experiment configurations: frozen, flat, every field a documented `setting`.

    Types and bounds are checked on construction and raise `UsageError`; `check` is the place for conditions that
    join several fields.
    """

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = conform(getattr(self, f.name), field_type(type(self), f.name), f.name)
            object.__setattr__(self, f.name, value)
            _check_bounds(f.name, value, f.metadata)
        self.check()

    def check(self) -> None:
        """Raise `UsageError` where fields contradict one another."""

    def asks_of_model(self) -> frozenset[str]:
        """The settings that its model must have for this arm to mean anything, beyond the usual sizes.

        An arm about rotary positions, say, has nothing to ask of a model that has no ``positions``.
        """
        return frozenset()

    def replace(self, **changes: Any) -> typing.Self:
        """A copy with some fields changed, checked again. Raises `UsageError` for a field that does not exist."""
        names = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise unknown("field", name, names)
        return dataclasses.replace(self, **changes)

    def parse(self, name: str, text: str) -> Any:
        """The value that `text` (from a command line) means for field `name`."""
        names = [f.name for f in dataclasses.fields(self)]
        if name not in names:
            raise unknown("field", name, names)
        return parse(text, field_type(type(self), name), name)


def field_type(config: type[Config], name: str) -> Any:
    """The resolved type annotation of a config field."""
    return _type_hints(config)[name]


@functools.cache
def _type_hints(config: type[Config]) -> dict[str, Any]:
    return typing.get_type_hints(config)


def type_name(kind: Any) -> str:
    """A type annotation as a person writes it: ``int``, ``'a' | 'b'``, ``int, int, ...``."""
    if typing.get_origin(kind) is Literal:
        return " | ".join(repr(choice) for choice in typing.get_args(kind))
    if _is_union(kind):
        return " | ".join(type_name(part) for part in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return f"{type_name(typing.get_args(kind)[0])}, ..."
    return "none" if kind is type(None) else getattr(kind, "__name__", str(kind))


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def conform(value: Any, kind: Any, name: str) -> Any:
    """`value` as an instance of `kind` (an int is a float, a list is a tuple), or a `UsageError`."""
    if _is_union(kind):
        for part in typing.get_args(kind):
            try:
                return conform(value, part, name)
            except UsageError:
                continue
    elif typing.get_origin(kind) is Literal:
        if value in typing.get_args(kind):
            return value
    elif typing.get_origin(kind) is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(conform(item, typing.get_args(kind)[0], name) for item in value)
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise UsageError(f"{name} must be {type_name(kind)}, got {value!r}")


def parse(text: str, kind: Any, name: str) -> Any:
    """The value of type `kind` that `text` spells, or a `UsageError`."""
    error = UsageError(f"{name} must be {type_name(kind)}, got {text!r}")
    if _is_union(kind):
        for part in typing.get_args(kind):
            try:
                return parse(text, part, name)
            except UsageError:
                continue
        raise error
    if typing.get_origin(kind) is Literal:
        for choice in typing.get_args(kind):
            if str(choice) == text:
                return choice
        raise error
    if typing.get_origin(kind) is tuple:
        return tuple(parse(part.strip(), typing.get_args(kind)[0], name) for part in text.split(",") if part.strip())
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise error
        return text.lower() in ("true", "1", "yes")
    if kind is type(None):
        if text.lower() != "none":
            raise error
        return None
    try:
        return conform(kind(text), kind, name)
    except ValueError:
        raise error from None


def _check_bounds(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    for item in value if isinstance(value, tuple) else (value,):
        if item is None:
            continue
        if "at_least" in bounds and item < bounds["at_least"]:
            raise UsageError(f"{name} must be at least {bounds['at_least']}, got {item}")
        if "above" in bounds and item <= bounds["above"]:
            raise UsageError(f"{name} must be above {bounds['above']}, got {item}")
        if "at_most" in bounds and item > bounds["at_most"]:
            raise UsageError(f"{name} must be at most {bounds['at_most']}, got {item}")
        if "choices" in bounds and item not in bounds["choices"]:
            raise unknown(name, str(item), [str(choice) for choice in bounds["choices"]])


# ------------------------------------------------------------------------------------------------ a study


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The publication whose claims a study decides."""

    arxiv: str
    title: str
    authors: str
    venue: str = ""
    code: str = ""

    @property
    def url(self) -> str:
        """The abstract page."""
        return f"https://arxiv.org/abs/{self.arxiv}"


@dataclass(frozen=True)
class Needs:
    """The artefact of another arm: of the same seed, or of one fixed seed that all share.

    An arm that has a seed of its own is needed at that seed.
    """

    arm: str
    seed: int | None = None


@dataclass(frozen=True)
class Arm:
    """One named condition: an experiment with a config.

    `experiment` is ``"package.module:function"``. The function takes ``(config, seed, run)`` and returns an
    `xarray.Dataset`. With ``seeds_per_job > 1`` it takes ``(config, seeds, run)``, trains those seeds together, and
    returns a dataset with a ``seed`` dimension.

    An arm with a `seed` of its own runs once, at that seed, whatever seeds are asked for: a preparation that others need,
    such as a sweep of learning rates on a seed that is not reported.
    """

    experiment: str
    config: Config
    needs: Mapping[str, Needs] = field(default_factory=dict)
    seeds_per_job: int = 1
    seed: int | None = None


Metric = Callable[["Results"], Any]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement that results can support or refute.

    `value` maps results to one number per seed. The claim holds where it is `at_least` / `at_most` the threshold.
    Each control is the same quantity where the claim must *fail*; a claim that its control also meets says nothing.
    Each guard is a condition per seed without which the claim cannot be tested (the model did learn the facts).
    `deterministic` claims have no randomness left to average over, so one seed decides them exactly.
    """

    name: str
    statement: str
    source: str
    value: Metric
    at_least: float | None = None
    at_most: float | None = None
    controls: Mapping[str, Metric] = field(default_factory=dict)
    guards: Mapping[str, Metric] = field(default_factory=dict)
    deterministic: bool = False
    unit: str = ""

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"claim {self.name!r} needs exactly one of at_least and at_most")
        if not self.controls:
            raise ValueError(f"claim {self.name!r} has no control that must fail")

    @property
    def threshold(self) -> float:
        """The number on which the claim turns."""
        bound = self.at_least if self.at_least is not None else self.at_most
        assert bound is not None
        return bound

    @property
    def condition(self) -> str:
        """The threshold with its direction, as in ``>= 0.98``."""
        return f"{'>=' if self.at_least is not None else '<='} {self.threshold:g}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What a paper's reader expects to see; `data` maps results to labelled numbers, the report draws them.

    The array that `data` returns has named dimensions; a dimension ``seed`` is averaged and shown as a band. The other
    dimensions are assigned to `x`, `color` and `facet` by name.
    """

    name: str
    caption: str
    data: Callable[[Results], xr.DataArray]
    x: str
    y_label: str = ""
    x_label: str = ""
    facet: str = ""


@dataclass(frozen=True, kw_only=True)
class Curves(Figure):
    """Lines over `x`, one per value of `color`, with the range over seeds as a band."""

    color: str = ""
    log_x: bool = False
    log_y: bool = False
    rules: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bars(Figure):
    """One bar per value of `x`, with a point per seed."""

    color: str = ""
    log_y: bool = False
    rules: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Heatmap(Figure):
    """A matrix over `x` and `y` (mean over seeds), a panel per `facet`; `slider` names a dimension to step through."""

    y: str
    slider: str = ""


@dataclass(frozen=True, kw_only=True)
class Trees(Figure):
    """Searched trees to look into, one at a time; a list chooses among those along `x`, say the problems.

    `data` returns texts instead of numbers, each a tree as JSON, just as `elegans.reasoning.search.trace` makes it; an
    empty text stands for no tree. Of several seeds the first is shown. `y_label` names the value of a node.
    """


class MissingResults(LookupError):  # noqa: N818 (it says what is wrong better than an Error suffix)
    """An arm has no complete results; the message says why."""


class Results(Mapping[str, "xr.Dataset"]):
    """The stored results of a study by arm, each an `xarray.Dataset` with a ``seed`` dimension.

    Asking for an arm that did not finish raises `MissingResults`, which turns its claims *not testable*.
    """

    def __init__(self, datasets: Mapping[str, xr.Dataset], missing: Mapping[str, str] | None = None) -> None:
        self._datasets = dict(datasets)
        self.missing = dict(missing or {})

    def __getitem__(self, arm: str) -> xr.Dataset:
        if arm in self._datasets:
            return self._datasets[arm]
        raise MissingResults(self.missing.get(arm, f"arm {arm!r} was not run"))

    def __contains__(self, arm: object) -> bool:
        return arm in self._datasets

    def __iter__(self) -> typing.Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)

    def over(
        self, arms: Mapping[str, str] | Sequence[str], metric: Callable[[xr.Dataset], xr.DataArray]
    ) -> xr.DataArray:
        """`metric` of several arms along a new dimension ``arm``; a mapping gives arms their labels in a figure."""
        import xarray as xr

        labels = dict(arms) if isinstance(arms, Mapping) else {arm: arm for arm in arms}
        parts = [metric(self[arm]).drop_vars("arm", errors="ignore") for arm in labels]
        return xr.concat(parts, dim="arm", join="outer", coords="minimal", compat="override").assign_coords(
            arm=list(labels.values())
        )


@dataclass(frozen=True, kw_only=True)
class Study:
    """A paper as arms, claims and figures."""

    name: str
    title: str
    paper: Paper
    question: str
    arms: Mapping[Scale, Mapping[str, Arm]]
    claims: Sequence[Claim]
    figures: Sequence[Figure] = ()
    differences: Sequence[str] = ()
    seeds: int = 3
    expected_minutes: Mapping[Scale, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, names in (("claims", [c.name for c in self.claims]), ("figures", [f.name for f in self.figures])):
            if len(set(names)) < len(names):
                raise ValueError(f"study {self.name!r} names two {kind} alike")

    def at(self, scale: str) -> Mapping[str, Arm]:
        """The arms of one preset. Raises `UsageError` for a scale that the study does not have."""
        if scale not in self.arms:
            raise unknown("scale", scale, self.arms)
        return self.arms[typing.cast(Scale, scale)]

    def claim(self, name: str) -> Claim:
        """The claim of that name."""
        for claim in self.claims:
            if claim.name == name:
                return claim
        raise unknown("claim", name, [c.name for c in self.claims])
