"""Two methods on the same problems (McNemar's exact test), and the interval of a share (Wilson)."""

from __future__ import annotations

import xarray as xr


def net_wins(a: xr.DataArray, b: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Problems that only `a` solves, and that only `b` does, of outcomes 0 or 1 along ``problem``."""
    a, b = a.astype(bool), b.astype(bool)
    return (a & ~b).sum("problem"), (b & ~a).sum("problem")


def mcnemar(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """The two-sided exact p-value of equal shares, from the problems that exactly one of two methods solves."""
    return xr.apply_ufunc(_exact, *net_wins(a, b), vectorize=True)


def _exact(wins: int, losses: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(int(wins), int(wins + losses)).pvalue) if wins + losses else 1.0


def wilson(solved: xr.DataArray, level: float = 0.95) -> tuple[xr.DataArray, xr.DataArray]:
    """The ends of the score interval (Wilson 1927) of the share of ``problem`` that is solved."""

    def bounds(count: int, total: int) -> tuple[float, float]:
        from scipy.stats import binomtest

        interval = binomtest(int(count), int(total)).proportion_ci(level, method="wilson")
        return float(interval.low), float(interval.high)

    total = solved.sizes["problem"]
    return xr.apply_ufunc(bounds, solved.sum("problem"), total, vectorize=True, output_core_dims=[[], []])
