"""What a reader of the paper expects to see."""

import numpy as np
import xarray as xr

from elegans.studies.reversal_curse.claims import CELLS, DEPTHS, WIDTHS, improvement, margin
from elegans.study import Bars, Curves, Heatmap, Results

DIRECTIONS = {"forward": "trained direction", "reverse": "untrained direction"}


def losses(results: Results) -> xr.DataArray:
    """Loss of the held pairs in both directions, in four models."""
    arms = {
        "bilinear-wide": "bilinear",
        "bilinear-wide-symmetric": "bilinear, symmetric",
        "gpt": "transformer",
        "gpt-reverse-added": "transformer, reverse added",
    }
    return results.over(
        arms, lambda data: data.nll.sel(split=list(DIRECTIONS)).assign_coords(split=list(DIRECTIONS.values()))
    )


def separation(results: Results) -> xr.DataArray:
    """|L_rev(T) / L_rev(0) - 1| over the width."""
    kinds = {"": "free weights", "-symmetric": "symmetric weights"}
    rows = [xr.concat([abs(improvement(results, arm + k) - 1) for arm in WIDTHS], "width") for k in kinds]
    widths = [int(results[arm].width.isel(seed=0)) for arm in WIDTHS]
    return xr.concat(rows, "weights").assign_coords(width=widths, weights=list(kinds.values()))


def weights(results: Results) -> xr.DataArray:
    """Effective weights of the held pairs in both directions, over training."""
    arms = {"one-layer-reversal": "one layer", "one-layer-reversal-symmetric": "one layer, symmetric Y"}

    def both(data: xr.Dataset) -> xr.DataArray:
        rows = xr.concat([data.weight_forward, data.weight_reverse], "entry")
        return rows.assign_coords(entry=["Y[A, B], trained", "Y[B, A], untrained"])

    return results.over(arms, both)


def logits(results: Results) -> xr.DataArray:
    """Logit matrices of the two-layer transformer, first seed."""
    matrix = results["gpt"].logits.isel(seed=0, drop=True)
    return matrix.assign_coords(direction=["asked as trained", "asked the other way"])


def calls(results: Results) -> xr.DataArray:
    """Direct answer and two calls on held triples, over training."""
    arms = {"gpt-chain": "random words", "gpt-chain-related": "related words (control)"}

    def both(data: xr.Dataset) -> xr.DataArray:
        held = data.sel(triples="held", drop=True)
        rows = xr.concat([held.p_direct, held.p_cot], "asked")
        return rows.assign_coords(asked=["one call: p(C | A ~>)", "two calls: p(B | A ->) p(C | B ->)"])

    return results.over(arms, both)


def margins(results: Results) -> xr.DataArray:
    """Margin over a uniform guess in every transformer."""
    arms = [*DEPTHS, *CELLS, "gpt-identity", "gpt-reverse-added", "gpt-in-context"]
    rows = xr.concat([margin(results, arm) for arm in arms], "arm")
    return rows.assign_coords(arm=[arm.removeprefix("gpt-") for arm in arms])


def cosines(results: Results) -> xr.DataArray:
    """Mean |cosine| between input embeddings, against that of random vectors."""
    arms = [*DEPTHS, *CELLS]
    return results.over({arm: arm.removeprefix("gpt-") for arm in arms}, lambda data: data.mean_cosine)


FIGURES = (
    Curves(
        name="losses",
        caption="Loss of the held pairs in the direction they were trained in and in the other. Only where weights are "
        "symmetric, or the missing direction is trained too, does the second curve fall.",
        data=losses,
        x="step",
        y_label="loss (nats)",
        color="split",
        facet="arm",
    ),
    Curves(
        name="separation",
        caption="How much training changes the reverse loss of the bilinear model, over its width. With free weights the "
        "change vanishes: what remains at small widths is interference between overlapping embeddings.",
        data=separation,
        x="width",
        x_label="width d",
        y_label="|L_rev(T) / L_rev(0) - 1|",
        color="weights",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="effective-weights",
        caption="Effective weights of the held pairs in the one-layer transformer: gradient descent moves Y[A, B] only, "
        "unless symmetry forces its mirror image along.",
        data=weights,
        x="step",
        y_label="weight (logits)",
        color="entry",
        facet="arm",
    ),
    Heatmap(
        name="logit-matrices",
        caption="Logit of the answer of pair j to the question of pair i, in a two-layer transformer. Pairs from number "
        "35 on are held: asked as trained they have a diagonal, asked the other way they have none.",
        data=logits,
        x="answer",
        y="query",
        x_label="answer of pair",
        y_label="question of pair",
        facet="direction",
    ),
    Curves(
        name="two-calls",
        caption="Held triples: the conclusion asked at once and in two calls. With random words only two calls succeed; "
        "with related words the conclusion can be copied and one call succeeds as well.",
        data=calls,
        x="step",
        y_label="probability",
        color="asked",
        facet="arm",
    ),
    Bars(
        name="robustness",
        caption="Loss on the untrained direction minus that of a uniform guess among the possible answers. Negative means "
        "knowledge: the two controls on the right have it, and the transformer that also trains identity items.",
        data=margins,
        x="arm",
        y_label="margin (nats)",
        rules={"uniform guess": 0.0},
    ),
    Bars(
        name="embedding-overlap",
        caption="Mean |cosine| between the input embeddings of different symbols after training. The theory asks for "
        "nearly orthogonal ones; random vectors of width 64 have 0.1.",
        data=cosines,
        x="arm",
        y_label="mean |cosine|",
        rules={"random, width 64": float(np.sqrt(2 / (np.pi * 64)))},
    ),
)
