"""What a reader of the paper expects to see."""

from collections.abc import Callable

import xarray as xr

from elegans.studies.stablemask.claims import gain
from elegans.study import Bars, Curves, Heatmap, Results

PLACES = {
    "position-causal-rope": "causal, RoPE",
    "position-causal-alibi": "causal, ALiBi",
    "position-causal-nope": "causal, none",
    "position-stablemask": "StableMask",
    "position-stablemask-finite": "StableMask, finite",
    "position-learned-sink": "learned sink",
    "position-softmax1": "softmax1",
    "position-bos": "BOS",
}
MASKS = {
    "backcopy-causal": "causal",
    "backcopy-stablemask": "StableMask",
    "backcopy-learned-sink": "learned sink",
}
TEXTS = {
    "rope-causal": "RoPE",
    "rope-stablemask": "RoPE, StableMask",
    "alibi-causal": "ALiBi",
    "alibi-stablemask": "ALiBi, StableMask",
    "alibi-learned-sink": "ALiBi, learned sink",
}


def positions(results: Results) -> xr.DataArray:
    """Accuracy on constant input, by mask and task."""
    tasks = {"position": "number of the place", "even": "even or odd"}
    found = results.over(PLACES, lambda data: data.accuracy.sel(task=list(tasks)))
    return found.assign_coords(task=list(tasks.values()))


def rows(results: Results) -> xr.DataArray:
    """Row mass over the position, by mask and decay."""
    data = results["row-mass"].isel(seed=0, drop=True)
    rates = [f"{float(rate):.3g}" for rate in data.gamma]
    return data.keep.rename(head="gamma").assign_coords(gamma=rates)


def keeps(results: Results) -> xr.DataArray:
    """What the head keeps over training, at triggers and elsewhere."""
    return results.over(MASKS, lambda data: data.keep.sel(labels="true", drop=True))


def first_tokens(results: Results) -> xr.DataArray:
    """The first token's weight over that of uniform attention at the end of training, off triggers."""
    found = results.over(MASKS, lambda data: data.first.isel(step=-1, drop=True).sel(place="off-trigger", drop=True))
    return found.sel(rows=["raw", "normalized"]).assign_coords(rows=["rows as they are", "rows divided by keep"])


def backcopy_losses(results: Results) -> xr.DataArray:
    """Losses at triggers and elsewhere at the end of training."""
    return results.over(MASKS, lambda data: data.nll.isel(step=-1, drop=True))


def lengths(positions: str) -> Callable[[Results], xr.DataArray]:
    """Loss of the same characters in windows of growing length, with one encoding of positions."""
    arms = {f"text-{arm}": label for arm, label in TEXTS.items() if arm.startswith(positions)}
    return lambda results: results.over(arms, lambda data: data.nll)


def differences(results: Results) -> xr.DataArray:
    """Loss minus that of causal attention with the same positions."""
    pairs = {
        "RoPE, StableMask": ("rope-stablemask", "rope-causal"),
        "ALiBi, StableMask": ("alibi-stablemask", "alibi-causal"),
        "ALiBi, learned sink": ("alibi-learned-sink", "alibi-causal"),
    }
    found = xr.concat([gain(results, arm, base) for arm, base in pairs.values()], "model")
    return found.assign_coords(model=list(pairs))


def rates(results: Results) -> xr.DataArray:
    """Selection loss over the learning rate, at the tuning seed."""
    found = results.over({f"rates-{arm}": label for arm, label in TEXTS.items()}, lambda data: data.nll)
    return found.isel(seed=0, drop=True)


def maps(results: Results) -> xr.DataArray:
    """The first character's weight in normalized rows times the number of keys, by head and query, of text models."""

    def stacked(data: xr.Dataset) -> xr.DataArray:
        first = data.first.sel(rows="normalized", drop=True) * (1 + data.position)
        names = [f"layer {layer}, head {head}" for layer in data.layer.values for head in range(data.sizes["head"])]
        return first.stack(unit=("layer", "head")).drop_vars(["layer", "head", "unit"]).assign_coords(unit=names)

    return results.over({f"text-{arm}": label for arm, label in TEXTS.items()}, stacked).rename("weight over uniform")


def text_keeps(results: Results) -> xr.DataArray:
    """Mean row mass over the query's position, by layer, of text models with a sink."""
    arms = [arm for arm in TEXTS if not arm.endswith("causal")]
    return results.over({f"text-{arm}": TEXTS[arm] for arm in arms}, lambda data: data.keep.mean("head"))


def costs(results: Results) -> xr.DataArray:
    """Time over that of plain attention, by length."""
    labels = {"fused": "StableMask, fused", "matrices": "C and P as matrices"}
    found = results["cost"].ratio.sel(form=list(labels)).assign_coords(form=list(labels.values()))
    return found.assign_coords(length=[f"T = {length}" for length in found.length.values])


FIGURES = (
    Bars(
        name="position-identification",
        caption="Constant input: what a model can say of the place it is at. Whatever breaks the sum of the weights, or the "
        "likeness of all tokens, makes places distinguishable; relative positions alone do not.",
        data=positions,
        x="arm",
        y_label="accuracy",
        color="task",
        rules={"0.95": 0.95},
    ),
    Curves(
        name="row-mass",
        caption="What a row keeps for real keys if all scores are equal. The finite form reaches 1 at the last position "
        "whatever the length; the endless form tends to it at a pace set by gamma, so that a head tells places apart up to "
        "some multiple of 1/gamma.",
        data=rows,
        x="position",
        y_label="keep",
        color="gamma",
        facet="mask",
    ),
    Curves(
        name="keep-at-triggers",
        caption="Bigram-Backcopy, one head: mass kept where looking back is of use (at triggers) and elsewhere. Under "
        "StableMask giving away is the default and keeping is learned; a learned sink starts from keeping; causal "
        "attention cannot but keep all.",
        data=keeps,
        x="step",
        y_label="keep",
        color="place",
        facet="arm",
    ),
    Bars(
        name="first-token",
        caption="The first token's weight off triggers, over that of uniform attention. Rows as they are shrink with keep "
        "alone; only rows divided by keep show whether the first token is still a sink.",
        data=first_tokens,
        x="arm",
        y_label="weight over uniform",
        color="rows",
        rules={"uniform": 1.0},
    ),
    Bars(
        name="backcopy-losses",
        caption="Losses on Bigram-Backcopy at the end of training. The best reader has none at triggers.",
        data=backcopy_losses,
        x="arm",
        y_label="loss (nats)",
        color="place",
    ),
    Bars(
        name="quality",
        caption="Text: loss minus that of causal attention with the same positions, each at its own best rate, paired by "
        "seed. Below 0 is better; the learned sink shows how much of a gain needs no decay.",
        data=differences,
        x="model",
        y_label="difference (nats)",
        rules={"bound of harm": 0.03},
    ),
    Curves(
        name="length-rope",
        caption="Text, RoPE: loss of the same characters in windows of growing length, trained on the shortest.",
        data=lengths("rope"),
        x="context",
        x_label="context (characters)",
        y_label="loss (nats)",
        color="arm",
        log_x=True,
    ),
    Curves(
        name="length-alibi",
        caption="Text, ALiBi: the same on a finer scale. A line that rises reads longer contexts worse than short ones.",
        data=lengths("alibi"),
        x="context",
        x_label="context (characters)",
        y_label="loss (nats)",
        color="arm",
        log_x=True,
    ),
    Heatmap(
        name="sink-maps",
        caption="Text models: weight of the window's first character in rows divided by what they keep, over that of "
        "uniform attention. A head with a sink on it stays far above 1 to the end.",
        data=maps,
        x="position",
        y="unit",
        x_label="query",
        y_label="head",
        facet="arm",
    ),
    Curves(
        name="keep-in-text",
        caption="Text models: what rows keep, mean over heads and test windows.",
        data=text_keeps,
        x="position",
        y_label="keep",
        color="layer",
        facet="arm",
    ),
    Bars(
        name="cost",
        caption="Time of forward and backward pass over that of plain fused attention on this machine.",
        data=costs,
        x="length",
        x_label="positions",
        y_label="ratio of times",
        color="form",
        rules={"bound": 1.25},
    ),
    Curves(
        name="rates",
        caption="The sweep before the reported runs: loss on the selection split at the tuning seed. A best rate at the "
        "edge means that a further one might be better.",
        data=rates,
        x="rate",
        x_label="peak learning rate",
        y_label="loss (nats)",
        color="arm",
        log_x=True,
    ),
)
