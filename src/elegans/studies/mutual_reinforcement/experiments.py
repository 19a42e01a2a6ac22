"""One level of a text from the other: worlds, tuned models, what they score, what they lose without some edges."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from typing import Any

import numpy as np
import xarray as xr
from sklearn.metrics import f1_score
from sklearn.naive_bayes import MultinomialNB

from elegans.lab.run import Run
from elegans.lm.directory import load_lm
from elegans.lm.finetune import Lora, finetune
from elegans.lm.grow import pretrain, tiny_llama
from elegans.lm.metrics import span_f1
from elegans.lm.model import TextModel, library, seeded
from elegans.lm.prompting import answers
from elegans.lm.tokens import encode, word_tokenizer
from elegans.lm.verbalizer import KnowledgeableVerbalizer, ManualVerbalizer
from elegans.ops.rng import numpy_rng
from elegans.studies.mutual_reinforcement.arms import (
    FORMATS,
    Format,
    JointConfig,
    LevelsConfig,
    TuneConfig,
    VerbalizerConfig,
    WorldConfig,
)
from elegans.studies.mutual_reinforcement.questions import answer_flow, log_probs, out_of, out_of_text, question
from elegans.tasks.hash_split import split_of
from elegans.tasks.hybrid.corpus import HybridCorpus
from elegans.tasks.hybrid.formats import Line, Serializer
from elegans.tasks.hybrid.items import HybridItem, Span
from elegans.tasks.hybrid.oracle import Ceilings, ceilings
from elegans.tasks.hybrid.tasks import HybridPretraining
from elegans.tasks.jsonl import load_hybrid
from elegans.training.optim import Optim

CORPUS_FIELDS = (
    "rho",
    "n_classes",
    "n_topic_words",
    "n_subtopics",
    "n_fillers",
    "n_entities",
    "n_types",
    "length",
    "n_spans",
    "topic_rate",
    "filler_rate",
)


# ---------------------------------------------------------------------------------------------------- worlds


@dataclass(frozen=True)
class World:
    """A language model, texts by split, and where they are generated their corpus."""

    lm: TextModel
    items: Mapping[str, Sequence[HybridItem]]
    corpus: HybridCorpus | None

    @property
    def labels(self) -> list[str]:
        """Those of the training texts."""
        return list(self.corpus.labels) if self.corpus else sorted({item.label for item in self.items["train"]})

    def serializer(self, form: str) -> Serializer:
        """Compact lines of a corpus; full ones of foreign data, whose types may be of several words."""
        return Serializer(form, types=self.corpus.types if self.corpus else ())


def pretrained(config: WorldConfig, seed: int, run: Run) -> xr.Dataset:
    """A world as an artefact, the `nll` of its unlabelled texts over training, its exact ceilings and I(Y; W | X)."""
    corpus = None if config.data else HybridCorpus(**{f: getattr(config, f) for f in CORPUS_FIELDS}, seed=seed)
    if config.lm:
        load_lm(config.lm)
        nll = [np.nan, np.nan]
    else:
        assert corpus is not None
        tokenizer = word_tokenizer(corpus.vocabulary())
        sizes = {name: getattr(config, name) for name in ("width", "depth", "heads", "ffn")}
        lm = tiny_llama(tokenizer, **sizes, seed=seed)
        task = HybridPretraining(
            corpus, tokenizer.get_vocab(), type_evidence=config.type_evidence, vocab_size=lm.vocab_size, seed=seed
        )
        optim = Optim(
            lr=config.lr, betas=(0.9, 0.98), warmup=config.steps // 10, schedule="cosine", floor=0.1, clip=1.0
        )
        ends = [0, config.steps]
        found = pretrain(
            lm,
            task,
            steps=config.steps,
            batch_size=config.batch_size,
            optim=optim,
            seed=seed,
            run=run,
            evaluate_at=ends,
        )
        nll = found.nll.sel(split="test").values.tolist()
        lm.save(run.artifact_dir)
    (run.artifact_dir / "world.json").write_text(json.dumps(asdict(config)))
    known = ceilings(corpus) if corpus else _UNKNOWN
    return xr.Dataset({"nll": ("when", nll)}, {"when": ["start", "end"]}).assign(asdict(known))


_UNKNOWN = Ceilings(**dict.fromkeys(("text", "text_given_words", "words", "information", "standard_error"), np.nan))


def _world(run: Run, seed: int, counts: Mapping[str, int], annotate: str = "entities") -> World:
    """The world that the arm needs, with up to so many texts of each split."""
    folder = run.artifact("world")
    told = json.loads((folder / "world.json").read_text())
    lm = load_lm(told["lm"] or folder, dtype=told["dtype"], device=run.device)
    if not told["data"]:
        corpus = HybridCorpus(**{f: told[f] for f in CORPUS_FIELDS}, seed=seed)
        texts = {split: corpus.items(count, split, seed, annotate=annotate) for split, count in counts.items()}
        return World(lm, texts, corpus)
    items: dict[str, list[HybridItem]] = {split: [] for split in counts}
    for item in load_hybrid(told["data"]):
        some = items.get(split_of(item.text), [])
        if len(some) < counts.get(split_of(item.text), 0):
            some.append(item)
    known = {item.label for item in items["train"]}
    for split, some in items.items():
        if not some:
            raise ValueError(f"{told['data']} has no text for the split {split}, by a hash of the text; add texts")
        if unseen := sorted({item.label for item in some} - known):
            raise ValueError(f"{told['data']}: the label {unseen[0]!r} stands in {split} but not in train; add texts")
    return World(lm, items, None)


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
    """F1 on ``select`` by format and learning rate; the best rates as an artefact. A single rate is not trained."""
    world = _world(run, seed, {"train": config.n_train, "select": config.n_select})
    items = world.items["select"]
    found: dict[str, list[float]] = {}
    for name in config.formats:
        form = FORMATS[name]
        found[name] = []
        for rate in config.rates:
            score = np.nan
            if len(config.rates) > 1:
                lm = _tuned(world, form, config, rate, seed, run)
                score = _f1(world, lm, _lines(world, form, items, "select", seed), items)
            found[name].append(score)
    best = {name: config.rates[int(np.argmax(scores))] for name, scores in found.items()}
    (run.artifact_dir / "rates.json").write_text(json.dumps(best))
    return xr.Dataset(
        {"f1": (("format", "rate"), list(found.values())), "best": ("format", list(best.values()))},
        coords={"format": list(found), "rate": list(config.rates)},
    )


def _best_rates(run: Run) -> dict[str, float]:
    return json.loads((run.artifact("rates") / "rates.json").read_text())


# ---------------------------------------------------------------------------------------------------- scores


def _f1(world: World, lm: TextModel, lines: Sequence[Line], items: Sequence[HybridItem]) -> float:
    """Macro-F1 of labels where the first thing asked for is the label, else micro-F1 of exact pairs (span, type)."""
    if _asks_for_label(lines[0]):
        return _macro_f1(items, _labels(world, lm, lines))
    return span_f1([item.pairs() for item in items], _pairs(world, lm, lines))


def _asks_for_label(line: Line) -> bool:
    return next(p.part for p in line.pieces if p.start >= line.prompt_end and p.part in ("label", "copy")) == "label"


def _macro_f1(items: Sequence[HybridItem], said: Sequence[str]) -> float:
    gold = [item.label for item in items]
    return float(f1_score(gold, list(said), average="macro", zero_division=0))  # pyright: ignore[reportArgumentType]


def _labels(world: World, lm: TextModel, lines: Sequence[Line], cut: Any = None) -> list[str]:
    """The most likely label of each line."""
    with lm.adapted() as net:
        found = log_probs(net, lm.tokenizer, [question(line, "label") for line in lines], world.labels, cut=cut)
    return [world.labels[i] for i in found.argmax(1)]


def _pairs(world: World, lm: TextModel, lines: Sequence[Line]) -> list[list[tuple[str, str]]]:
    """The spans and types that the model writes, greedily."""
    serializer = world.serializer("X->W")
    longest = max(map(len, encode(lm.tokenizer, [line.text[line.prompt_end :] for line in lines])))
    said = answers(
        lm, [line.prompt for line in lines], max_new_tokens=longest, stop=[serializer.markers.end], batch_size=256
    )
    marked = set(serializer.markers.all())
    found = [serializer.read(f"{line.prompt} {text}".split()).pairs for line, text in zip(lines, said, strict=True)]
    return [[pair for pair in pairs if marked.isdisjoint(pair[0].split())] for pairs in found]


def _right(world: World, lm: TextModel, lines: Sequence[Line], part: Any, cut: Any = None) -> float:
    """Share of lines whose label, or whose first type, is the most likely of all."""
    asked = [question(line, part) for line in lines]
    options = world.labels if part == "label" else _types(world)
    with lm.adapted() as net:
        best = log_probs(net, lm.tokenizer, asked, options, cut=cut).argmax(1)
    return float(np.mean([options[i] == q.answer for i, q in zip(best, asked, strict=True)]))


def _types(world: World) -> list[str]:
    if world.corpus:
        return list(world.corpus.types)
    return sorted({span.type for items in world.items.values() for item in items for span in item.spans})


# ---------------------------------------------------------------------------------------------------- experiments


def levels(config: LevelsConfig, seed: int, run: Run) -> xr.Dataset:
    """Each level from the text, with and without the other, on ``test``.

    ============== ======================================================================================================
    `f1`           by format: macro-F1 of labels, micro-F1 of pairs; W' and y' are another text's; ``own`` means that the
                   other level is what a model said of it, ``no`` that a model trained with it does without
    `accuracy`     of the label, or the first type, by edges: all, without those out of the other level (its types, its
                   label), without as many out of random words of the text, and of the model that never had it (alone)
    `mean` ...     see `answer_flow`: into the label or the first type, of models tuned, tuned on another text's level, and
                   random
    ============== ======================================================================================================
    """
    world = _world(run, seed, {"train": config.n_train, "test": config.n_test})
    items, best = world.items["test"], _best_rates(run)
    tuned = {
        name: _tuned(world, FORMATS[name], config, best[FORMATS[name].format], seed, run) for name in config.formats
    }
    lines = {name: _lines(world, FORMATS[name], items, "test", seed) for name in config.formats}
    f1 = {name: _f1(world, tuned[name], lines[name], items) for name in config.formats}
    f1 |= _without_truth(world, tuned, lines)
    asked: dict[str, tuple[str, Any]] = {"text": ("X,W->y", "label"), "words": ("X,y->W", "type")}
    asked = {level: how for level, how in asked.items() if how[0] in config.formats}
    edges = [_edges(world, tuned, lines, seed, *how) for how in asked.values()]
    flows = [_flows(world, tuned, lines, seed, config.n_flow, *how) for how in asked.values()]
    scores = xr.Dataset({"f1": ("format", list(f1.values()))}, {"format": list(f1)})
    by_level = [xr.concat(some, "level", join="outer").assign_coords(level=list(asked)) for some in (edges, flows)]
    return xr.merge([scores, *by_level])


def _without_truth(world: World, tuned: Mapping[str, TextModel], lines: Mapping[str, list[Line]]) -> dict[str, float]:
    """F1 of the models that have the other level, where they do without (no), or have what a model said of it (own)."""
    items, found, said = world.items["test"], {}, {}
    for name in ("X,W->y", "X,y->W"):
        if name in tuned:
            bare = [world.serializer(name).line(item, dropped=True) for item in items]
            found[f"{name}, no"] = _f1(world, tuned[name], bare, items)
    if {"X,W->y", "X->W"} <= tuned.keys():
        pairs = _pairs(world, tuned["X->W"], lines["X->W"])
        serializer = world.serializer("X,W->y")
        said["X,W->y"] = [serializer.line(x, words_of=_saying(x, w)) for x, w in zip(items, pairs, strict=True)]
    if {"X,y->W", "X->y"} <= tuned.keys():
        labels = _labels(world, tuned["X->y"], lines["X->y"])
        said["X,y->W"] = [world.serializer("X,y->W").line(x, label=y) for x, y in zip(items, labels, strict=True)]
    return found | {f"{name}, own": _f1(world, tuned[name], own, items) for name, own in said.items()}


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
            found.append(answer_flow(net, lm.tokenizer, asked[:count]))
    return xr.concat(found, "model").assign_coords(model=list(models))


def _random(lm: TextModel, seed: int) -> TextModel:
    """A model of the same architecture that has learned nothing."""
    with seeded("mutual-reinforcement", "random", seed):
        model = library("transformers").AutoModelForCausalLM.from_config(lm.bare.config)
    return TextModel(model.to(lm.device).eval(), lm.tokenizer)


def joint(config: JointConfig, seed: int, run: Run) -> xr.Dataset:
    """`f1` of labels by number of labelled texts, of lines X->y, of X->y;W, and of X->y for as many tokens as those."""
    world = _world(run, seed, {"train": max(config.sizes), "test": config.n_test})
    rate, items = _best_rates(run)["X->y"], world.items["test"]
    both, single = Format("X->y;W", False, "joint"), FORMATS["X->y"]
    found = []
    for size in config.sizes:
        small = World(world.lm, {"train": world.items["train"][:size]}, world.corpus)
        tokens = {form.name: _n_tokens(small, form) for form in (single, both)}
        longer = config.replace(steps=round(config.steps * tokens["joint"] / tokens["label"]))
        scores = []
        for form, settings in ((single, config), (both, config), (single, longer)):
            lm = _tuned(small, form, settings, rate, seed, run)
            scores.append(_f1(world, lm, _lines(world, form, items, "test", seed), items))
        found.append(scores)
    return xr.Dataset(
        {"f1": (("size", "lines"), found)},
        coords={"size": list(config.sizes), "lines": ["label", "label and words", "label, as many tokens"]},
    )


def _n_tokens(world: World, form: Format) -> int:
    lines = _lines(world, form, world.items["train"], "train", 0)
    return sum(map(len, encode(world.lm.tokenizer, [line.text for line in lines])))


# ---------------------------------------------------------------------------------------------------- verbalizers


def verbalizer(config: VerbalizerConfig, seed: int, run: Run) -> xr.Dataset:
    """Macro-F1 of the class, read off the next word, on ``test``, by `classifier` and shots.

    ===================== =====================================================================================
    name                  the name of the class alone, and ``calibrated``
    annotated             the name and the words annotated in the shots, calibrated
    random                the name and as many random words
    naive-bayes           no language model: the words of the shots; ``-annotated`` their annotated words alone
    ===================== =====================================================================================
    """
    counts = {"train": config.n_pool, "select": config.n_prompts, "test": config.n_test}
    world = _world(run, seed, counts, annotate="topics")
    lm, names = world.lm, {label: label for label in world.labels}
    prompts, unlabelled = (
        [f"{item.text} {config.about}" for item in world.items[split]] for split in ("test", "select")
    )
    vocabulary = sorted({word for item in world.items["select"] for word in item.text.split()})
    manual = ManualVerbalizer({label: [label] for label in names})
    fixed = {"name": manual, "name, calibrated": manual.calibrate(lm, unlabelled, batch_size=512)}
    items = world.items["test"]

    def score(judge: ManualVerbalizer) -> float:
        return _macro_f1(items, judge.predict(lm, prompts, batch_size=512))

    found = {name: np.full((len(config.shots), config.resamples), score(judge)) for name, judge in fixed.items()}
    found |= {
        name: np.zeros((len(config.shots), config.resamples))
        for name in ("annotated", "random", "naive-bayes", "naive-bayes-annotated")
    }
    done, total = 0, len(config.shots) * config.resamples
    for row, shots in enumerate(config.shots):
        for column in range(config.resamples):
            run.progress(done, total)
            rng = numpy_rng("mutual-reinforcement", "shots", seed, shots, column)
            drawn = _draw(world, shots, rng)
            examples = [(item.label, [span.text for span in item.spans]) for item in drawn]
            annotated = KnowledgeableVerbalizer.from_examples(lm, names, examples, unlabelled, batch_size=512)
            words = {
                label: [label, *rng.choice(vocabulary, len(some) - 1, replace=False).tolist()]
                for label, some in annotated.words.items()
            }
            random = ManualVerbalizer(words).calibrate(lm, unlabelled, batch_size=512)
            found["annotated"][row, column] = score(annotated)
            found["random"][row, column] = score(random)
            found["naive-bayes"][row, column] = _naive_bayes(drawn, items, annotated=False)
            found["naive-bayes-annotated"][row, column] = _naive_bayes(drawn, items, annotated=True)
            done += 1
    return xr.Dataset(
        {"f1": (("classifier", "shots"), [scores.mean(1) for scores in found.values()]), "main": config.main},
        coords={"classifier": list(found), "shots": list(config.shots)},
    )


def _draw(world: World, shots: int, rng: np.random.Generator) -> list[HybridItem]:
    """So many labelled texts of each class."""
    found = []
    for label in world.labels:
        own = [item for item in world.items["train"] if item.label == label]
        if len(own) < shots:
            raise ValueError(f"there are {len(own)} training texts of the class {label!r}, {shots} are asked for")
        found += [own[i] for i in rng.choice(len(own), shots, replace=False)]
    return found


def _naive_bayes(shots: Sequence[HybridItem], items: Sequence[HybridItem], *, annotated: bool) -> float:
    """Multinomial, one count added to each word."""
    texts = [[span.text for span in item.spans] if annotated else item.text.split() for item in shots]
    place = {word: i for i, word in enumerate(sorted({word for words in texts for word in words}))}

    def counts(rows: Sequence[Sequence[str]]) -> np.ndarray:
        found = np.zeros((len(rows), len(place)))
        for row, words in enumerate(rows):
            np.add.at(found[row], [place[word] for word in words if word in place], 1)
        return found

    model = MultinomialNB().fit(counts(texts), [item.label for item in shots])
    return _macro_f1(items, model.predict(counts([item.text.split() for item in items])).tolist())
