"""From a figure's labelled array to the rows that are drawn: checked, averaged over seeds, made small.

Every function that changes what the reader sees adds a sentence to `notes`, which the page prints below the caption.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import xarray as xr

    from elegans.study import Figure

STATISTICS = ("mean", "low", "high")


def fit(figure: Figure, data: xr.DataArray, roles: Sequence[str]) -> xr.DataArray:
    """`data` with the dimensions `roles` (and ``seed`` if it has it), in that order, and a coordinate on each.

    Raises ValueError if a role's dimension is missing or a dimension of length above one has no role.
    """
    roles = list(dict.fromkeys(role for role in roles if role))
    if absent := [role for role in roles if role not in data.dims]:
        raise ValueError(f"figure {figure.name!r} needs dimension {absent[0]!r}; its data have {data.dims}")
    spare = [str(dim) for dim in data.dims if dim not in roles and dim != "seed"]
    if wide := [dim for dim in spare if data.sizes[dim] > 1]:
        raise ValueError(f"figure {figure.name!r}: dimension {wide[0]!r} has no place in it; average or select it")
    data = data.squeeze(spare, drop=True).reset_coords(drop=True)
    data = data.assign_coords({dim: np.arange(n) for dim, n in data.sizes.items() if dim not in data.coords})
    return data.transpose(*roles, ..., "seed", missing_dims="ignore")


def arrange(figure: Figure, data: xr.DataArray, roles: Sequence[str]) -> xr.DataArray:
    """`data` as `fit` returns them, as floats; infinities become NaN. Raises ValueError as `fit` does, or if all is NaN."""
    data = fit(figure, data, roles).astype(float)
    data = data.where(np.isfinite(data))
    if not data.notnull().any():
        raise ValueError(f"figure {figure.name!r}: its data hold no finite number")
    return data


def is_numeric(data: xr.DataArray, dim: str) -> bool:
    """Whether the coordinate of `dim` holds numbers."""
    return data[dim].dtype.kind in "iuf"


def labels(data: xr.DataArray, dim: str, *, named: bool = False) -> list[str]:
    """The labels of `dim` as distinct strings: repeated ones (tokens, say) get their position in front.

    A `named` numeric label carries its dimension's name: ``layer 3``.
    """
    numeric = is_numeric(data, dim)
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in data[dim].values.tolist()]
    if numeric and named:
        texts = [f"{dim} {text}" for text in texts]
    if len(set(texts)) < len(texts):
        return [f"{position}: {text}" for position, text in enumerate(texts)]
    return [text or "(empty)" for text in texts]


def over_seeds(data: xr.DataArray, statistics: Sequence[str] = STATISTICS) -> dict[str, xr.DataArray]:
    """Mean, minimum (`low`) and maximum (`high`) over ``seed``, ignoring NaN."""
    if "seed" not in data.dims:
        return dict.fromkeys(statistics, data)
    reduce = {"mean": data.mean, "low": data.min, "high": data.max}
    return {name: reduce[name]("seed") for name in statistics}


def say_seeds(data: xr.DataArray, notes: list[str], sentence: str) -> bool:
    """Whether the data hold several seeds; if so, `notes` gets `sentence` with their number."""
    several = data.sizes.get("seed", 1) > 1
    if several:
        notes.append(sentence.format(data.sizes["seed"]))
    return several


def rows(columns: Mapping[str, xr.DataArray], dims: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Long form of arrays that share dimensions: one row per cell, axes renamed and relabelled by `dims` in order."""
    index = pd.MultiIndex.from_product(list(dims.values()), names=list(dims))
    return pd.DataFrame({name: column.values.ravel() for name, column in columns.items()}, index=index).reset_index()


def as_csv(frame: pd.DataFrame, digits: int = 5) -> str:
    """`frame` as compact CSV for a figure's specification, its statistics rounded to `digits` significant digits."""
    shown = frame.copy()
    for name in shown.columns.intersection(list(STATISTICS)):
        shown[name] = [None if pd.isna(x) else f"{x:.{digits}g}" for x in shown[name]]
    return shown.to_csv(index=False, lineterminator="\n")


# ------------------------------------------------------------------------------------------------ smaller


def thin(data: xr.DataArray, dim: str, limit: int, notes: list[str]) -> xr.DataArray:
    """At most `limit` positions of `dim`, evenly spread, first and last among them."""
    n = data.sizes[dim]
    if n <= limit:
        return data
    notes.append(f"Shown at {limit} of {n} values of {dim}; the CSV has all.")
    return data.isel({dim: _spread(n, limit)})


def thin_lines(
    frame: pd.DataFrame, keys: Sequence[str], limit: int, notes: list[str], *, log: bool = False
) -> pd.DataFrame:
    """At most `limit` rows of every line (the rows that share `keys`), evenly spread, in the logarithm if `log`."""
    groups = [group for _, group in frame.groupby(list(keys), sort=False)] if keys else [frame]
    longest = max(len(group) for group in groups)
    if longest <= limit:
        return frame
    notes.append(f"Lines are drawn through at most {limit} of up to {longest} points; the CSV has all.")
    return pd.concat([group.iloc[_spread(len(group), limit, log=log)] for group in groups], ignore_index=True)


def _spread(n: int, limit: int, *, log: bool = False) -> np.ndarray:
    if n <= limit:
        return np.arange(n)
    return np.unique((np.geomspace(1, n, limit) - 1 if log else np.linspace(0, n - 1, limit)).round().astype(int))


def block_mean(data: xr.DataArray, limits: Mapping[str, int], notes: list[str]) -> xr.DataArray:
    """`data` with at most ``limits[dim]`` cells per dimension: means over blocks, labelled by a block's first cell."""
    factors = {dim: math.ceil(data.sizes[dim] / limit) for dim, limit in limits.items()}
    factors = {dim: factor for dim, factor in factors.items() if factor > 1}
    if not factors:
        return data
    firsts = {dim: data[dim].values[::factor] for dim, factor in factors.items()}
    coarse = data.drop_vars(list(factors)).coarsen(factors, boundary="pad")
    size = " x ".join(f"{factor} ({dim})" for dim, factor in factors.items())
    notes.append(f"Each cell is the mean of a block of {size}, labelled by its first; the CSV has all.")
    return coarse.mean().assign_coords(firsts)  # pyright: ignore[reportAttributeAccessIssue]


def visible_rules(rules: Mapping[str, float], log: bool, notes: list[str]) -> dict[str, float]:
    """The reference rules that the axis can show; a logarithmic one shows none at or below zero."""
    shown = {name: at for name, at in rules.items() if at > 0 or not log}
    if hidden := [f"{name} ({at:g})" for name, at in rules.items() if name not in shown]:
        notes.append(f"The logarithmic axis cannot show {', '.join(hidden)}.")
    return shown


def clip_to_positive(values: np.ndarray, notes: list[str], axis: str) -> tuple[np.ndarray, float]:
    """`values` for a logarithmic axis, with those at or below zero on the decade below the smallest positive value.

    Returns them and the value on which they now lie.
    """
    positive = values[values > 0]
    floor = 10.0 ** (math.ceil(math.log10(positive.min())) - 1) if positive.size else 1.0
    if (values <= 0).any():
        notes.append(f"Values at or below zero are drawn at {floor:g} on the logarithmic {axis} axis.")
    return np.where(values <= 0, floor, values), floor
