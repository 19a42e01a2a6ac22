"""What the paper says, as executable claims.

Each value is one number per seed, differences of F1 or accuracy from 0 to 1. The effect needs words that tell of the label
beyond what the text tells: rho = 1 is a corpus where they do, rho = 0 one where they cannot, with I(Y; W | X) = 0.
"""

import numpy as np
import xarray as xr

from elegans.studies.mutual_reinforcement.arms import CORPORA, RHOS
from elegans.study import Claim, Results

GAIN = 0.03
"""The least difference that counts as help."""
FLOW = 1.0
"""The least ratio of flows that counts, log2. With random weights it comes to 0.3, up to 0.6 on some seeds."""
LEVELS = {"text": "types", "words": "label"}
"""What the other level puts into a line, by the level that is asked for."""


def score(results: Results, name: str, rho: int = 100) -> xr.DataArray:
    """Macro-F1 of labels, or accuracy of types, of a format; see `experiments.levels`."""
    return results[f"levels-rho{rho}"].score.sel(format=name, drop=True)


def gain(results: Results, name: str, rho: int = 100) -> xr.DataArray:
    """The score of a format minus that of the same level from the text alone."""
    return score(results, name, rho) - score(results, "X->y" if name.endswith("y") else "X->W", rho)


def learnable(results: Results) -> xr.DataArray:
    """Whether types are learned at all where they follow from text and label."""
    return score(results, "X,y->W") >= 0.85


def rank_correlation(results: Results, edges: str = "all") -> xr.DataArray:
    """Spearman's correlation over rho, of what typed words add to the accuracy of labels and of I(Y; W | X)."""
    gains = xr.concat([left(results, "text", edges, rho) for rho in RHOS], "rho")
    known = xr.concat([results[f"pretrained-rho{rho}"]["information"] for rho in RHOS], "rho")
    return spearman(gains, known)


def spearman(one: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Spearman's rank correlation over ``rho``, 0 where either is constant."""
    one, other = (_centered_ranks(values, "rho") for values in (one, other))
    spread = np.sqrt((one**2).sum("rho") * (other**2).sum("rho"))
    return (one * other).sum("rho") / xr.where(spread > 0, spread, 1.0)


def _centered_ranks(values: xr.DataArray, dim: str) -> xr.DataArray:
    from scipy.stats import rankdata

    axis = values.get_axis_num(dim)
    assert isinstance(axis, int)
    ranks = values.copy(data=rankdata(values.to_numpy(), axis=axis))
    return ranks - ranks.mean(dim)


def concentration(results: Results, level: str, rho: int = 100, model: str = "tuned") -> xr.DataArray:
    """log2 of the flow per edge from the other level over that from other words of the text, in the layer that has most.

    Where the other level's share of the layer's flow over its share of the edges is smaller, log2 of that.
    """
    data = results[f"levels-rho{rho}"].sel(level=level, model=model, drop=True)
    own = data.sel(source=LEVELS[level], drop=True)
    over_text, over_uniform = own["mean"] / data["mean"].sel(source="text", drop=True), own["share"] / own["uniform"]
    return xr.DataArray(np.log2(xr.where(over_text < over_uniform, over_text, over_uniform).max("layer")))


def share_over_none(results: Results, level: str, model: str = "tuned") -> xr.DataArray:
    """log2 of the other level's share of the flow into the answer, over that of the model tuned at rho = 0.

    Shares, summed over layers: the flow itself, a gradient of the loss, vanishes as a model grows sure of its answer.
    """

    def total(rho: int, model: str) -> xr.DataArray:
        data = results[f"levels-rho{rho}"].sel(level=level, model=model, source=LEVELS[level], drop=True)
        return data["share"].sum("layer")

    return xr.DataArray(np.log2(total(100, model) / total(0, "tuned")))


def left(results: Results, level: str, edges: str, rho: int = 100) -> xr.DataArray:
    """Accuracy with these edges minus that of the model that never had the other level."""
    accuracy = results[f"levels-rho{rho}"].accuracy.sel(level=level, drop=True)
    return accuracy.sel(edges=edges, drop=True) - accuracy.sel(edges="alone", drop=True)


def shots_f1(results: Results, corpus: str, method: str, shots: int | None = None) -> xr.DataArray:
    """Macro-F1 of a way to label with some labelled texts per class, by default those of the config's `main`."""
    data = results[f"verbalizer-{corpus}"]
    return data.f1.sel(classifier=method, shots=shots or int(data.main.isel(seed=0)), drop=True)


def named(results: Results, corpus: str) -> xr.DataArray:
    """Macro-F1 of the class name alone, calibrated or not, whichever is better."""
    plain, calibrated = (shots_f1(results, corpus, name) for name in ("name", "name, calibrated"))
    return plain.where(plain > calibrated, calibrated)


def wins_over_name(results: Results, method: str) -> xr.DataArray:
    """In how many corpora a method is better than the class name."""
    won = [shots_f1(results, corpus, method) > named(results, corpus) for corpus in CORPORA]
    return xr.concat(won, "corpus").sum("corpus").astype(float)


def wins_over_counting(results: Results, method: str) -> xr.DataArray:
    """In how many corpora a method is better than naive Bayes on annotated words, from one labelled text per class."""
    won = [
        shots_f1(results, corpus, method, 1) > shots_f1(results, corpus, "naive-bayes-annotated", 1)
        for corpus in CORPORA
    ]
    return xr.concat(won, "corpus").sum("corpus").astype(float)


def joint_gain(results: Results, lines: str) -> xr.DataArray:
    """F1 of labels minus that of label lines alone, mean over the numbers of labelled texts."""
    scores = results["joint"].f1
    return (scores.sel(lines=lines, drop=True) - scores.sel(lines="label", drop=True)).mean("size")


LEARNED = {"types learned: X,y->W at least 0.85": learnable}

CLAIMS = (
    Claim(
        name="words-help-text",
        statement="Given the typed words (W), a model labels texts (y) better by 3 points of macro-F1 or more: "
        "X,W->y over X->y.",
        source="abstract",
        value=lambda r: gain(r, "X,W->y"),
        at_least=GAIN,
        controls={
            "words of another text": lambda r: gain(r, "X,W'->y"),
            "rho 0, no information": lambda r: gain(r, "X,W->y", 0),
        },
        guards=LEARNED,
        unit="macro-F1",
    ),
    Claim(
        name="text-helps-words",
        statement="Given the label (y), a model types the words (W) better by 3 points of accuracy or more: X,y->W "
        "over X->W, the first span being given.",
        source="abstract",
        value=lambda r: gain(r, "X,y->W"),
        at_least=GAIN,
        controls={
            "label of another text": lambda r: gain(r, "X,y'->W"),
            "rho 0, no information": lambda r: gain(r, "X,y->W", 0),
        },
        guards=LEARNED,
        unit="accuracy",
    ),
    Claim(
        name="gain-tracks-information",
        statement="What the words bring to the label follows what they tell of it beyond the text: over four values "
        "of rho, Spearman's correlation of the gain with I(Y; W | X) is 0.8 or more.",
        source="ours",
        value=rank_correlation,
        at_least=0.8,
        controls={"without the edges out of the types": lambda r: rank_correlation(r, "without the other level")},
        guards=LEARNED,
        unit="rank correlation",
    ),
    *(
        Claim(
            name=f"flow-into-{level}",
            statement=f"In some layer the {other} in the line send{s} twice as much into the answer, per edge, as "
            "words of the text and as an average edge. Saliency alone: where a model looks, not what it uses.",
            source="abstract; definition after arXiv 2305.14160",
            value=lambda r, level=level: concentration(r, level),
            at_least=FLOW,
            controls={
                "tuned at rho 0": lambda r, level=level: concentration(r, level, 0),
                "random weights": lambda r, level=level: concentration(r, level, 100, "random"),
            },
            guards=LEARNED,
            unit="log2 ratio",
        )
        for level, other, s in (("text", "types", ""), ("words", "label", "s"))
    ),
    Claim(
        name="flow-grows-with-information",
        statement="The types' share of the flow into the label, summed over layers, is at least twice as large where they "
        "tell of it (rho 1) as where they do not (rho 0).",
        source="ours",
        value=lambda r: share_over_none(r, "text"),
        at_least=1.0,
        controls={"tuned on words of another text": lambda r: share_over_none(r, "text", "other text's")},
        guards=LEARNED,
        unit="log2 ratio",
    ),
    *(
        Claim(
            name=f"flow-is-causal-{level}",
            statement=f"Without the edges out of the {other} the answer is right no more than 2 points more often "
            f"than the model says that never had the {other}.",
            source="ours",
            value=lambda r, level=level: left(r, level, "without the other level"),
            at_most=0.02,
            controls={
                "random words of the text": lambda r, level=level: left(r, level, "without text"),
                "all edges": lambda r, level=level: left(r, level, "all"),
            },
            guards=LEARNED,
            unit="accuracy",
        )
        for level, other in (("text", "types"), ("words", "label"))
    ),
    Claim(
        name="annotated-words-name-classes",
        statement="In at least 5 of 6 corpora a class is read off the next word better by its name and the words "
        "annotated in a few labelled texts than by its name alone.",
        source="abstract: 5 of 6 data sets",
        value=lambda r: wins_over_name(r, "annotated"),
        at_least=5.0,
        controls={"as many random words": lambda r: wins_over_name(r, "random")},
        unit="corpora",
    ),
    Claim(
        name="model-adds-to-one-shot",
        statement="From one labelled text per class, in at least 5 of 6 corpora, that beats naive Bayes on the same "
        "annotated words, which needs no language model. From more texts counting may do better (figure "
        "verbalizers).",
        source="ours",
        value=lambda r: wins_over_counting(r, "annotated"),
        at_least=5.0,
        controls={
            "as many random words": lambda r: wins_over_counting(r, "random"),
            "naive Bayes on all words": lambda r: wins_over_counting(r, "naive-bayes"),
        },
        unit="corpora",
    ),
    Claim(
        name="joint-learning-helps",
        statement="A model that learns to write the words after the label labels texts better by 3 points of "
        "macro-F1 or more than one that learns labels alone, from as few labelled texts.",
        source="ours; the paper's joint tasks",
        value=lambda r: joint_gain(r, "label and words"),
        at_least=GAIN,
        controls={
            "labels alone, as many tokens": lambda r: joint_gain(r, "label, as many tokens"),
        },
        guards=LEARNED,
        unit="macro-F1",
    ),
)
