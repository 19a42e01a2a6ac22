"""Intervals over seeds and the rule that turns them into a verdict.

The rule, for the claims of one study taken together:

1. A claim whose guard fails on any seed, or whose arms did not finish, is *not testable*.
2. Otherwise its value has one number per seed and a two-sided interval on the mean. The interval's level is
   Holm-adjusted within the study: the strongest of m claims is read at ``1 - 0.05/m``, the next at ``1 - 0.05/(m-1)``,
   and so on, so that the chance of *any* false verdict against a threshold is at most 5 %.
3. Interval wholly on the claimed side: *supported* if every control lies wholly on the other side, *uninformative* if
   a control lies on the claimed side too, *inconclusive* if a control straddles. Wholly on the other side: *refuted*.
   Otherwise *inconclusive*.

The interval is Student's t. From 8 seeds on it is widened to include the BCa bootstrap interval, which follows a skewed
distribution. BCa alone is too narrow there: at level 99.5 % and 8 normal values it misses the mean on one side in
2.5 % of cases instead of 0.25 % (`tests/test_stats.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from elegans.study import Claim, MissingResults, Results, Study

VerdictName = Literal["supported", "refuted", "inconclusive", "uninformative", "not testable"]
BOOTSTRAP_FROM = 8
ALPHA = 0.05


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its interval; `method` is ``t``, ``t+BCa`` or ``exact``."""

    value: float
    low: float
    high: float
    level: float
    method: str

    def above(self, threshold: float) -> bool:
        """Wholly at or above the threshold."""
        return self.low >= threshold

    def below(self, threshold: float) -> bool:
        """Wholly at or below the threshold."""
        return self.high <= threshold


@dataclass(frozen=True)
class Evidence:
    """What the results say about one claim, before it is judged with the others of its study."""

    claim: str
    threshold: float
    at_least: bool
    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    controls: Mapping[str, np.ndarray] = field(default_factory=dict)
    deterministic: bool = False
    obstacle: str = ""
    """Why the claim cannot be tested; empty if it can."""


@dataclass(frozen=True)
class ControlReading:
    """What a control came to, at the plain 95 % level."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What the data say of a claim. The interval is the Holm-adjusted one that decided, at level `level`."""

    claim: str
    verdict: VerdictName
    reason: str
    n_seeds: int = 0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 1 - ALPHA
    method: str = ""
    controls: tuple[ControlReading, ...] = ()
    nearest: ControlReading | None = None
    """The control that came nearest to passing."""

    @property
    def control(self) -> float | None:
        """The mean of the control that came nearest to passing."""
        return self.nearest.value if self.nearest else None

    @property
    def control_name(self) -> str:
        """The name of the control that came nearest to passing."""
        return self.nearest.name if self.nearest else ""


# ------------------------------------------------------------------------------------------------ intervals


def interval(values: np.ndarray, level: float = 1 - ALPHA, *, deterministic: bool = False) -> Interval:
    """The two-sided interval on the mean of `values` [seeds].

    One value has no interval (it is infinite) unless it is `deterministic`; then the interval is the range of values,
    which differ only by rounding.
    """
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if deterministic:
        return Interval(mean, float(values.min()), float(values.max()), level, "exact")
    n = len(values)
    if n < 2:
        return Interval(mean, -math.inf, math.inf, level, "t")
    error = float(values.std(ddof=1)) / math.sqrt(n)
    half = error * _t_quantile(level, n)
    low, high = mean - half, mean + half
    if n < BOOTSTRAP_FROM or error <= 1e-12 * abs(mean):
        return Interval(mean, low, high, level, "t")
    from scipy import stats

    boot = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=9999, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    if not math.isnan(boot.low + boot.high):
        low, high = min(low, float(boot.low)), max(high, float(boot.high))
    return Interval(mean, low, high, level, "t+BCa")


def p_value(values: np.ndarray, threshold: float) -> float:
    """The two-sided p-value of Student's t-test of the mean of `values` [seeds] against `threshold`."""
    from scipy.special import stdtr

    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return 1.0
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    distance = abs(float(values.mean()) - threshold)
    if error == 0:
        return 1.0 if distance == 0 else 0.0
    return float(2 * stdtr(len(values) - 1, -distance / error))


def _t_quantile(level: float, n: int | np.ndarray) -> Any:
    """Half-width of a two-sided t interval in standard errors, for n values."""
    from scipy.special import stdtrit

    return stdtrit(np.asarray(n) - 1, (1 + level) / 2)


def holm_levels(p_values: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """The confidence level at which each of several intervals is read (Holm 1979).

    An interval at its level excludes the threshold exactly if Holm's procedure rejects at `alpha`.
    """
    order = np.argsort(p_values, kind="stable")
    levels = [0.0] * len(p_values)
    share = alpha / max(len(p_values), 1)
    stopped = False
    for rank, index in enumerate(order):
        if not stopped:
            share = alpha / (len(p_values) - rank)
            stopped = p_values[index] > share
        levels[index] = 1 - share
    return levels


def seeds_to_decide(values: np.ndarray, threshold: float, level: float, limit: int = 1000) -> int | None:
    """About how many seeds in all would put the interval clear of the threshold, mean and spread staying as they are."""
    distance = abs(float(np.mean(values)) - threshold)
    n = np.arange(len(values) + 1, limit + 1)
    enough = np.std(values, ddof=1) / np.sqrt(n) * _t_quantile(level, n) < distance
    return int(n[enough.argmax()]) if enough.any() else None


# ------------------------------------------------------------------------------------------------ the verdict


def judge(study: Study, results: Results, *, looks: int = 1) -> list[Verdict]:
    """The verdict of every claim of a study, in order; for `looks` see `decide`."""
    return decide([weigh(claim, results) for claim in study.claims], looks=looks)


def weigh(claim: Claim, results: Results) -> Evidence:
    """Evaluate a claim's value, controls and guards on results."""
    base: dict[str, Any] = {
        "claim": claim.name,
        "threshold": claim.threshold,
        "at_least": claim.at_least is not None,
        "deterministic": claim.deterministic,
    }
    try:
        for guard, holds in claim.guards.items():
            passed = per_seed(holds(results))
            if not passed.all():
                return Evidence(**base, obstacle=f"guard failed on {_share(~passed.astype(bool))}: {guard}")
        values = per_seed(claim.value(results))
        controls = {name: per_seed(control(results)) for name, control in claim.controls.items()}
    except MissingResults as error:
        return Evidence(**base, obstacle=str(error))
    for name, numbers in {"the value": values, **controls}.items():
        if not np.isfinite(numbers.astype(float)).all():
            return Evidence(**base, obstacle=f"{name} is not a number on {_share(~np.isfinite(numbers))}")
    return Evidence(**base, values=values, controls=controls)


def per_seed(metric: Any) -> np.ndarray:
    """A metric as a vector over seeds; anything but a number per seed is a mistake in the study."""
    array = np.atleast_1d(np.asarray(metric))
    dims = getattr(metric, "dims", ("seed",) * array.ndim)
    if array.ndim != 1 or (dims and dims != ("seed",)):
        raise TypeError(f"a claim needs one number per seed, got dimensions {tuple(dims)}")
    return array


def _share(bad: np.ndarray) -> str:
    return f"{int(bad.sum())} of {bad.size} seeds"


def decide(evidence: Sequence[Evidence], *, looks: int = 1) -> list[Verdict]:
    """The verdicts on all claims of one study, judged together.

    Whoever adds seeds until the verdict pleases will be pleased too often. So where results may be judged up to `looks`
    times on the way, each look spends an equal share of the 5 %.
    """
    stochastic = [e for e in evidence if not e.deterministic]
    p_values = [1.0 if e.obstacle else p_value(e.values, e.threshold) for e in stochastic]
    levels = dict(zip((e.claim for e in stochastic), holm_levels(p_values, ALPHA / looks), strict=True))
    return [_judge(e, levels.get(e.claim, 1 - ALPHA)) for e in evidence]


def _judge(e: Evidence, level: float) -> Verdict:
    if e.obstacle:
        return Verdict(e.claim, "not testable", e.obstacle)
    found = interval(e.values, level, deterministic=e.deterministic)
    readings = []
    for name, values in e.controls.items():
        control = interval(values, deterministic=e.deterministic)
        readings.append(ControlReading(name, control.value, control.low, control.high))
    verdict, reason = _rule(e, found, readings)
    return Verdict(
        claim=e.claim,
        verdict=verdict,
        reason=reason,
        n_seeds=len(e.values),
        value=found.value,
        low=found.low,
        high=found.high,
        level=level,
        method=found.method,
        controls=tuple(readings),
        nearest=(max if e.at_least else min)(readings, key=lambda r: r.value, default=None),
    )


def _rule(e: Evidence, found: Interval, controls: Sequence[ControlReading]) -> tuple[VerdictName, str]:
    claimed, other = (found.above, found.below) if e.at_least else (found.below, found.above)
    if not claimed(e.threshold):
        if other(e.threshold):
            return "refuted", "the interval lies wholly on the other side of the threshold"
        return "inconclusive", _what_would_decide(e, found)
    for control in controls:
        meets = control.low >= e.threshold if e.at_least else control.high <= e.threshold
        if meets:
            return "uninformative", f"the control '{control.name}' meets the claim too"
    for control in controls:
        fails = control.high < e.threshold if e.at_least else control.low > e.threshold
        if not fails:
            return "inconclusive", f"the interval of the control '{control.name}' straddles the threshold"
    return "supported", "the interval lies wholly on the claimed side and every control on the other"


def _what_would_decide(e: Evidence, found: Interval) -> str:
    if len(e.values) < 2:
        return "one seed gives no interval; run at least 3"
    n = seeds_to_decide(e.values, e.threshold, found.level)
    if n is None:
        return "the mean is too near the threshold to say how many seeds would decide"
    return f"the interval straddles the threshold; about {n - len(e.values)} more seeds would decide"
