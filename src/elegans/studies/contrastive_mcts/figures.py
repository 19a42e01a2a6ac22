"""What a reader of the paper expects to see, and what its reviewers asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from elegans.studies.contrastive_mcts.claims import rankings_kept, solved, success
from elegans.studies.contrastive_mcts.paired import mcnemar, wilson
from elegans.studies.contrastive_mcts.settings import CONSTANTS, ITERATIONS, OPEN_LOOP
from elegans.study import Bars, Curves, Heatmap, Results, Trees

FAMILIES: dict[str, tuple[str, ...]] = {
    "search, log-likelihood": tuple("ll" if n == 10 else f"ll x{n}" for n in ITERATIONS),
    "search, with self-evaluation": tuple("ll+se" if n == 10 else f"ll+se x{n}" for n in ITERATIONS),
    "search, normalized composite": tuple("composite" if n == 10 else f"composite x{n}" for n in ITERATIONS),
    "closed loop, sampled, goal check": ("closed loop", "closed loop, best of 5", "closed loop, best of 10"),
    "whole plans, sampled, goal check": ("greedy plan", "best of 5", "best of 10", "best of 16"),
    "whole plans, no check": ("greedy plan", "self-consistency of 10"),
}
"""Methods that can be given more: the points of one curve, cheapest first."""

PAIRS = {
    "search / greedy plan": ("ll", "greedy plan"),
    "search / self-consistency": ("ll", "self-consistency of 10"),
    "search / best of 10, checked": ("ll", "best of 10"),
    "with self-evaluation / without": ("ll+se", "ll, mean"),
    "composite / RAP": ("composite", "rap"),
    "composite / the same without divergence": ("composite", "normalized"),
    "progress / none": ("progress", "ll+se"),
    "C = 1 / C = 0": ("ll", "ll C=0"),
    "C = 1 / C = 50": ("ll", "ll C=50"),
    "30 / 10 iterations": ("ll x30", "ll"),
}


def shares(results: Results, methods: Mapping[str, str], dim: str = "planner") -> xr.DataArray:
    """Success of several methods along a new dimension, with their labels."""
    rows = xr.concat([success(results, method) for method in methods.values()], dim)
    return rows.assign_coords({dim: list(methods)})


def panel(results: Results, rows: Mapping[str, Sequence[str]], dim: str, columns: Sequence[object], across: str):
    """Success of a table of methods: its rows along `dim`, its columns along `across`."""
    parts = [shares(results, dict(zip(map(str, columns), names, strict=True)), across) for names in rows.values()]
    return xr.concat(parts, dim).assign_coords({dim: list(rows), across: list(columns)})


def cost(results: Results, method: str, kind: str) -> xr.DataArray:
    """What a method asks of the expert per problem: passes or tokens."""
    return results["plans" if method in OPEN_LOOP else "search"][kind].sel(planner=method, drop=True)


def frontier(results: Results) -> xr.DataArray:
    """Success at equal cost, on the line between the points of each family, in the logarithm of the cost."""
    kinds = {"passes": "forward passes of the expert", "tokens": "tokens generated or scored"}
    grids = {kind: _grid(results, kind) for kind in kinds}
    parts = []
    for kind in kinds:
        rows = [_line(results, methods, kind, grids[kind]) for methods in FAMILIES.values()]
        parts.append(xr.concat(rows, "planner").assign_coords(planner=list(FAMILIES)))
    return xr.concat(parts, "measure", join="outer").assign_coords(measure=list(kinds.values()))


def _grid(results: Results, kind: str) -> np.ndarray:
    costs = np.concatenate([cost(results, m, kind).values for family in FAMILIES.values() for m in family])
    return np.unique(np.round(np.geomspace(max(1.0, costs.min()), max(2.0, costs.max()), 40), 1))


def _line(results: Results, methods: Sequence[str], kind: str, grid: np.ndarray) -> xr.DataArray:
    x = xr.concat([cost(results, method, kind) for method in methods], "point")
    y = xr.concat([success(results, method) for method in methods], "point")

    def line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        order = np.argsort(x)
        return np.interp(np.log(grid), np.log(x[order]), y[order], left=np.nan, right=np.nan)

    drawn = xr.apply_ufunc(
        line, x, y, vectorize=True, input_core_dims=[["point"], ["point"]], output_core_dims=[["cost"]]
    )
    return drawn.assign_coords(cost=grid)


def ablation(results: Results) -> xr.DataArray:
    """The normalized composite, and without each part."""
    return shares(
        results,
        {
            "log-likelihood": "ll, mean",
            "self-evaluation": "se",
            "log-ratio": "cd",
            "divergence": "jsd",
            "RAP: ll + se, sums": "rap",
            "ll + se, means (default)": "ll+se",
            "ll + se, normalized": "normalized",
            "composite: ll + se + divergence": "composite",
            "composite without ll": "composite without ll",
            "composite without se": "composite without se",
            "log-ratio for the divergence": "composite with cd",
            "the paper's full system": "full system",
            "full system, first play": "full system, first play",
            "random": "random",
        },
    )


def constants(results: Results) -> xr.DataArray:
    """Success over the exploration constant."""
    rows = {
        label: [name if c == 1 else f"{name} C={c:g}" for c in CONSTANTS]
        for label, name in {"ll, sums": "ll", "ll + se, means": "ll+se"}.items()
    }
    return panel(results, rows, "reward", [f"{c:g}" for c in CONSTANTS], "C")


def iterations(results: Results) -> xr.DataArray:
    """Success over iterations."""
    rows = {name.removeprefix("search, "): methods for name, methods in FAMILIES.items() if name.startswith("search")}
    models = panel(results, rows, "reward", ITERATIONS, "iterations")
    random = panel(results, {"random": ("random x1", "random", "random x30")}, "reward", (1, 10, 30), "iterations")
    return xr.concat([models, random], "reward", join="outer")


def areas(results: Results) -> xr.DataArray:
    """Areas of the factors over the expert's training."""
    found = results["rewards"].auc.sel(pair=["20 %", "50 %", "100 %"], factor=["ll", "se", "cd", "jsd"])
    return found.rename(pair="training").assign_coords(training=[20, 50, 100], factor=list(FACTOR_NAMES.values()))


FACTOR_NAMES = {"ll": "log-likelihood", "se": "self-evaluation", "cd": "log-ratio", "jsd": "divergence"}


def amateurs(results: Results) -> xr.DataArray:
    """Areas of the contrastive factors, by amateur."""
    pairs = {"100 %": "small model", "100 %, early self": "itself at 20 %", "100 %, itself": "itself"}
    found = results["rewards"].auc.sel(pair=list(pairs), factor=["cd", "jsd"], among="pooled", drop=True)
    return found.assign_coords(pair=list(pairs.values()), factor=["log-ratio", "divergence"]).rename(pair="amateur")


def composition(results: Results) -> xr.DataArray:
    """Rank correlation of the composite with its factors; the share of choices whose order the divergence leaves."""
    found = results["rewards"].rank_correlation
    kept = xr.concat([rankings_kept(results, scale) for scale in found.scale.values], "scale")
    rows = [*(found.sel(part=part, drop=True) for part in found.part.values), kept.assign_coords(scale=found.scale)]
    labels = ["log-likelihood", "self-evaluation", "divergence", "orders that the divergence leaves"]
    return xr.concat(rows, "part", coords="minimal", compat="override").assign_coords(part=labels)


def correlations(results: Results) -> xr.DataArray:
    """Correlation matrix of the paper's factors."""
    names = [FACTOR_NAMES[str(name)] for name in results["rewards"].part.values]
    return results["rewards"].correlation.assign_coords(part=names, other=names)


def shapes(results: Results) -> xr.DataArray:
    """Skewness and excess kurtosis of the factors."""
    found = results["rewards"]
    rows = xr.concat([found.skewness, found.kurtosis], "moment").assign_coords(moment=["skewness", "excess kurtosis"])
    return rows.assign_coords(part=[FACTOR_NAMES[str(name)] for name in found.part.values])


def speedups(results: Results) -> xr.DataArray:
    """Measured speed-up, and what single passes and counts predict."""
    found = results["speculation"]
    return xr.concat([found.speedup, found.predicted], "how").assign_coords(
        how=["measured", "from counts and latencies"]
    )


def goal_signal(results: Results) -> xr.DataArray:
    """With the goal signal and without."""
    names = {"log-likelihood": "ll", "ll + se": "ll+se", "composite": "composite", "random": "random"}
    rows = {label: (name, f"{name}, no goal") for label, name in names.items()}
    return panel(results, rows, "reward", ["goal signal", "none"], "told")


def depth(results: Results) -> xr.DataArray:
    """Paths as long as the shortest plan, or four actions longer."""
    rows = {
        "closed loop": ("closed loop", "closed loop, spare"),
        "log-likelihood": ("ll", "ll, spare"),
        "ll + se": ("ll+se", "ll+se, spare"),
    }
    return panel(results, rows, "planner", ["shortest plan", "four actions more"], "limit")


def by_length(results: Results) -> xr.DataArray:
    """Success by the length of the shortest plan."""
    methods = {
        "greedy plan": "greedy plan",
        "best of 10, checked": "best of 10",
        "search, ll": "ll",
        "ll + se": "ll+se",
    }
    lengths = results["search"].length.isel(seed=0, drop=True)
    rows = [solved(results, name).groupby(lengths.rename("length")).mean() for name in methods.values()]
    return xr.concat(rows, "planner").assign_coords(planner=list(methods))


def paired_tests(results: Results) -> xr.DataArray:
    """-log10 of the exact p-value of equal shares, with the sign of the difference."""
    rows = []
    for a, b in PAIRS.values():
        one, other = solved(results, a), solved(results, b)
        sign = np.sign(one.mean("problem") - other.mean("problem"))
        rows.append(-sign * np.log10(mcnemar(one, other)))
    return xr.concat(rows, "pair").assign_coords(pair=list(PAIRS))


def main_methods(results: Results) -> xr.DataArray:
    """Success of the main methods with the ends of their Wilson intervals, seed by seed."""
    methods = (
        "greedy plan",
        "self-consistency of 10",
        "best of 10",
        "closed loop",
        "random",
        "ll",
        "rap",
        "ll+se",
        "composite",
    )
    parts = []
    for method in methods:
        outcome = solved(results, method)
        low, high = wilson(outcome)
        parts.append(xr.concat([low, outcome.mean("problem"), high], "bound"))
    return xr.concat(parts, "planner").assign_coords(planner=list(methods), bound=["low", "share", "high"])


SOLVED = "share of problems solved"

FIGURES = (
    Curves(
        name="frontier",
        caption="Success at equal cost. A pass reads all actions of a node, or one token of every sampled plan, in one "
        "batch; self-evaluation costs a second pass per node. Where the curve of sampled plans with a goal check lies "
        "above, the tree does not pay.",
        data=frontier,
        x="cost",
        x_label="per problem",
        y_label=SOLVED,
        color="planner",
        facet="measure",
        log_x=True,
    ),
    Bars(
        name="main-methods",
        caption="The main methods with the ends of their Wilson intervals (95 %), each seed a point.",
        data=main_methods,
        x="planner",
        y_label=SOLVED,
        color="bound",
    ),
    Bars(
        name="ablation",
        caption="Rewards alone, together, and with one left out, at ten iterations. Means per step unless it says sums.",
        data=ablation,
        x="planner",
        y_label=SOLVED,
    ),
    Bars(
        name="exploration",
        caption="Success over the exploration constant at rewards as they are: too little and too much both cost.",
        data=constants,
        x="C",
        y_label=SOLVED,
        color="reward",
    ),
    Curves(
        name="iterations",
        caption="Success over iterations: the first count most, but thirty still add to ten.",
        data=iterations,
        x="iterations",
        y_label=SOLVED,
        color="reward",
        log_x=True,
    ),
    Bars(
        name="goal-signal",
        caption="Success with a reward for the goal and a preference for paths that reach it, and with neither.",
        data=goal_signal,
        x="reward",
        y_label=SOLVED,
        color="told",
    ),
    Bars(
        name="depth",
        caption="Success within the length of the shortest plan, which an oracle told the search, and with four actions "
        "more.",
        data=depth,
        x="planner",
        y_label=SOLVED,
        color="limit",
    ),
    Curves(
        name="by-length",
        caption="Success by the length of the shortest plan.",
        data=by_length,
        x="length",
        x_label="actions of the shortest plan",
        y_label=SOLVED,
        color="planner",
    ),
    Bars(
        name="paired-tests",
        caption="McNemar's exact test of each seed's problems: -log10 p, negative where the second method solves more.",
        data=paired_tests,
        x="pair",
        y_label="-log10 p, signed",
        rules={"p = 0.01": 2.0, "p = 0.01, against": -2.0},
    ),
    Curves(
        name="areas",
        caption="Chance that a reward puts an action that lowers the distance to the goal above one that does not, over the "
        "expert's training. Below one half a reward points away from the goal.",
        data=areas,
        x="training",
        x_label="expert's training (%)",
        y_label="area under the curve",
        color="factor",
        facet="among",
        rules={"chance": 0.5},
    ),
    Bars(
        name="amateurs",
        caption="The contrastive rewards of the trained expert, by its amateur.",
        data=amateurs,
        x="amateur",
        y_label="area under the curve",
        color="factor",
        rules={"chance": 0.5},
    ),
    Bars(
        name="composition",
        caption="Who speaks in the composite: rank correlation with each factor, and the share of choices whose order the "
        "divergence leaves as it was.",
        data=composition,
        x="part",
        y_label="rank correlation, or share",
        color="scale",
    ),
    Heatmap(
        name="correlations",
        caption="Correlation of the rewards over actions. The paper reports less than 0.15 in size for all pairs.",
        data=correlations,
        x="part",
        y="other",
    ),
    Bars(
        name="shapes",
        caption="Skewness and excess kurtosis of the rewards; 0 for a normal distribution.",
        data=shapes,
        x="part",
        y_label="moment",
        color="moment",
    ),
    Trees(
        name="trees",
        caption="What some searches made of the last problem.",
        data=lambda r: r["search"].trace,
        x="traced",
        x_label="search",
    ),
    Bars(
        name="speculation",
        caption="Speed of writing the next state with a draft over that without, in seconds of one core, and what latencies "
        "of single passes with the counted passes say.",
        data=speedups,
        x="variant",
        y_label="speed-up",
        color="how",
        rules={"as fast": 1.0},
    ),
)
