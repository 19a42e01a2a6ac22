"""The reward of an action from several factors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np

from elegans.reasoning.scorer import Scorer, ScorerError, Usage
from elegans.reasoning.search.node import Choice
from elegans.reasoning.search.normalization import Normalizer, RegionalNormalizer, Values
from elegans.reasoning.search.rewards import Factor


class Composite:
    r""":math:`R = \sum_f w_f \, \mathrm{norm}_f(R_f)`, one number per action of a choice.

    Args:
        factors: with different names.
        weights: by name; 1 where none is given.
        normalizers: by name; a factor without one counts as it is.

    Raises `ValueError` for a name that no factor has.
    """

    def __init__(
        self,
        factors: Sequence[Factor],
        weights: Mapping[str, float] | None = None,
        normalizers: Mapping[str, Normalizer] | None = None,
    ) -> None:
        self.factors = tuple(factors)
        self.weights, self.normalizers = dict(weights or {}), dict(normalizers or {})
        names = [factor.name for factor in self.factors]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"factors need different names, got {', '.join(names) or 'none'}")
        for name in [*self.weights, *self.normalizers]:
            if name not in names:
                raise ValueError(f"no factor is called {name!r}; there are {', '.join(names)}")

    def factors_of(self, choice: Choice) -> dict[str, list[float]]:
        """Each factor as it is. Raises `ScorerError` for a value that is not a finite number."""
        values = {}
        for factor in self.factors:
            values[factor.name] = [float(value) for value in factor(choice)]
            if len(values[factor.name]) != len(choice.actions) or not np.isfinite(values[factor.name]).all():
                raise ScorerError(f"the factor {factor.name} did not give one finite number per action")
        return values

    def combined(self, values: Mapping[str, Values]) -> np.ndarray:
        """The rewards from the factors of one choice; normalizers learn from them."""
        total = 0.0
        for name, value in values.items():
            normalizer = self.normalizers.get(name)
            value = np.asarray(value, dtype=np.float64) if normalizer is None else normalizer(value)
            total = total + self.weights.get(name, 1.0) * value
        return np.asarray(total)

    def normalized(self, samples: Mapping[str, Values], *, regions: int = 1, online: bool = False) -> Composite:
        """The same factors, each put on the scale of its sample (see `collect`), in as many regions."""
        normalizers = {
            name: RegionalNormalizer.fit(sample, "mixture" if regions > 1 else (), regions=regions, online=online)
            for name, sample in samples.items()
        }
        return Composite(self.factors, self.weights, normalizers)

    def fresh(self) -> Composite:
        """The same, with normalizers of its own that have learned what these have."""
        return Composite(self.factors, self.weights, copy.deepcopy(self.normalizers))

    def usage(self) -> Usage:
        """What the experts of all factors were asked so far."""
        experts: dict[int, Scorer] = {}
        for factor in self.factors:
            reader = getattr(factor, "reader", None)
            expert = getattr(reader, "expert", None) or getattr(factor, "scorer", None)
            if expert is not None:
                experts[id(expert)] = expert
        return sum((expert.usage for expert in experts.values()), Usage())


def collect(composite: Composite, choices: Sequence[Choice]) -> dict[str, np.ndarray]:
    """Each factor of all actions of these choices: a sample to normalize by."""
    rows = [composite.factors_of(choice) for choice in choices]
    return {factor.name: np.concatenate([row[factor.name] for row in rows]) for factor in composite.factors}
