"""Timing of several ways to compute the same, turn by turn in one process.

Other work on the machine slows all contenders of a round alike, so what is reported is the ratio of times within a
round. Nothing is timed before all contenders have computed the same numbers.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

ROUND_SECONDS = 0.05
"""For which a contender is called again and again within a round."""
CASE_SECONDS = 6.0
"""For which rounds are added, between `ROUNDS`."""
ROUNDS = (3, 31)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Bounds of the median ratio."""

    at_least: float = 0.0
    at_most: float = math.inf

    def met(self, ratio: float) -> bool:
        """Whether the ratio is within the bounds."""
        return self.at_least <= ratio <= self.at_most

    def __str__(self) -> str:
        bounds = [f">= {self.at_least:g}"] * (self.at_least > 0) + [f"<= {self.at_most:g}"] * (self.at_most < math.inf)
        return " ".join(bounds)


def same(result: Any) -> Sequence[Tensor]:
    """The tensors to compare, where a call returns nothing else."""
    return result


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to compute it.

    `values` turns what `call` returns into the tensors that must agree with `expected`, by default with those of the
    case's first contender; it is not timed. A `call` of None stands for a package that is not installed. `goal` bounds
    the time over that of the first contender. `facts` are further numbers worth a column.
    """

    name: str
    call: Callable[[], Any] | None
    values: Callable[[Any], Sequence[Tensor]] = same
    expected: Callable[[], Sequence[Tensor]] | None = None
    goal: Goal | None = None
    facts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A comparison at one size; the first contender is the reference of all ratios and always there.

    Values agree where the norm of their difference is at most `tolerance` times that of what is expected, in each of
    the first `checks` calls: more than one for contenders that go on from where they were, as a training step does.
    """

    name: str
    contenders: tuple[Contender, ...]
    tolerance: float = 1e-5
    checks: int = 1


Benchmark = Callable[[bool, torch.device], Iterator[Case]]
"""(quick, device) to cases, each made when it is its turn."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Median milliseconds per call, and quartiles of the ratio to the reference; None for what was not measured."""

    contender: Contender
    ms: float | None = None
    ratio: tuple[float, float, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met, if there is one and it was measured."""
        return self.contender.goal.met(self.ratio[1]) if self.contender.goal and self.ratio else None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a case came to. `refused` says which contender computed something else; nothing was timed then."""

    case: str
    rounds: int
    timings: tuple[Timing, ...]
    refused: str | None = None


class Disagreement(Exception):  # noqa: N818 (it says what is wrong better than an Error suffix)
    """Contenders compute different numbers."""


def run(
    benchmark: Benchmark,
    device: torch.device,
    *,
    threads: int = 1,
    quick: bool = False,
    notify: Callable[[str], None] = lambda case: None,
) -> list[Result]:
    """Measure all cases of a benchmark; `notify` hears the name of each before it starts."""
    clock, results = make_clock(device, threads), []
    with num_threads(threads):
        for case in benchmark(quick, device):
            notify(case.name)
            results.append(measure(case, clock, quick=quick))
    return results


def measure(case: Case, clock: Callable[[], float], *, quick: bool = False) -> Result:
    """Check the contenders and time them; `quick` is one call in each of two rounds, which no goal is held against."""
    if quick:
        case = replace(case, contenders=tuple(replace(c, goal=None) for c in case.contenders))
    try:
        _check(case)
    except Disagreement as error:
        timings = tuple(Timing(contender=c) for c in case.contenders)
        return Result(case=case.name, rounds=0, timings=timings, refused=str(error))
    present = [c for c in case.contenders if c.call]
    calls, rounds = {c.name: 1 for c in present}, 2
    if not quick:
        seconds = {c.name: max(_time(c, clock, 1), 1e-6) for c in present}
        calls = {name: math.ceil(ROUND_SECONDS / t) for name, t in seconds.items()}
        round_seconds = sum(calls[name] * t for name, t in seconds.items())
        rounds = min(max(round(CASE_SECONDS / round_seconds), ROUNDS[0]), ROUNDS[1])
    times: dict[str, list[float]] = {c.name: [] for c in present}
    for turn in range(rounds):
        first = turn % len(present)
        for contender in present[first:] + present[:first]:
            times[contender.name].append(_time(contender, clock, calls[contender.name]))
    return Result(
        case=case.name,
        rounds=rounds,
        timings=tuple(_timing(c, times, reference=case.contenders[0].name) for c in case.contenders),
    )


def _time(contender: Contender, clock: Callable[[], float], repeats: int) -> float:
    """Seconds per call."""
    assert contender.call is not None
    started = clock()
    for _ in range(repeats):
        contender.call()
    return (clock() - started) / repeats


def _timing(contender: Contender, times: Mapping[str, list[float]], reference: str) -> Timing:
    if contender.call is None:
        return Timing(contender=contender)
    own = times[contender.name]
    ratio = None
    if contender.name != reference:
        low, median, high = statistics.quantiles(
            [a / b for a, b in zip(own, times[reference], strict=True)], n=4, method="inclusive"
        )
        ratio = (low, median, high)
    return Timing(contender=contender, ms=1e3 * statistics.median(own), ratio=ratio)


def _check(case: Case) -> None:
    """Raise `Disagreement` unless all contenders compute what they should."""
    for _ in range(case.checks):
        reference: Sequence[Tensor] = ()
        for contender in case.contenders:
            if contender.call:
                values = contender.values(contender.call())
                reference = reference or values
                expected = contender.expected() if contender.expected else reference
                _compare(contender.name, values, expected, case.tolerance)


@torch.no_grad()
def _compare(name: str, values: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    if len(values) != len(expected):
        raise Disagreement(f"{name} has {len(values)} values, not {len(expected)}")
    for index, (found, right) in enumerate(zip(values, expected, strict=True)):
        if found.shape != right.shape:
            raise Disagreement(f"{name}: value {index} has shape {tuple(found.shape)}, not {tuple(right.shape)}")
        difference, size = (found - right).norm().item(), right.norm().item()
        if not difference <= tolerance * size:
            relative = difference / size if size else math.inf
            raise Disagreement(f"{name}: value {index} is off by {relative:.1e}, more than {tolerance:.0e}")


# ------------------------------------------------------------------------------------------------ the machine


@contextmanager
def num_threads(number: int) -> Iterator[None]:
    """Torch has so many threads inside, and as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_clock(device: torch.device, threads: int) -> Callable[[], float]:
    """Seconds: of CPU time for one thread, which other processes do not disturb; else on the wall, device included."""
    if device.type == "cuda":

        def synchronized() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return synchronized
    return time.process_time if threads == 1 else time.perf_counter
