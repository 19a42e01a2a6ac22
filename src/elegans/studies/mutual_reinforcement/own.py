"""The question of information flow, asked of a language model and texts of one's own.

A model is read as it is, by prompts: some solved texts, then one whose label or first type is asked for, with the other
level given. What is measured is where the answer's gradient flows from, and what the answer loses without those edges.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from elegans.studies.mutual_reinforcement.arms import digest, read_texts
from elegans.studies.mutual_reinforcement.own_config import ASKED, Asked, FlowConfig
from elegans.study import Arm, Bars, Claim, Curves, Paper, Results, Study, UsageError, own_name

if TYPE_CHECKING:
    import xarray as xr

    from elegans.tasks.hybrid.items import HybridItem

EXPERIMENT = "elegans.studies.mutual_reinforcement.prompted:flow"
FELT = 0.01
"""The least loss of the right answer's probability that counts."""
PLACE, OTHERS = "without words in its place", "without other words in its place"
ARMS: dict[Asked, str] = {"label": "label-given-words", "type": "words-given-label"}


def flow_study(
    lm: str,
    data: str,
    *,
    n_texts: int = 500,
    shots: int = 4,
    label_marker: str = "Label:",
    words_marker: str = "Words:",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch_size: int = 4,
    seeds: int = 3,
) -> Study:
    """A study of the flow between the annotated words and the labels of texts, in a language model as it is.

    Args:
        lm: a directory with a causal language model, see `elegans.lm.load_lm`.
        data: a file of texts, see `elegans.tasks.jsonl.load_hybrid`.
        n_texts, shots, label_marker, words_marker, dtype, batch_size: see `FlowConfig`.
        seeds: draws of texts.

    Raises `UsageError`, before anything is run, for a file or a directory that is not whole, an architecture whose
    attention is not known, texts that cannot be asked about, and prompts that are longer than the model reads.
    """
    paths = {"lm": str(Path(lm).resolve()), "data": str(Path(data).resolve())}
    items = read_texts(paths["data"])
    config = FlowConfig(
        lm=paths["lm"],
        data=paths["data"],
        digest=digest(paths["data"]),
        n_texts=n_texts,
        shots=shots,
        label_marker=label_marker,
        words_marker=words_marker,
        dtype=dtype,
        batch_size=batch_size,
    )
    if len({item.label for item in items}) < 2:
        raise UsageError(f"{data}: all texts have the same label, so there is nothing to ask")
    if sum(bool(item.spans) for item in items) < shots + 1:
        raise UsageError(f"{data}: {shots} solved texts and one to ask about need as many with spans")
    asked: list[Asked] = [
        kind for kind in ASKED if kind == "label" or len({span.type for x in items for span in x.spans}) > 1
    ]
    configs = {ARMS[kind]: config.replace(asked=kind) for kind in asked}
    try:
        _check(list(configs.values()), items)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Study(
        name=own_name("flow", data),
        title=f"Information flow in {Path(lm).name}",
        question=f"In the model {Path(lm).name}, do annotated words help to label the texts of {Path(data).name}, and "
        "do labels help to type the words?",
        paper=Paper(
            arxiv="2403.02902",
            title="Demonstrating Mutual Reinforcement Effect through Information Flow",
            authors="C. Gan, X. He, Q. Zhang, T. Mori",
            venue="2024",
        ),
        arms={"laptop": {arm: Arm(EXPERIMENT, found) for arm, found in configs.items()}},
        claims=[_claim(kind) for kind in asked],
        figures=_figures(asked),
        differences=[
            "The model is prompted, not tuned: a level that it does not use here it might use after fine-tuning.",
            "What else the text tells of the label is not known, so a loss of nothing may mean that the level tells "
            "nothing new.",
            "Saliency shows where an answer's gradient comes from. Whether the answer needs those edges is what "
            "cutting shows.",
        ],
        seeds=seeds,
    )


def _check(configs: list[FlowConfig], items: list[HybridItem]) -> None:
    """Look at the model that the jobs will load, and tokenize what they may ask; raises `ValueError`."""
    from elegans.lm.directory import check_lm
    from elegans.lm.tokens import encode
    from elegans.studies.mutual_reinforcement.prompted import lines

    first = configs[0]
    lm = check_lm(first.lm)
    with lm.adapted():
        pass
    for config in configs:
        lengths = sorted(map(len, encode(lm.tokenizer, [line.text for line in lines(config, items)])), reverse=True)
        longest = lengths[0] + sum(lengths[: config.shots]) + config.shots
        if lm.context and longest > lm.context:
            raise ValueError(f"prompts may take {longest} tokens, the model reads {lm.context}; use fewer shots")


# ---------------------------------------------------------------------------------------------------- what is shown


def lost(results: Results, asked: Asked, edges: str) -> xr.DataArray:
    """Probability of the right answer, among all answers, that goes with some edges."""
    probability = results[ARMS[asked]].probability
    return probability.sel(edges="all", drop=True) - probability.sel(edges=edges, drop=True)


def beyond_chance(results: Results, asked: Asked, edges: str, others: str) -> xr.DataArray:
    """Probability of the right answer that goes with some edges, beyond what goes with others."""
    return lost(results, asked, edges) - lost(results, asked, others)


def _claim(asked: Asked) -> Claim:
    given, answer = ("typed words behind it", "label") if asked == "label" else ("label", "first type")
    return Claim(
        name="words-reach-label" if asked == "label" else "label-reaches-words",
        statement=f"Of the probability of a text's right {answer}, {FELT:g} or more goes with the edges out of the {given}, "
        "beyond what goes with those out of as many words of the text.",
        source="ours",
        value=partial(beyond_chance, asked=asked, edges="without the other level", others=PLACE),
        at_least=FELT,
        controls={"other words of the text": partial(beyond_chance, asked=asked, edges=OTHERS, others=PLACE)},
        guards={
            f"the {answer} is right more often than the most frequent one, by two standard errors": partial(
                _above_majority, asked=asked
            )
        },
        unit="probability",
    )


def _above_majority(results: Results, asked: Asked) -> xr.DataArray:
    data = results[ARMS[asked]]
    error = (data.majority * (1 - data.majority) / data.n_texts) ** 0.5
    return data.accuracy.sel(edges="all", drop=True) > data.majority + 2 * error


def _figures(asked: list[Asked]) -> list[Curves | Bars]:
    arms = {ARMS[kind]: f"{ASKED[kind]}: the {'label' if kind == 'label' else 'first type'}" for kind in asked}
    return [
        Curves(
            name="flow-shares",
            caption="Share of the flow into the answer that comes from each part of the prompt's last text, over its "
            "share of the edges: 1 is an average edge.",
            data=lambda r: r.over(arms, lambda data: (data.share / data.uniform).where(data.uniform > 0)),
            x="layer",
            y_label="share over uniform share",
            color="source",
            facet="arm",
            rules={"uniform": 1.0},
        ),
        Bars(
            name="knockout",
            caption="Probability of the right answer, among all answers, with all edges and without some, beside as "
            "many edges out of random words of the text.",
            data=lambda r: r.over(arms, lambda data: data.probability),
            x="edges",
            y_label="probability",
            facet="arm",
        ),
        Bars(
            name="accuracy",
            caption="Share of right answers with all edges and without some.",
            data=lambda r: r.over(arms, lambda data: data.accuracy),
            x="edges",
            y_label="accuracy",
            facet="arm",
        ),
    ]
