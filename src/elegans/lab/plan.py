"""From a study and a request to jobs: which arm at which seed, under which key, after which others."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elegans.lab.fingerprint import revision
from elegans.study import Arm, Config, Needs, Study, UsageError, unknown


@dataclass(frozen=True)
class Request:
    """What of a study is asked for: the preset, the seeds, and changes to its arms."""

    scale: str = "laptop"
    seeds: int = 3
    first_seed: int = 0
    overrides: tuple[str, ...] = ()
    """Each ``ARM.config.FIELD=VALUE``; ARM may be a pattern such as ``gpt-*``."""
    model: str | None = None
    """Replaces the model of every arm whose config names one."""
    lm: str | None = None
    """Replaces the language model, a directory, of every arm whose config names one."""
    looks: int = 1
    """How often results may be judged before seeds are added no more."""

    @property
    def seed_range(self) -> range:
        """The seeds asked for."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def to_json(self) -> str:
        """As text, for the store."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        """From the store's text."""
        fields = json.loads(text)
        return cls(**{**fields, "overrides": tuple(fields["overrides"])})


@dataclass(frozen=True)
class Record:
    """One arm at one seed: the unit that is stored, under `key`, a hash of all that its numbers depend on."""

    key: str
    study: str
    scale: str
    arm: str
    seed: int
    experiment: str
    config: Config = field(hash=False)
    revision: str = ""
    needs: tuple[tuple[str, str], ...] = ()
    """The artefacts it reads: (name, key of the record that makes it)."""


@dataclass(frozen=True)
class Job:
    """Records of one arm that one worker computes together; `batched` if the experiment takes several seeds."""

    records: tuple[Record, ...]
    batched: bool

    @property
    def arm(self) -> str:
        """The arm's name."""
        return self.records[0].arm

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its records."""
        return tuple(record.seed for record in self.records)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its records."""
        return tuple(record.key for record in self.records)

    @property
    def needs(self) -> set[str]:
        """The keys of the records that must be done before."""
        return {key for record in self.records for _, key in record.needs}

    def __str__(self) -> str:
        return f"{self.arm} seed {', '.join(map(str, self.seeds))}"


@dataclass(frozen=True)
class Plan:
    """The arms as they will run and the record of each at each seed; `extra` records only serve others' needs.

    `left_out` says of other arms why they are none.
    """

    study: Study
    request: Request
    arms: Mapping[str, Arm]
    records: Mapping[tuple[str, int], Record]
    extra: tuple[Record, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def seeds(self, arm: str) -> list[int]:
        """The seeds at which an arm is reported."""
        own = self.arms[arm].seed
        return list(self.request.seed_range) if own is None else [own]

    def jobs(self, missing: Iterable[str]) -> list[Job]:
        """The jobs that make the records with `missing` keys: preparations, then seed by seed, in the study's order.

        Seeds of a batched arm are grouped in plan order, so a rerun after an interruption groups them alike.
        """
        wanted, seen, jobs = set(missing), set(), []
        for arm_name, arm in self.arms.items():
            todo = []
            for record in [*self.records.values(), *self.extra]:
                if record.arm == arm_name and record.key in wanted and record.key not in seen:
                    seen.add(record.key)
                    todo.append(record)
            size = arm.seeds_per_job
            jobs += [Job(tuple(todo[i : i + size]), size > 1) for i in range(0, len(todo), size)]
        return sorted(jobs, key=lambda job: (self.arms[job.arm].seed is None, job.seeds[0]))


def make_plan(study: Study, request: Request) -> Plan:
    """Resolve a request against a study. Raises `UsageError` for anything that does not exist or does not fit."""
    arms = configured(study, request)
    left_out = _without_meaning(study.at(request.scale), arms)
    arms = {name: arm for name, arm in arms.items() if name not in left_out}
    revisions = {name: revision(arm.experiment, _strings(arm.config)) for name, arm in arms.items()}
    made: dict[tuple[str, int], Record] = {}

    def needed_seed(need: Needs, seed: int) -> int:
        own = arms[need.arm].seed if need.arm in arms else None
        return next(s for s in (need.seed, own, seed) if s is not None)

    def record(name: str, seed: int, above: tuple[str, ...] = ()) -> Record:
        if (name, seed) in made:
            return made[name, seed]
        if name not in arms:
            raise unknown("arm", name, arms)
        if name in above:
            raise UsageError(f"arms need one another in a circle: {' -> '.join([*above, name])}")
        arm = arms[name]
        needs = tuple(
            (artifact, record(need.arm, needed_seed(need, seed), (*above, name)).key)
            for artifact, need in sorted(arm.needs.items())
        )
        key = _key(arm, seed, revisions[name], needs)
        made[name, seed] = Record(
            key, study.name, request.scale, name, seed, arm.experiment, arm.config, revisions[name], needs
        )
        return made[name, seed]

    asked = {
        (name, seed): record(name, seed)
        for name, arm in arms.items()
        for seed in (request.seed_range if arm.seed is None else [arm.seed])
    }
    extra = tuple(r for address, r in made.items() if address not in asked)
    return Plan(study, request, arms, asked, extra, left_out)


def _key(arm: Arm, seed: int, revision_: str, needs: Sequence[tuple[str, str]]) -> str:
    content = {
        "experiment": arm.experiment,
        "config": dataclasses.asdict(arm.config),
        "batched": arm.seeds_per_job > 1,
        "seed": seed,
        "revision": revision_,
        "needs": needs,
    }
    if lm := getattr(arm.config, "lm", ""):
        content["lm"] = _files_of(Path(lm))
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def _files_of(directory: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a language model's files: other weights in the same place are another model."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory with a language model")
    found = [(path.name, path.stat()) for path in sorted(directory.iterdir()) if path.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]


def _strings(config: Config) -> list[str]:
    return [value for value in dataclasses.asdict(config).values() if isinstance(value, str)]


# ------------------------------------------------------------------------------------------------ overrides


def configured(study: Study, request: Request) -> dict[str, Arm]:
    """The arms of the request's preset with its changes applied."""
    if request.seeds < 1 or request.first_seed < 0:
        raise UsageError("seeds must be at least 1 and the first seed at least 0")
    arms = dict(study.at(request.scale))
    if request.model is not None:
        arms = _with(study, arms, "model", request.model, "model that can be replaced")
    if request.lm is not None:
        arms = _with(study, arms, "lm", str(Path(request.lm).resolve()), "language model that can be replaced")
    for override in request.overrides:
        for name, changes in _parse_override(override, arms):
            try:
                arms[name] = dataclasses.replace(arms[name], config=arms[name].config.replace(**changes))
            except UsageError as error:
                raise UsageError(f"--set {override}: {error}") from None
    return arms


def _with(study: Study, arms: dict[str, Arm], name: str, value: str, what: str) -> dict[str, Arm]:
    """The arms with a field of their configs replaced, where they have it."""
    having = [n for n, arm in arms.items() if _has_field(arm, name)]
    if not having:
        raise UsageError(f"no arm of {study.name} has a {what}")
    changed = {n: dataclasses.replace(arms[n], config=arms[n].config.replace(**{name: value})) for n in having}
    return arms | changed


def _without_meaning(preset: Mapping[str, Arm], arms: Mapping[str, Arm]) -> dict[str, str]:
    """The arms that ask of a model what it does not have, each with the reason.

    Only models that the request brought in are looked at. One that does not exist is refused.
    """
    from elegans.models.registry import UnknownModel, settings_of

    left_out = {}
    for name, arm in arms.items():
        model = getattr(arm.config, "model", "")
        if arm == preset[name] or not model:
            continue
        try:
            lacking = arm.config.asks_of_model() - settings_of(model)
        except (UnknownModel, ImportError) as error:
            raise UsageError(str(error)) from None
        if lacking:
            left_out[name] = f"does not apply: {model} has no setting {', '.join(sorted(lacking))}"
    return left_out


def _has_field(arm: Arm, name: str) -> bool:
    return any(f.name == name for f in dataclasses.fields(arm.config))


def _parse_override(text: str, arms: Mapping[str, Arm]) -> Iterator[tuple[str, dict[str, Any]]]:
    target, equals, value = text.partition("=")
    parts = target.strip().split(".")
    if not equals or len(parts) != 3 or parts[1] != "config":
        raise UsageError(f"--set {text}: write ARM.config.FIELD=VALUE")
    pattern, _, name = parts
    matching = fnmatch.filter(arms, pattern)
    if not matching:
        raise unknown("arm", pattern, arms)
    having = [arm for arm in matching if _has_field(arms[arm], name)]
    for arm in having or matching[:1]:  # a pattern changes the arms that have the field; none has it: an error
        try:
            yield arm, {name: arms[arm].config.parse(name, value.strip())}
        except UsageError as error:
            raise UsageError(f"--set {text}: {error}") from None
