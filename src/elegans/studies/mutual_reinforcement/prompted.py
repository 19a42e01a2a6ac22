"""A language model as it is: where the answer to a prompt flows from, and what it loses without those edges."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.special import softmax

from elegans.lab.run import Run
from elegans.lm.directory import load_lm
from elegans.ops.rng import numpy_rng
from elegans.studies.mutual_reinforcement.own_config import ASKED, FlowConfig, markers_of
from elegans.studies.mutual_reinforcement.questions import answer_flow, log_probs, out_of, out_of_text, question
from elegans.tasks.hybrid.formats import Line, Markers, Serializer
from elegans.tasks.hybrid.items import HybridItem
from elegans.tasks.jsonl import load_hybrid


def lines(config: FlowConfig, items: Sequence[HybridItem]) -> list[Line]:
    """Texts as lines of the format that is asked about. Raises `ValueError` for a text with a marker as a word."""
    serializer = Serializer(ASKED[config.asked], markers=Markers(**markers_of(config)))
    return [serializer.line(item) for item in items]


def flow(config: FlowConfig, seed: int, run: Run) -> xr.Dataset:
    """Flow into the label or the first type, and its `probability` (among all answers) and `accuracy` without some edges.

    Edges: all; without those out of the other level (its words and their types, or the label); out of the annotated words
    within the text; and, as controls, without those out of as many random tokens of the text in the place of either.
    `n_texts` were asked about, drawn from those with spans; `without_spans` says how many texts have none. `majority` is
    the share of the most frequent answer.
    """
    items = load_hybrid(config.data)
    with_spans = [item for item in items if item.spans]
    order = numpy_rng("flow", "texts", seed).permutation(len(with_spans))
    solved, asked = order[: config.shots], order[config.shots :][: config.n_texts]
    found = lines(config, with_spans)
    end = f" {Markers().end}"
    prefix = "".join(f"{found[i].text.removesuffix(end)}\n" for i in solved)
    part = config.asked
    questions = [question(found[i], part).after(prefix) for i in asked]
    options = sorted({x.label for x in items} if part == "label" else {span.type for x in items for span in x.spans})
    other = ("copy", "type") if part == "label" else ("label",)
    cuts = {
        "all": None,
        "without the other level": out_of(*other),
        "without words in its place": out_of_text(*other, seed=seed),
        "without other words in its place": out_of_text(*other, seed=seed + 1_000_000),
        "without annotated words of the text": out_of("entity"),
        "without words in their place": out_of_text("entity", seed=seed),
    }
    truth = [options.index(q.answer) for q in questions]
    probability, accuracy = [], []
    lm = load_lm(config.lm, dtype=config.dtype, device=run.device)
    total = (len(cuts) + 1) * len(questions)
    with lm.adapted() as net:
        for done, cut in enumerate(cuts.values()):
            run.progress(done * len(questions), total)
            scores = log_probs(net, lm.tokenizer, questions, options, cut=cut, batch_size=config.batch_size)
            if not np.isfinite(scores).all():
                raise ValueError(
                    f"{config.lm} gives probabilities that are not finite; is dtype={config.dtype} too narrow?"
                )
            probability.append(float(softmax(scores, axis=1)[np.arange(len(truth)), truth].mean()))
            accuracy.append(float((scores.argmax(1) == truth).mean()))
        run.progress(len(cuts) * len(questions), total)
        flows = answer_flow(net, lm.tokenizer, questions, batch_size=config.batch_size)
    return (
        flows.drop_vars("map")
        .assign(
            probability=("edges", probability),
            accuracy=("edges", accuracy),
            majority=max(Counter(truth).values()) / len(truth),
            n_texts=len(questions),
            without_spans=len(items) - len(with_spans),
        )
        .assign_coords(edges=list(cuts))
    )
