"""What a reader of the paper expects to see."""

import numpy as np
import xarray as xr

from elegans.studies.ssm_limits.arms import SOLVED
from elegans.studies.ssm_limits.claims import final
from elegans.study import Bars, Curves, Heatmap, Results

COPIERS = {
    "copy-alibi": "transformer, ALiBi",
    "copy-rotary": "transformer, rotary",
    "copy-learned": "transformer, learned positions",
    "copy-no-positions": "transformer, no positions",
    "copy-hard-alibi": "transformer, hard ALiBi",
    "copy-ssm": "state space",
    "copy-ssm-small-state": "state space, N = 1",
}
SHORT = {
    "copy-alibi-short": "transformer, ALiBi",
    "copy-ssm-short": "state space",
    "copy-ssm-short-small-state": "state space, N = 1",
}
PROGRAMS = {"prefix-long": "prefix sums", "lis-long": "LIS", "lis-short": "LIS, short (control)"}
RACES = {"prefix-medium": "prefix sums", "prefix-short": "short prefix sums (control)", "lis-long": "LIS"}
FAMILIES = {"": "transformer", "-ssm": "state space"}
LOCAL = ("local-lag1", "local-lag2", "local-lag3", "local-shorter", "local-longer")


def capacity(results: Results) -> xr.DataArray:
    """Accuracy over N / T by T."""
    return results["capacity"].accuracy


def capacity_fixed(results: Results) -> xr.DataArray:
    """Accuracy over T at one N."""
    return results["capacity"].accuracy_fixed


def copying(results: Results) -> xr.DataArray:
    """Character accuracy on the longest strings over training, at two lengths."""
    parts = {"long strings": COPIERS | {"copy-alibi-shuffled": "shuffled targets (control)"}, "short strings": SHORT}
    rows = [results.over(arms, lambda data: data.char_accuracy.sel(split="test", drop=True)) for arms in parts.values()]
    return xr.concat(rows, "strings", join="outer").assign_coords(strings=list(parts))


def by_length(results: Results) -> xr.DataArray:
    """Character accuracy by length, with the true copy so far given and without."""
    scores = {"char_given": "true copy so far given", "char_free": "free running"}

    def both(data: xr.Dataset) -> xr.DataArray:
        return xr.concat([data[name] for name in scores], "read").assign_coords(read=list(scores.values()))

    return results.over(COPIERS, both)


def rates(results: Results) -> xr.DataArray:
    """The score of every learning rate on the tuning seed."""
    arms = {
        "rates-copy-transformer": "transformer, copying",
        "rates-copy-ssm": "state space, copying",
        "rates-chain-transformer": "transformer, LIS",
        "rates-chain-ssm": "state space, LIS",
    }
    return results.over(arms, lambda data: data.score)


def answers(results: Results) -> xr.DataArray:
    """Right answers with the chain and without."""

    def both(program: str) -> xr.DataArray:
        rows = [final(results, f"{program}-{view}", "answer") for view in ("cot", "direct")]
        return xr.concat(rows, "output").assign_coords(output=["chain of thought", "answer at once"])

    return xr.concat([both(p) for p in PROGRAMS], "program").assign_coords(program=list(PROGRAMS.values()))


def exact_chains(results: Results) -> xr.DataArray:
    """Exact chains over training, transformer against state space model."""
    rows = [
        results.over({f"{p}-cot{suffix}": name for suffix, name in FAMILIES.items()}, lambda data: data.chain)
        for p in RACES
    ]
    return xr.concat(rows, "program", join="outer").assign_coords(program=list(RACES.values()))


def trap(results: Results) -> xr.DataArray:
    """Three ways to score LIS, transformer against state space model."""
    scores = {
        "answer_given": "answer, true chain given",
        "answer": "answer, own chain",
        "chain": "exact chain",
    }

    def all_of(data: xr.Dataset) -> xr.DataArray:
        return xr.concat([data[name] for name in scores], "scored").assign_coords(scored=list(scores.values()))

    return results.over({f"lis-long-cot{suffix}": name for suffix, name in FAMILIES.items()}, all_of)


def locality(results: Results) -> xr.DataArray:
    """Token accuracy by lag and state at each length."""
    cells = [results[arm] for arm in LOCAL]
    places = [(int(cell.lag.isel(seed=0)), int(cell.pairs.isel(seed=0))) for cell in cells]
    lags, lengths = (sorted({place[i] for place in places}) for i in (0, 1))
    example = cells[0].accuracy
    empty = xr.full_like(example, np.nan)
    by_place = dict(zip(places, (cell.accuracy for cell in cells), strict=True))
    rows = [xr.concat([by_place.get((m, t), empty) for m in lags], "lag") for t in lengths]
    table = xr.concat(rows, "length").assign_coords(lag=lags, length=[f"{t} pairs" for t in lengths])
    return table.transpose("length", "lag", "state", "seed")


def state_bytes(results: Results) -> xr.DataArray:
    """Bytes of the state of one sequence over the length."""
    return results["cost"].state_bytes


def relative_costs(results: Results) -> xr.DataArray:
    """Multiply-adds of mixing over those of attention."""
    operations = results["cost"].operations
    regimes = [name for name in operations.regime.values if name != "attention"]
    return operations.sel(regime=regimes) / operations.sel(regime="attention", drop=True)


FIGURES = (
    Curves(
        name="capacity",
        caption="What a state space layer without decay copies of T random pairs with N numbers per value coordinate, no "
        "training. Over N / T the curves of all lengths fall together: capacity is linear in the size, also with the best "
        "linear readout.",
        data=capacity,
        x="ratio",
        x_label="state over length, N / T",
        y_label="decoded symbols",
        color="pairs",
        facet="memory",
        log_x=True,
        rules={"guess": 1 / 16},
    ),
    Curves(
        name="capacity-at-fixed-size",
        caption="The same with N = 16 at every length, beside softmax attention on keys of width 16: attention keeps all "
        "pairs, and memory for them.",
        data=capacity_fixed,
        x="pairs",
        x_label="pairs T",
        y_label="decoded symbols",
        color="memory_fixed",
        log_x=True,
    ),
    Curves(
        name="copying",
        caption="Character accuracy on the longest training strings, the true copy so far given, with a learning rate swept "
        "for each family. Short strings both families learn; with long ones the state space model falls behind, and what "
        "transformers need depends on their encoding of positions.",
        data=copying,
        x="step",
        x_label="updates",
        y_label="character accuracy",
        color="arm",
        facet="strings",
        rules={"guess": 1 / 16},
    ),
    Curves(
        name="length-generalization",
        caption="Character accuracy by length after training on strings of up to 12 characters (laptop). Beyond, the "
        "encoding of positions matters more than the architecture.",
        data=by_length,
        x="length",
        x_label="characters",
        y_label="character accuracy",
        color="arm",
        facet="read",
        rules={"guess": 1 / 16},
    ),
    Bars(
        name="chain-of-thought",
        caption="Right answers of a transformer with a chain of thought, written by itself, and at once.",
        data=answers,
        x="program",
        y_label="right answers",
        color="output",
    ),
    Curves(
        name="exact-chains",
        caption="Exact free-running chains over training, at matched parameters. Training ends early where a problem is "
        "solved; the curve then goes on flat. State space models are still learning at the end: fewer correct, not unable.",
        data=exact_chains,
        x="step",
        x_label="updates",
        y_label="exact chains",
        color="arm",
        facet="program",
    ),
    Curves(
        name="how-not-to-score",
        caption="LIS scored in three ways. With the true chain given, the answer is the largest number in sight, and both "
        "models seem to be done long before they can write the chain.",
        data=trap,
        x="step",
        x_label="updates",
        y_label="share right",
        color="scored",
        facet="arm",
    ),
    Heatmap(
        name="locality",
        caption="Token accuracy on lagged sums by lag m and number of state numbers E; a guess has 0.5, and "
        f"{SOLVED} counts as solved. States are tried from the largest down to the first that fails. The smallest that "
        "solves it grows with the lag, not with the length.",
        data=locality,
        x="state",
        y="lag",
        x_label="state numbers E",
        y_label="lag m",
        facet="length",
    ),
    Curves(
        name="state-bytes",
        caption="Bytes that decoding carries per sequence: constant for a state, linear for a cache of keys and values.",
        data=state_bytes,
        x="tokens",
        y_label="bytes",
        color="family",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="relative-cost",
        caption="Multiply-adds of mixing tokens over those of attention. A state of fixed size saves ever more, one as long "
        "as the problem saves nothing.",
        data=relative_costs,
        x="tokens",
        y_label="operations over attention's",
        color="regime",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="rates",
        caption="The sweep of learning rates on seed 100: character accuracy, or right tokens, on `select` after a short "
        "training. The best rate of each curve is that of the reported arms.",
        data=rates,
        x="rate",
        x_label="learning rate",
        y_label="score",
        color="arm",
        log_x=True,
    ),
)
