"""What a reader of the paper expects to see."""

from __future__ import annotations

import numpy as np
import xarray as xr

from elegans.studies.gd_cot.claims import answer, on
from elegans.study import Bars, Curves, Figure, Heatmap, Results

SUPERVISIONS = {
    "cot": "chain of thought",
    "outcome": "outcome only",
    "loop-4": "four loops",
    "direct": "direct answer",
}
FLOOR = 10 * 11 / 31


def capped(data: xr.DataArray, cap: float = 1e3) -> xr.DataArray:
    """Errors for an axis: what diverges runs along the upper edge."""
    return data.clip(max=cap)


def errors(results: Results) -> xr.DataArray:
    """Error over thoughts at test time, with gradient descent on the same prompts."""
    arms = results.over(SUPERVISIONS, lambda data: capped(on(data.error)))
    gd = on(results["cot"].gd_error).expand_dims(arm=["gradient descent"])
    return xr.concat([arms, gd], "arm")


def covariances(results: Results) -> xr.DataArray:
    """Error over thoughts by distribution of the prompts, model and gradient descent."""
    data = results["cot"]
    rows = xr.concat([capped(data.error), capped(data.gd_error)], "who")
    return rows.assign_coords(who=["chain of thought", "gradient descent"])


def training(results: Results) -> xr.DataArray:
    """The two products of weights over training."""
    arms = {"cot": "sparse start", "cot-random": "random start", "direct": "direct answer"}

    def both(data: xr.Dataset) -> xr.DataArray:
        rows = xr.concat([data.label_product, data.state_product], "product")
        return rows.assign_coords(product=["V[w, x] W[y, 1]", "V[w, x] W[x, w]"])

    return results.over(arms, both)


def loops(results: Results) -> xr.DataArray:
    """Error at the trained number of thoughts or loops."""
    arms = ["direct", "direct-long", "loop-1", "loop-2", "loop-4", "outcome", "cot"]
    return xr.concat([answer(results, arm) for arm in arms], "arm").assign_coords(arm=arms)


def weights(results: Results) -> xr.DataArray:
    """V and W of the random start over training, first seed."""
    return results["cot-random"].weights.isel(seed=0, drop=True)


def overthinking(results: Results) -> xr.DataArray:
    """log10 error over thoughts, by supervision and distribution."""
    return xr.DataArray(np.log10(results.over(SUPERVISIONS, lambda data: capped(data.error))))


FIGURES: tuple[Figure, ...] = (
    Curves(
        name="errors",
        caption="Error of the estimate over the number of thoughts at test time. The model trained with chain of "
        "thought lies on gradient descent far beyond the ten thoughts of its training; the others are good near the "
        "number they were trained with. Errors above 1000 are drawn at 1000.",
        data=errors,
        x="thoughts",
        x_label="thoughts (or loops)",
        y_label="|w_k - w|^2",
        color="arm",
        log_y=True,
        rules={"best single step": FLOOR},
    ),
    Curves(
        name="covariances",
        caption="The same with inputs of another covariance, and with label noise. The model follows gradient descent "
        "where it converges and where it diverges (covariance 2 I, step 0.4).",
        data=covariances,
        x="thoughts",
        y_label="|w_k - w|^2",
        color="who",
        facet="split",
        log_y=True,
    ),
    Curves(
        name="products",
        caption="The gauge-free products of weights over training. Gradient descent with step 0.4 has 0.4 and -0.4; a "
        "direct answer needs the first alone.",
        data=training,
        x="step",
        y_label="mean of the diagonal",
        color="product",
        facet="arm",
    ),
    Bars(
        name="loops",
        caption="Error at the number of thoughts or loops used in training.",
        data=loops,
        x="arm",
        y_label="|w_k - w|^2",
        rules={"best single step": FLOOR},
    ),
    Heatmap(
        name="weights",
        caption="V and W over training from a random start (first seed). Rows and columns are x (0-9), y (10), w "
        "(11-20), 1 (21). The blocks of gradient descent rise: V[w, x], W[x, w] and W[y, 1].",
        data=weights,
        x="column",
        y="row",
        facet="matrix",
        slider="step",
    ),
    Heatmap(
        name="overthinking",
        caption="log10 of the error over thoughts at test time: who may think longer than in training, and on which "
        "prompts.",
        data=overthinking,
        x="thoughts",
        y="arm",
        facet="split",
    ),
)
