"""Putting reward factors on one scale.

Shapes: M sampled values of a factor, K regions, N values to normalize.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

Values = Sequence[float] | np.ndarray


@runtime_checkable
class Normalizer(Protocol):
    """A map of values to a common scale, which may learn from what it sees."""

    def __call__(self, values: Values) -> Float[np.ndarray, " N"]:
        """The normalized values of one choice. What is learned from them acts on later choices only."""
        ...


class RegionalNormalizer:
    r"""Standardization within regions of values (arXiv 2410.01707, algorithms 1 and 3).

    .. math::
        R_\mathrm{norm}(x) = (x - \mu_{k}) / \sigma_{k}, \qquad k = \max \{j : b_j \le x\}

    One region is ordinary standardization. Boundaries stay fixed; with `online`, each value then updates the mean and the
    population standard deviation of its region, exactly (Welford).

    Args:
        boundaries: b_2 < ... < b_K, between the regions; below the first is region 1.
        means, stds: of each region.
        counts: how many values these come from.
        online: learn from what is normalized.
        floor: least standard deviation, so that a factor that hardly varies is not blown up.
    """

    def __init__(
        self,
        boundaries: Values,
        means: Values,
        stds: Values,
        counts: Sequence[int] | np.ndarray,
        *,
        online: bool = True,
        floor: float = 1e-6,
    ) -> None:
        self.boundaries = np.asarray(boundaries, dtype=np.float64)
        self.means, self.stds = (np.array(x, dtype=np.float64) for x in (means, stds))
        self.counts = np.array(counts, dtype=np.int64)
        self.online, self.floor = online, floor
        sizes = {len(self.boundaries) + 1, len(self.means), len(self.stds), len(self.counts)}
        if len(sizes) > 1 or (np.diff(self.boundaries) <= 0).any() or (self.stds < 0).any():
            raise ValueError("need rising boundaries, and mean, deviation and count of each of the regions they make")

    @classmethod
    def fit(
        cls,
        sample: Values,
        boundaries: Values | Literal["gaps", "mixture"] = (),
        *,
        regions: int = 1,
        online: bool = True,
        floor: float = 1e-6,
    ) -> RegionalNormalizer:
        """From values seen before the search. A region with fewer than two of them takes the moments of all.

        Boundaries are given (the paper sets them by eye), or found for a number of regions: ``gaps`` puts them into the
        widest gaps between neighbors of the middle 90 % of the values, ``mixture`` where the likeliest of as many normal
        distributions changes. Raises `ValueError` for fewer than two values or a value that is not finite.
        """
        values = np.sort(np.asarray(sample, dtype=np.float64))
        if len(values) < 2 or not np.isfinite(values).all():
            raise ValueError("need at least two finite values to normalize by")
        if isinstance(boundaries, str):
            boundaries = {"gaps": _gaps, "mixture": _mixture}[boundaries](values, regions)
        region = np.searchsorted(boundaries, values, side="right")
        parts = [values[region == k] for k in range(len(boundaries) + 1)]
        parts = [part if len(part) > 1 else values for part in parts]
        return cls(
            boundaries,
            [part.mean() for part in parts],
            [part.std() for part in parts],
            [len(part) for part in parts],
            online=online,
            floor=floor,
        )

    def region(self, values: Values) -> np.ndarray:
        """The region of each value, from 0."""
        return np.searchsorted(self.boundaries, np.asarray(values, dtype=np.float64), side="right")

    def __call__(self, values: Values) -> Float[np.ndarray, " N"]:
        """See `Normalizer`."""
        values, region = np.asarray(values, dtype=np.float64), self.region(values)
        normalized = (values - self.means[region]) / np.maximum(self.stds[region], self.floor)
        if self.online:
            for value, k in zip(values.tolist(), region.tolist(), strict=True):
                self._update(value, k)
        return normalized

    def _update(self, value: float, k: int) -> None:
        n = self.counts[k] + 1
        delta = value - self.means[k]
        mean = self.means[k] + delta / n
        squares = (n - 1) * self.stds[k] ** 2 + delta * (value - mean)
        self.counts[k], self.means[k], self.stds[k] = n, mean, np.sqrt(max(0.0, squares / n))


def standardized(sample: Values, *, online: bool = False, floor: float = 1e-6) -> RegionalNormalizer:
    """Minus the mean, over the population standard deviation, of a sample."""
    return RegionalNormalizer.fit(sample, online=online, floor=floor)


def _gaps(values: Float[np.ndarray, " M"], regions: int) -> np.ndarray:
    low, high = np.quantile(values, [0.05, 0.95])
    middle = values[(values >= low) & (values <= high)]
    if len(middle) < regions:
        raise ValueError(f"{len(values)} values are too few for {regions} regions")
    widest = np.sort(np.argsort(-np.diff(middle), kind="stable")[: regions - 1])
    return np.unique((middle[widest] + middle[widest + 1]) / 2)


def _mixture(values: Float[np.ndarray, " M"], regions: int) -> np.ndarray:
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(regions, random_state=0).fit(values[:, None])
    grid = np.linspace(values[0], values[-1], 1024)
    label = mixture.predict(grid[:, None])
    changes = np.flatnonzero(np.diff(label))
    return (grid[changes] + grid[changes + 1]) / 2
