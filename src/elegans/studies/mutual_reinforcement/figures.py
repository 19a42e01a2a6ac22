"""What a reader of the paper expects to see."""

import xarray as xr

from elegans.studies.mutual_reinforcement.arms import CORPORA, RHOS
from elegans.studies.mutual_reinforcement.claims import LEVELS, left
from elegans.study import Bars, Curves, Heatmap, Results

CEILING = "Bayes ceiling"
CEILINGS = {"X->y": "text", "X,W->y": "text_given_words", "X->W": "words", "X,y->W": "words_given_text"}
"""The ceiling of each format; what is given in vain, or not given, leaves that of the text alone."""


def ceiling_of(name: str) -> str:
    """The variable of `worlds.pretrained` that bounds a format's score."""
    form, _, variant = name.partition(", ")
    level = form[-1]
    return CEILINGS[f"X->{level}" if variant or "'" in form else form]


def scores(results: Results) -> xr.DataArray:
    """Score of every format beside its ceiling, where words and label tell nothing of each other and where they do."""
    rows = []
    for rho in (0, 100):
        measured, known = results[f"levels-rho{rho}"].score, results[f"pretrained-rho{rho}"]
        bounds = [known[ceiling_of(str(name))] for name in measured.format.values]
        bound = xr.concat(bounds, "format").assign_coords(format=measured.format)
        rows.append(xr.concat([measured, bound], "score").assign_coords(score=["measured", CEILING]))
    return xr.concat(rows, "rho", join="outer").assign_coords(rho=["rho 0", "rho 1"])


def gains(results: Results) -> xr.DataArray:
    """What typed words add to the accuracy of labels, over I(Y; W | X) of each value of rho."""
    kinds = {
        "all": "all edges",
        "without text": "without edges out of random words",
        "without the other level": "without the edges out of the types",
    }
    rows = [xr.concat([left(results, "text", edges, rho) for rho in RHOS], "information") for edges in kinds]
    known = [float(results[f"pretrained-rho{rho}"].information.mean()) for rho in RHOS]
    return xr.concat(rows, "edges").assign_coords(edges=list(kinds.values()), information=known)


def maps(results: Results) -> xr.DataArray:
    """Flow between the parts of a line."""
    rows = [results[f"levels-rho{rho}"]["map"].sel(model="tuned", drop=True) for rho in (0, 100)]
    found = xr.concat(rows, "rho")
    named = {"text": "X,W->y", "words": "X,y->W"}
    both = [found.sel(level=level, drop=True) for level in named]
    stacked = xr.concat([part.isel(rho=i, drop=True) for part in both for i in (0, 1)], "line")
    lines = [f"{form}, rho {rho}" for form in named.values() for rho in (0, 1)]
    shown = stacked.assign_coords(line=lines).rename(source="from", target="into")
    return shown.dropna("into", how="all").assign_coords(layer=[str(i) for i in shown.layer.values])


def shares(results: Results) -> xr.DataArray:
    """Share of the flow into the answer that comes from the other level, by layer, over its uniform share."""
    kinds = {
        "tuned, rho 1": (100, "tuned"),
        "tuned, rho 0": (0, "tuned"),
        "tuned on another text's, rho 1": (100, "other text's"),
        "random weights": (100, "random"),
    }
    rows = []
    for level, source in LEVELS.items():
        where = [
            results[f"levels-rho{rho}"].sel(level=level, model=model, source=source) for rho, model in kinds.values()
        ]
        ratios = [(data.share / data.uniform).reset_coords(drop=True) for data in where]
        rows.append(xr.concat(ratios, "model").assign_coords(model=list(kinds)))
    return xr.concat(rows, "flow").assign_coords(flow=["types into the label", "label into the types"])


def knockout(results: Results) -> xr.DataArray:
    """Accuracy by edges, where words and label tell nothing of each other and where they do."""
    rows = [results[f"levels-rho{rho}"].accuracy for rho in (0, 100)]
    found = xr.concat(rows, "rho").assign_coords(rho=["rho 0", "rho 1"])
    names = {
        "all": "all edges",
        "without text": "without random words",
        "without the other level": "without the other level",
    }
    found = found.sel(edges=[*names, "alone"]).assign_coords(edges=[*names.values(), "never had the other level"])
    return found.assign_coords(level=["label, given words", "first type, given label"])


METHODS = {
    "name": "class name",
    "annotated": "name and annotated words",
    "random": "name and random words",
    "naive-bayes": "naive Bayes, all words",
    "naive-bayes-annotated": "naive Bayes, annotated words",
}


def verbalizers(results: Results) -> xr.DataArray:
    """Macro-F1 by verbalizer and shots, of each corpus."""
    found = results.over({f"verbalizer-{name}": name for name in CORPORA}, lambda data: data.f1)
    found = found.sel(classifier=list(METHODS)).assign_coords(classifier=list(METHODS.values()))
    return found.assign_coords(shots=[str(shots) for shots in found.shots.values]).rename(arm="corpus")


def written(results: Results) -> xr.DataArray:
    """Micro-F1 of the pairs that models write by themselves."""
    rows = [results[f"levels-rho{rho}"].pairs_f1 for rho in (0, 100)]
    return xr.concat(rows, "rho", join="outer").assign_coords(rho=["rho 0", "rho 1"])


def joint(results: Results) -> xr.DataArray:
    """Macro-F1 of labels over the number of labelled texts."""
    return results["joint"].f1


def sweep(results: Results) -> xr.DataArray:
    """Score on ``select`` by format and learning rate."""
    return results["rates"].score


FIGURES = (
    Bars(
        name="scores-and-ceilings",
        caption="Every format beside the exact ceiling of the best reader: macro-F1 of labels, accuracy of types of "
        "the first span. W' and y' are another text's; 'own' feeds a model what a model said of the other level, "
        "which is what one has in use; 'no' asks the model that was trained with the other level to do without.",
        data=scores,
        x="format",
        y_label="macro-F1, accuracy",
        color="score",
        facet="rho",
    ),
    Curves(
        name="gain-and-information",
        caption="What typed words add to the accuracy of labels, over what they tell beyond the text, in four corpora. "
        "Where there is no information nothing can be gained.",
        data=gains,
        x="information",
        x_label="I(Y; W | X), nats",
        y_label="gain in accuracy",
        color="edges",
        rules={"no gain": 0.0},
    ),
    Heatmap(
        name="flow-maps",
        caption="Saliency flow per edge between the parts of a line, over that of an average edge, by layer. Beside "
        "each other: a corpus where the levels tell of each other (rho 1) and one where they do not (rho 0). What "
        "differs is their doing; what is alike is not.",
        data=maps,
        x="from",
        y="into",
        facet="line",
        slider="layer",
    ),
    Curves(
        name="flow-shares",
        caption="Share of a layer's flow into the answer that comes from the other level, over its share of the "
        "edges. Above 1 the level is looked at more than the average token, which happens without any information "
        "too.",
        data=shares,
        x="layer",
        y_label="share over uniform share",
        color="model",
        facet="flow",
        rules={"uniform": 1.0},
    ),
    Bars(
        name="knockout",
        caption="Accuracy with all edges, without those out of random words of the text, without as many out of the "
        "other level, and of the model that never had the other level. What the other level adds is what its edges "
        "carry.",
        data=knockout,
        x="edges",
        y_label="accuracy",
        color="rho",
        facet="level",
    ),
    Bars(
        name="written-pairs",
        caption="Micro-F1 of exact pairs (span, type) that a model writes by itself. It has to find and copy the "
        "spans too, in order, which is learned late and on some seeds only within these updates: hence the claims "
        "are read on types.",
        data=written,
        x="written",
        x_label="format",
        y_label="micro-F1",
        color="rho",
    ),
    Bars(
        name="verbalizers",
        caption="Macro-F1 of the class read off the next word, over labelled texts per class, in six generated "
        "corpora. Naive Bayes on the same texts needs no language model.",
        data=verbalizers,
        x="shots",
        x_label="labelled texts per class",
        y_label="macro-F1",
        color="classifier",
        facet="corpus",
    ),
    Curves(
        name="joint-learning",
        caption="Macro-F1 of labels over the number of labelled texts: lines with the label, with label and words, "
        "and with the label for as many tokens as those.",
        data=joint,
        x="size",
        x_label="labelled texts",
        y_label="macro-F1",
        color="lines",
        log_x=True,
    ),
    Curves(
        name="learning-rates",
        caption="Score on `select` by learning rate, on a seed of its own. Each format is tuned at its best rate.",
        data=sweep,
        x="rate",
        x_label="learning rate",
        y_label="macro-F1, accuracy",
        color="format",
        log_x=True,
    ),
)
