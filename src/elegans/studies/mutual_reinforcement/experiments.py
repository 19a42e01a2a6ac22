"""One level of a text from the other: tuned models, what they score, and what they lose without some edges."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np
import xarray as xr

from elegans.lab.run import Run
from elegans.lm.finetune import Lora, finetune
from elegans.lm.metrics import span_f1
from elegans.lm.model import TextModel, library, seeded
from elegans.lm.prompting import answers
from elegans.lm.tokens import encode
from elegans.ops.rng import numpy_rng
from elegans.studies.mutual_reinforcement.arms import FORMATS, Format, JointConfig, LevelsConfig, TuneConfig
from elegans.studies.mutual_reinforcement.questions import answer_flow, log_probs, out_of, out_of_text, question
from elegans.studies.mutual_reinforcement.worlds import World, macro_f1, open_world
from elegans.tasks.hybrid.formats import Line
from elegans.tasks.hybrid.items import HybridItem, Span

# ---------------------------------------------------------------------------------------------------- tuning


def _lines(
    world: World, form: Format, items: Sequence[HybridItem], address: str, seed: int, dropped: Sequence[bool] = ()
) -> list[Line]:
    """Lines of a format. What is shuffled comes from another of these items, every one once."""
    serializer, drops = world.serializer(form.format), dropped or [False] * len(items)
    if not form.shuffled:
        return [serializer.line(item, dropped=drop) for item, drop in zip(items, drops, strict=True)]
    order = numpy_rng("mutual-reinforcement", "others", address, seed).permutation(len(items))
    others = {int(a): items[b] for a, b in zip(order, np.roll(order, 1), strict=True)}
    if serializer.given == "W":
        return [serializer.line(x, words_of=others[i], dropped=drops[i]) for i, x in enumerate(items)]
    return [serializer.line(x, label=others[i].label, dropped=drops[i]) for i, x in enumerate(items)]


def _tuned(world: World, form: Format, config: TuneConfig, rate: float, seed: int, run: Run) -> TextModel:
    """A copy of the world's model that predicts what a format asks for."""
    items, pairs = world.items["train"], []
    given = world.serializer(form.format).given
    for epoch in range(-(-config.steps * config.batch_size // len(items))):
        draws = numpy_rng("mutual-reinforcement", "drop", seed, epoch).random(len(items))
        dropped = (draws < config.drop).tolist() if given else ()
        lines = _lines(world, form, items, f"train-{epoch}", seed, dropped)
        pairs += [(line.prompt, line.text[line.prompt_end :]) for line in lines]
    return finetune(
        world.lm,
        pairs,
        steps=config.steps,
        lr=rate,
        batch_size=config.batch_size,
        warmup=config.steps // 10,
        schedule="cosine",
        lora=Lora(rank=config.lora_rank, alpha=2 * config.lora_rank) if config.lora_rank else None,
        seed=seed,
        run=run,
        name=f"{form.name}-{len(items)}-{config.steps}-{rate:g}",
    )


def rates(config: LevelsConfig, seed: int, run: Run) -> xr.Dataset:
    """Scores on ``select`` by format and learning rate; the best rates as an artefact. A single rate is not trained."""
    world = open_world(run, seed, {"train": config.n_train, "select": config.n_select}, config.score_batch)
    items = world.items["select"]
    found: dict[str, list[float]] = {}
    for name in config.formats:
        form = FORMATS[name]
        found[name] = []
        for rate in config.rates:
            score = np.nan
            if len(config.rates) > 1:
                lm = _tuned(world, form, config, rate, seed, run)
                score = _score(world, lm, _lines(world, form, items, "select", seed), items)
            found[name].append(score)
    best = {name: config.rates[int(np.argmax(scores))] for name, scores in found.items()}
    (run.artifact_dir / "rates.json").write_text(json.dumps(best))
    return xr.Dataset(
        {"score": (("format", "rate"), list(found.values())), "best": ("format", list(best.values()))},
        coords={"format": list(found), "rate": list(config.rates)},
    )


def _best_rates(run: Run) -> dict[str, float]:
    return json.loads((run.artifact("rates") / "rates.json").read_text())


# ---------------------------------------------------------------------------------------------------- scores


def _score(world: World, lm: TextModel, lines: Sequence[Line], items: Sequence[HybridItem]) -> float:
    """Macro-F1 of labels where the label comes first; else the share of right types of the first span, which is given."""
    if _asks_for_label(lines[0]):
        return macro_f1(items, _labels(world, lm, lines))
    return _right(world, lm, [line for line, item in zip(lines, items, strict=True) if item.spans], "type")


def _asks_for_label(line: Line) -> bool:
    return next(p.part for p in line.pieces if p.start >= line.prompt_end and p.part in ("label", "copy")) == "label"


def _labels(world: World, lm: TextModel, lines: Sequence[Line], cut: Any = None) -> list[str]:
    """The most likely label of each line."""
    with lm.adapted() as net:
        found = log_probs(
            net,
            lm.tokenizer,
            [question(line, "label") for line in lines],
            world.labels,
            cut=cut,
            batch_size=world.batch,
        )
    return [world.labels[i] for i in found.argmax(1)]


def _pairs(world: World, lm: TextModel, lines: Sequence[Line]) -> list[list[tuple[str, str]]]:
    """The spans and types that the model writes, greedily."""
    serializer = world.serializer("X->W")
    longest = max(map(len, encode(lm.tokenizer, [line.text[line.prompt_end :] for line in lines])))
    said = answers(
        lm,
        [line.prompt for line in lines],
        max_new_tokens=longest,
        stop=[serializer.markers.end],
        batch_size=world.batch,
    )
    marked = set(serializer.markers.all())
    found = [serializer.read(f"{line.prompt} {text}".split()).pairs for line, text in zip(lines, said, strict=True)]
    return [[pair for pair in pairs if marked.isdisjoint(pair[0].split())] for pairs in found]


def _right(world: World, lm: TextModel, lines: Sequence[Line], part: Any, cut: Any = None) -> float:
    """Share of lines whose label, or whose first type, is the most likely of all."""
    asked = [question(line, part) for line in lines]
    options = world.labels if part == "label" else _types(world)
    with lm.adapted() as net:
        best = log_probs(net, lm.tokenizer, asked, options, cut=cut, batch_size=world.batch).argmax(1)
    return float(np.mean([options[i] == q.answer for i, q in zip(best, asked, strict=True)]))


def _types(world: World) -> list[str]:
    if world.corpus:
        return list(world.corpus.types)
    return sorted({span.type for items in world.items.values() for item in items for span in item.spans})


# ---------------------------------------------------------------------------------------------------- experiments


def levels(config: LevelsConfig, seed: int, run: Run) -> xr.Dataset:
    """Each level from the text, with and without the other, on ``test``.

    ============== ==================================================================================================
    `score`        by format: macro-F1 of labels, accuracy of the first span's type; W' and y' are another text's; ``own``
                   means that the other level is what a model said of it, ``no`` that there is none
    `pairs_f1`     micro-F1 of the pairs (span, type) that a model writes by itself, by format
    `accuracy`     of the label, or the first type, by edges: all, without those out of the other level (its types, its
                   label), without as many out of random words of the text, and of the model that never had it (alone)
    `mean` ...     see `answer_flow`: into the label or the first type, of models tuned, tuned on another text's level,
                   and random
    ============== ==================================================================================================
    """
    world = open_world(run, seed, {"train": config.n_train, "test": config.n_test}, config.score_batch)
    items, best = world.items["test"], _best_rates(run)
    tuned = {
        name: _tuned(world, FORMATS[name], config, best[FORMATS[name].format], seed, run) for name in config.formats
    }
    lines = {name: _lines(world, FORMATS[name], items, "test", seed) for name in config.formats}
    scores = {name: _score(world, tuned[name], lines[name], items) for name in config.formats}
    written = {name: _pairs(world, tuned[name], lines[name]) for name in config.formats if name.endswith("W")}
    scores |= _without_truth(world, tuned, written.get("X->W"))
    asked: dict[str, tuple[str, Any]] = {"text": ("X,W->y", "label"), "words": ("X,y->W", "type")}
    asked = {level: how for level, how in asked.items() if how[0] in config.formats}
    edges = [_edges(world, tuned, lines, seed, *how) for how in asked.values()]
    flows = [_flows(world, tuned, lines, seed, config.n_flow, *how) for how in asked.values()]
    by_level = [xr.concat(some, "level", join="outer").assign_coords(level=list(asked)) for some in (edges, flows)]
    found = xr.Dataset({"score": ("format", list(scores.values()))}, {"format": list(scores)})
    if written:
        gold = [item.pairs() for item in items]
        f1 = [span_f1(gold, pairs) for pairs in written.values()]
        by_level.append(xr.Dataset({"pairs_f1": ("written", f1)}, {"written": list(written)}))
    return xr.merge([found, *by_level])


def _without_truth(
    world: World, tuned: Mapping[str, TextModel], written: Sequence[Sequence[tuple[str, str]]] | None
) -> dict[str, float]:
    """Scores of models that have the other level: without it (no), or with what a model said of it (own)."""
    items, found, lines = world.items["test"], {}, {}
    for name in ("X,W->y", "X,y->W"):
        if name in tuned:
            lines[f"{name}, no"] = [world.serializer(name).line(item, dropped=True) for item in items]
    if written and "X,W->y" in tuned:
        give = world.serializer("X,W->y").line
        lines["X,W->y, own"] = [give(x, words_of=_saying(x, w)) for x, w in zip(items, written, strict=True)]
    if {"X,y->W", "X->y"} <= tuned.keys():
        plain = _lines(world, FORMATS["X->y"], items, "test", 0)
        labels, give = _labels(world, tuned["X->y"], plain), world.serializer("X,y->W").line
        lines["X,y->W, own"] = [give(x, label=y) for x, y in zip(items, labels, strict=True)]
    for name, some in lines.items():
        found[name] = _score(world, tuned[name.partition(", ")[0]], some, items)
    return found


def _saying(item: HybridItem, pairs: Sequence[tuple[str, str]]) -> HybridItem:
    """An item with spans as a model wrote them, wherever they stand."""
    return HybridItem(item.text, item.label, tuple(Span(text, kind, 0, 0) for text, kind in pairs))


def _edges(
    world: World, tuned: Mapping[str, TextModel], lines: Mapping[str, list[Line]], seed: int, name: str, part: Any
) -> xr.Dataset:
    """Accuracy of an answer by edges, on the texts that have spans."""
    given, alone = ("type", "X->y") if part == "label" else ("label", "X->W")
    has_spans = [bool(item.spans) for item in world.items["test"]]
    cuts = {"all": None, "without the other level": out_of(given), "without text": out_of_text(given, seed=seed)}
    found = {k: _right(world, tuned[name], list(compress(lines[name], has_spans)), part, c) for k, c in cuts.items()}
    found["alone"] = _right(world, tuned[alone], list(compress(lines[alone], has_spans)), part)
    return xr.Dataset({"accuracy": ("edges", list(found.values()))}, {"edges": list(found)})


def _flows(
    world: World,
    tuned: Mapping[str, TextModel],
    lines: Mapping[str, list[Line]],
    seed: int,
    count: int,
    name: str,
    part: Any,
) -> xr.Dataset:
    """Flow into an answer, by model."""
    other = name.replace(",W", ",W'").replace(",y", ",y'")
    models = {"tuned": (tuned[name], name), "random": (_random(world.lm, seed), name)}
    if other in tuned:
        models["other text's"] = tuned[other], other
    found = []
    for lm, form in models.values():
        asked = [question(x, part) for x, item in zip(lines[form], world.items["test"], strict=True) if item.spans]
        with lm.adapted() as net:
            found.append(answer_flow(net, lm.tokenizer, asked[:count], batch_size=world.batch))
    return xr.concat(found, "model").assign_coords(model=list(models))


def _random(lm: TextModel, seed: int) -> TextModel:
    """A model of the same architecture that has learned nothing."""
    with seeded("mutual-reinforcement", "random", seed):
        model = library("transformers").AutoModelForCausalLM.from_config(lm.bare.config)
    return TextModel(model.to(lm.device).eval(), lm.tokenizer)


def joint(config: JointConfig, seed: int, run: Run) -> xr.Dataset:
    """`f1` of labels by number of labelled texts, of lines X->y, of X->y;W, and of X->y for as many tokens as those."""
    world = open_world(run, seed, {"train": max(config.sizes), "test": config.n_test}, config.score_batch)
    rate, items = _best_rates(run)["X->y"], world.items["test"]
    both, single = Format("X->y;W", False, "joint"), FORMATS["X->y"]
    found = []
    for size in config.sizes:
        small = replace(world, items={**world.items, "train": world.items["train"][:size]})
        tokens = {form.name: _n_tokens(small, form) for form in (single, both)}
        longer = config.replace(steps=round(config.steps * tokens["joint"] / tokens["label"]))
        scores = []
        for form, settings in ((single, config), (both, config), (single, longer)):
            lm = _tuned(small, form, settings, rate, seed, run)
            scores.append(_score(world, lm, _lines(world, form, items, "test", seed), items))
        found.append(scores)
    return xr.Dataset(
        {"f1": (("size", "lines"), found)},
        coords={"size": list(config.sizes), "lines": ["label", "label and words", "label, as many tokens"]},
    )


def _n_tokens(world: World, form: Format) -> int:
    lines = _lines(world, form, world.items["train"], "train", 0)
    return sum(map(len, encode(world.lm.tokenizer, [line.text for line in lines])))
