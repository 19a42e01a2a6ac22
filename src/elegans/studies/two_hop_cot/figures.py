"""What a reader of the paper expects to see."""

import numpy as np
import xarray as xr

from elegans.studies.two_hop_cot.claims import (
    LAMBDAS,
    NOISE,
    OTHERS,
    course,
    exchange,
    final,
    resolved,
    two_stages,
)
from elegans.study import Bars, Curves, Heatmap, Results

SPLITS = {
    "id_atomic": "one hop, ID",
    "ood_atomic": "one hop, OOD",
    "test_id": "two hops, ID (held out)",
    "test_ood": "two hops, OOD",
    "mixed_first": "two hops, first OOD",
    "mixed_second": "two hops, second OOD",
}
TRAININGS = {"cot": "chain", "no-cot": "no chain", "no-ood-atomics": "chain, OOD facts never seen"}


def learning(results: Results) -> xr.DataArray:
    """Accuracy by split over training, averaged weights, in three arms."""

    def by_split(data: xr.Dataset) -> xr.DataArray:
        found = data.accuracy.sel(weights="ema", split=list(SPLITS), drop=True)
        return found.assign_coords(split=list(SPLITS.values()))

    return results.over(TRAININGS, by_split)


def averaging(results: Results) -> xr.DataArray:
    """OOD accuracy of the last and of the averaged weights."""
    found = results["cot"].accuracy.sel(split="test_ood", drop=True)
    return found.assign_coords(weights=["as they are", "averaged"])


def bridge_lens(results: Results) -> xr.DataArray:
    """MRR of the bridge by layer and position over training."""
    found = results["cot"].lens.sel(weights="ema", token="bridge", drop=True).rename("MRR")
    return found.isel(layer=slice(None, None, -1))


def bridge_at_r2(results: Results) -> xr.DataArray:
    """MRR of the bridge at r2 half way up, beside that of a random entity."""
    rows = {
        "ID": ("ID", "bridge"),
        "OOD": ("OOD", "bridge"),
        "ID, a random entity": ("ID", "random entity"),
    }
    arms = {"cot": "chain", "no-cot": "no chain"}
    found = [xr.concat([resolved(results, arm, kind, token) for kind, token in rows.values()], "items") for arm in arms]
    return xr.concat(found, "training").assign_coords(items=list(rows), training=list(arms.values()))


def interventions(results: Results) -> xr.DataArray:
    """How often an exchanged state changes an answer: position x output, by layer, in three panels."""
    panels = {"chain, ID": ("cot", "ID"), "chain, OOD": ("cot", "OOD"), "no chain, ID": ("no-cot", "ID")}
    rows = []
    for arm, kind in panels.values():
        depth = results[arm].lens.sizes["layer"] - 1
        layers = [exchange(results, arm, layer=layer).sel(kind=kind, drop=True) for layer in range(depth)]
        rows.append(xr.concat(layers, "layer").assign_coords(layer=range(depth)))
    joined = xr.concat(rows, "panel", join="outer").assign_coords(panel=list(panels))
    return joined.sel(position=["h", "r1", "r2", "b"], output=["b", "t"]).rename("answers changed")


def noise(results: Results) -> xr.DataArray:
    """Accuracy at the end over the level of noise."""
    kinds = {"test_id": "ID", "test_ood": "OOD"}
    tails = [xr.concat([final(results, arm, split) for arm in NOISE], "xi") for split in kinds]
    found = xr.concat(tails, "items").assign_coords(
        xi=list(NOISE.values()), items=[f"{k}, tails" for k in kinds.values()]
    )
    bridges = [xr.concat([final(results, arm, split) for arm in ("cot", "bridge-noise-20")], "xi") for split in kinds]
    other = xr.concat(bridges, "items").assign_coords(xi=[0.0, 0.2], items=[f"{k}, bridges" for k in kinds.values()])
    return xr.concat([found, other], "items", join="outer")


def memorizing(results: Results) -> xr.DataArray:
    """Held-out ID accuracy over training at each level of tail noise."""
    arms = {arm: f"xi = {level:g}" for arm, level in NOISE.items()} | {"tail-noise-100": "xi = 1"}
    rows = [course(results, arm, "test_id") for arm in arms]
    return xr.concat(rows, "noise").assign_coords(noise=list(arms.values()))


def agreement(results: Results) -> xr.DataArray:
    """Over training under noise: agreement with the trained labels and with the true ones."""
    labels = {"train_two_hop": "as trained", "train_two_hop_clean": "as true"}
    rows = [course(results, "tail-noise-40", split) for split in labels]
    return xr.concat(rows, "labels").assign_coords(labels=list(labels.values()))


def exposures(results: Results) -> xr.DataArray:
    """OOD accuracy over how often each OOD fact was met, at three values of lambda."""
    grid = np.linspace(0, float(results["cot"].exposure.max()), 16).round(2)
    rows = []
    for arm in LAMBDAS:
        found = course(results, arm, "test_ood")
        met = results[arm].exposure.isel(seed=0, drop=True).sel(step=found.step)
        rows.append(found.assign_coords(step=met.values).interp(step=grid).rename(step="exposure"))
    names = ["lambda / 2", "lambda", "1.75 lambda"]
    return xr.concat(rows, "lam").assign_coords(lam=names)


def walks(results: Results) -> xr.DataArray:
    """Three-hop walks solved."""
    return results["cot"].three_hops.assign_coords(by=["a caller, in two calls", "the model by itself"])


def terms(results: Results) -> xr.DataArray:
    """The two terms of the bound on OOD items."""
    rows = [final(results, "cot", "test_ood", name) for name in ("nll_bridge", "nll_tail")]
    return xr.concat(rows, "term").assign_coords(term=["bridge given prompt", "tail given true bridge"])


def architectures(results: Results) -> xr.DataArray:
    """Accuracy and dissociation in every architecture."""
    arms = ("cot", *OTHERS)
    measures = {
        "two hops, ID": lambda arm: final(results, arm, "test_id"),
        "two hops, OOD": lambda arm: final(results, arm, "test_ood"),
        "dissociation": lambda arm: two_stages(results, arm),
    }
    rows = [xr.concat([measure(arm) for arm in arms], "arm") for measure in measures.values()]
    return xr.concat(rows, "measure").assign_coords(arm=["reference", *OTHERS], measure=list(measures))


FIGURES = (
    Curves(
        name="learning-curves",
        caption="Accuracy by split, averaged weights. What is asked of OOD facts in two hops follows what is known of them "
        "in one; the two mixed splits tell which hop lags behind.",
        data=learning,
        x="step",
        x_label="updates",
        y_label="exact match",
        color="split",
        facet="arm",
    ),
    Curves(
        name="averaging",
        caption="OOD accuracy of the weights as they are and of their running average. At a constant learning rate the "
        "last iterate jumps; claims are read on the average.",
        data=averaging,
        x="step",
        x_label="updates",
        y_label="exact match",
        color="weights",
    ),
    Heatmap(
        name="bridge-lens",
        caption="The logit lens through training: mean reciprocal rank of the true bridge by layer and position, on ID and "
        "on OOD items. Layer 0 is the input; the bridge token itself stands at b.",
        data=bridge_lens,
        x="position",
        y="layer",
        facet="kind",
        slider="step",
    ),
    Bars(
        name="bridge-at-r2",
        caption="How high the bridge ranks at r2 behind half of the blocks, with a chain and without, beside a random "
        "entity.",
        data=bridge_at_r2,
        x="items",
        y_label="mean reciprocal rank",
        color="training",
    ),
    Heatmap(
        name="interventions",
        caption="Interchange interventions: how often the answers b and t change when one token's state is taken from a "
        "run on a counterfactual. With a chain each answer has its own two tokens; without, all tokens move the tail.",
        data=interventions,
        x="output",
        y="position",
        x_label="answer",
        y_label="exchanged at",
        facet="panel",
        slider="layer",
    ),
    Bars(
        name="noise",
        caption="Accuracy at the end over the share xi of two-hop items whose tail, or whose bridge, was replaced in "
        "training, item by item.",
        data=noise,
        x="xi",
        x_label="share replaced, xi",
        y_label="exact match",
        color="items",
    ),
    Curves(
        name="memorizing-noise",
        caption="Held-out ID accuracy over training under tail noise. Under noise it peaks, and falls as the wrong items "
        "are memorized.",
        data=memorizing,
        x="step",
        x_label="updates",
        y_label="exact match",
        color="noise",
    ),
    Curves(
        name="agreement",
        caption="Trained two-hop items with 40 % of tails replaced: agreement with their true answers, and with those they "
        "were trained with.",
        data=agreement,
        x="step",
        x_label="updates",
        y_label="exact match",
        color="labels",
    ),
    Curves(
        name="exposure",
        caption="OOD accuracy over how often each OOD fact was met, for three numbers of two-hop items per fact.",
        data=exposures,
        x="exposure",
        x_label="exposures of each OOD fact",
        y_label="exact match",
        color="lam",
    ),
    Bars(
        name="three-hops",
        caption="Three-hop walks, never trained: composed by a caller out of two two-hop calls, or asked of the model at "
        "once.",
        data=walks,
        x="kind",
        y_label="solved",
        color="by",
    ),
    Bars(
        name="two-terms",
        caption="The two terms of the paper's bound on OOD items: surprise at the bridge, and at the tail given the true "
        "bridge.",
        data=terms,
        x="term",
        y_label="NLL (nats)",
    ),
    Bars(
        name="architectures",
        caption="The same facts in other architectures: accuracy on held-out ID and on OOD items, and the dissociation of "
        "the two stages (direct minus crossing effects, 1 is perfect).",
        data=architectures,
        x="arm",
        y_label="share",
        color="measure",
    ),
)
