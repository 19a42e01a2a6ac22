"""What a reader of the paper expects to see."""

import xarray as xr

from elegans.studies.icl_contrastive.claims import FUNCTIONS, final
from elegans.study import Bars, Curves, Heatmap, Results

VARIANTS = {
    "plain": "plain",
    "augmented-keys": "augmented keys",
    "augmented-linear": "linear augmentation (control)",
    "negatives": "least similar negatives",
    "random-negatives": "random negatives (control)",
}
LINEAR = VARIANTS | {
    "augmented-values": "augmented values",
    "with-query": "plain, query attends to itself",
    "regularized": "regularized, query attends to itself",
}


def feature_errors(results: Results) -> xr.DataArray:
    """Median error over the number of features, by norm and map."""
    errors = results["features"].error
    return errors.assign_coords(norm=[f"{norm:g}" for norm in errors.norm.values])


def direction_errors(results: Results) -> xr.DataArray:
    """Median error over the number of features, by kind of directions and map."""
    return results["features"].variant_error


def steps(results: Results) -> xr.DataArray:
    """Distance to attention per gradient step, at the loss's rate and at a tenth of it."""
    return results["identity"].to_attention.median("prompt")


def fixed_points(results: Results) -> xr.DataArray:
    """Distance to the fixed point per gradient step, at a convergent and at a divergent alpha."""
    distance = results["identity"].to_fixed_point.median("prompt")
    return distance.assign_coords(alpha=[f"alpha = {a:g}" for a in distance.alpha.values])


def regression(results: Results) -> xr.DataArray:
    """Final error by layer and function."""
    rows = [results.over({f"{f}-{arm}": label for arm, label in VARIANTS.items()}, _final) for f in FUNCTIONS]
    return xr.concat(rows, "function").assign_coords(function=list(FUNCTIONS))


def linear(results: Results) -> xr.DataArray:
    """Final error of every layer on the linear function."""
    return results.over({f"linear-{arm}": label for arm, label in LINEAR.items()}, _final)


def paired(results: Results) -> xr.DataArray:
    """What each layer changes against the plain one of the same seed, on the linear function."""
    arms = {name: label for name, label in VARIANTS.items() if name != "plain"}
    rows = [final(results, f"linear-{arm}") / final(results, "linear-plain") - 1 for arm in arms]
    found = xr.concat(rows, "layer").assign_coords(layer=list(arms.values()))
    return found.rename(seed="run").assign_coords(run=[f"seed {seed}" for seed in found.seed.values])


def _final(data: xr.Dataset) -> xr.DataArray:
    return data.error.isel(step=-1, drop=True)


def learning(results: Results) -> xr.DataArray:
    """Error over training on the linear function."""
    return results.over({f"linear-{arm}": label for arm, label in VARIANTS.items()}, lambda data: data.error)


def kernels(results: Results) -> xr.DataArray:
    """Normalized kernel matrices between the keys of one prompt, first seed."""
    return results["identity"].kernel.isel(seed=0, drop=True)


FIGURES = (
    Curves(
        name="features",
        caption="Distance between one gradient step and attention, with random features. Up to norm 0.5 it falls like the "
        "inverse root of their number; at norm 2 more features hardly help.",
        data=feature_errors,
        x="features",
        x_label="random features R",
        y_label="median relative error",
        color="norm",
        facet="map",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="directions",
        caption="The same for four kinds of directions at norm 0.5. Repeating the first features adds nothing. Orthogonal "
        "directions from a plain QR decomposition are biased, which positive features notice and trigonometric ones "
        "cannot.",
        data=direction_errors,
        x="features",
        x_label="random features R",
        y_label="median relative error",
        color="directions",
        facet="map",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="gradient-steps",
        caption="Distance to the attention output per gradient step. The step that the theorem takes arrives at once, ten "
        "steps of a tenth arrive together; the loss has no minimum, so whoever goes on moves away again.",
        data=steps,
        x="rate_step",
        x_label="gradient steps",
        y_label="relative distance to attention",
        color="rate",
        log_y=True,
    ),
    Curves(
        name="fixed-point",
        caption="Distance to the regularized model's fixed point per gradient step: it shrinks by |1 - alpha| each time.",
        data=fixed_points,
        x="gd_step",
        x_label="gradient steps",
        y_label="relative distance",
        color="alpha",
        log_y=True,
    ),
    Bars(
        name="regression",
        caption="Error of one trained layer on in-context regression. 1 is the best constant. Random negatives help where "
        "the values' mean carries nothing (linear, sine) and ruin the exponential function.",
        data=regression,
        x="arm",
        y_label="normalized error",
        facet="function",
        rules={"best constant": 1.0},
    ),
    Bars(
        name="linear-regression",
        caption="All layers on the linear function. The best single gradient step, without softmax, has error 0.24 at the "
        "laptop's sizes; the Bayes prediction has none.",
        data=linear,
        x="arm",
        y_label="normalized error",
    ),
    Bars(
        name="paired",
        caption="Change of error against the plain layer of the same seed, on the linear function.",
        data=paired,
        x="layer",
        color="run",
        y_label="relative change",
        rules={"plain": 0.0},
    ),
    Curves(
        name="learning",
        caption="Error over training on the linear function, of the start that was best on validation prompts.",
        data=learning,
        x="step",
        y_label="normalized error",
        color="arm",
    ),
    Heatmap(
        name="kernels",
        caption="Kernel between the keys of one prompt, rows summing to 1 as in attention: exact, by random features, and "
        "of a map for another kernel.",
        data=kernels,
        x="key",
        y="query",
        facet="map",
    ),
)
