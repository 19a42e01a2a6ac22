"""How the subject is grown, asked with shots, and fine-tuned; `circuits` takes it apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from elegans.lab.run import Run
from elegans.lm.finetune import Lora, finetune
from elegans.lm.grow import pretrain, tiny_llama
from elegans.lm.model import TextModel
from elegans.lm.tokens import Item as Pair
from elegans.lm.tokens import word_tokenizer
from elegans.studies.implicit_patterns.arms import SEEN, GrowConfig, ShotsConfig, TuneConfig
from elegans.studies.implicit_patterns.quiz import SHOWN, Quiz, language_model, pointer_reading, tasks_of
from elegans.studies.implicit_patterns.stages import Stages
from elegans.tasks.base import IGNORE, Batch, evaluating
from elegans.tasks.implicit.items import KINDS
from elegans.tasks.implicit.pointer_reading import PointerPretraining
from elegans.training.optim import Optim

# ------------------------------------------------------------------------------------------------ the subject


def pretrained(config: GrowConfig, seed: int, run: Run) -> xr.Dataset:
    """A tiny Llama, left as the artefact, and its accuracy by shots within documents of `test` on the way.

    With a model from a directory there is nothing to grow and nothing to see.
    """
    task = pointer_reading(config, SEEN)
    kinds: dict[str, dict[str, Any]] = {
        "normal": {"normal": 1.0},
        "seen": {"normal": 0.0, "patterns": (SEEN,)},
        "held-out": {"normal": 0.0, "patterns": task.held_out},
    }
    coords = {"documents": list(kinds), "shots": np.arange(config.per_document)}
    if config.lm:
        nothing = np.full((1, *map(len, coords.values())), np.nan)
        return xr.Dataset({"accuracy": (("step", *coords), nothing)}, coords={"step": [0], **coords})

    tokenizer = word_tokenizer(task.vocabulary())
    context = config.per_document * (config.cells + 3)
    sizes = {"width": config.width, "depth": config.depth, "heads": config.heads, "ffn": config.ffn}
    lm = tiny_llama(tokenizer, context=context, seed=seed, **sizes)
    ids, per_document = tokenizer.get_vocab(), config.per_document

    def source(**how: Any) -> PointerPretraining:
        return PointerPretraining(
            task, ids, n_items=per_document, vocab_size=lm.vocab_size, n_eval=config.n_eval, seed=seed, **how
        )

    tested = [source(**how).dataset("test") for how in kinds.values()]

    def measure(net: Any, _: Any) -> xr.Dataset:
        found = [_by_shots(net, batch.to(lm.device), per_document) for batch in tested]
        return xr.Dataset({"accuracy": (tuple(coords), found)}, coords=coords)

    history = pretrain(
        lm,
        source(normal=config.normal),
        steps=config.steps,
        batch_size=config.documents,
        optim=Optim(
            lr=config.lr,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
            warmup=config.warmup,
            schedule="cosine",
            clip=1.0,
        ),
        seed=seed,
        run=run,
        evaluate_at=config.looks,
        measure=measure,
    )
    lm.save(run.artifact_dir / "lm")
    return history


def _by_shots(net: Any, batch: Batch, per_document: int) -> np.ndarray:
    """Accuracy on the first, second, ... question of documents: with 0, 1, ... solved ones in front."""
    with evaluating(net):
        right = net(batch.tokens).argmax(-1) == batch.targets
    return right[batch.targets != IGNORE].view(-1, per_document).double().mean(0).cpu().numpy()


# ------------------------------------------------------------------------------------------------ shots


def in_context(config: ShotsConfig, seed: int, run: Run) -> xr.Dataset:
    """Scores by shots: how many, of which kind (`shown`), in front of which questions (`asked`). No weight is changed."""
    lm = language_model(config, run)
    most = config.shots[-1]
    tasks = tasks_of(config)
    coords = {"task": list(tasks), "asked": list(KINDS), "shown": list(SHOWN), "shots": list(config.shots)}
    found = _empty(coords, ("accuracy", "contains"))
    stages = Stages(run, len(tasks) * len(KINDS) * len(SHOWN) * len(config.shots))
    for name, task in tasks.items():
        quiz = Quiz(config, lm, task, seed)
        pools = {shown: quiz.shots(shown, config.n_eval * most) for shown in SHOWN}
        for asked in KINDS:
            items = quiz.items(asked, config.n_eval, "test")
            bare = quiz.scores(lm, quiz.pairs(items))
            for shown in SHOWN:
                for count in config.shots:
                    own = _every(pools[shown], most, count)
                    scores = quiz.scores(lm, quiz.pairs(items, own, count)) if count else bare
                    _put(found, scores, task=name, asked=asked, shown=shown, shots=count)
                    stages.done()
    return found


def _every(pool: Sequence[Pair], group: int, count: int) -> list[Pair]:
    """The first `count` of every `group`, so that a question keeps its shots when it gets more."""
    return [pool[start + i] for start in range(0, len(pool), group) for i in range(count)]


# ------------------------------------------------------------------------------------------------ fine-tuning


def fine_tuned(config: TuneConfig, seed: int, run: Run) -> xr.Dataset:
    """Zero-shot scores after fine-tuning, by N, learning rate and draw of the questions; `select` is on the same kind."""
    lm = language_model(config, run)
    tasks = tasks_of(config)
    coords = {
        "task": list(tasks),
        "samples": list(config.samples),
        "rate": list(config.rates),
        "repeat": np.arange(config.repeats),
    }
    found = _empty({**coords, "asked": list(KINDS)}, ("accuracy", "contains")).assign(_empty(coords, ("select",)))
    draws = {count: config.repeats if count <= config.few else 1 for count in config.samples}
    stages = Stages(run, len(tasks) * len(config.rates) * sum(draws.values()))
    for name, task in tasks.items():
        quiz = Quiz(config, lm, task, seed)
        held = {asked: quiz.pairs(quiz.items(asked, config.n_eval, "test")) for asked in KINDS}
        select = quiz.pairs(quiz.items(config.kind, config.n_eval, "select"))
        for count, repeats in draws.items():
            for repeat in range(repeats):
                draw = Quiz(config, lm, task, _draw(seed, repeat))
                pairs = draw.pairs(draw.items(config.kind, count, "train"))
                for rate in config.rates:
                    tuned = _tune(config, lm, pairs, rate, seed, stages.part(f"{name}-{count}-{repeat}-{rate:g}"))
                    at = {"task": name, "samples": count, "rate": rate, "repeat": repeat}
                    _put(found, {"select": quiz.scores(tuned, select)["accuracy"]}, **at)
                    for asked, questions in held.items():
                        _put(found, quiz.scores(tuned, questions), **at, asked=asked)
    return found


def _draw(seed: int, repeat: int) -> int:
    """The seed of a draw of questions."""
    return seed if repeat == 0 else 1000 * (seed + 1) + repeat


def _tune(config: TuneConfig, lm: TextModel, pairs: Sequence[Pair], rate: float, seed: int, run: Any) -> TextModel:
    return finetune(
        lm,
        pairs,
        steps=config.steps,
        lr=rate,
        batch_size=min(config.batch_size, len(pairs)),
        warmup=config.warmup,
        lora=Lora(rank=config.rank, alpha=config.alpha) if config.rank else None,
        loss_on=config.loss_on,
        seed=seed,
        run=run,
        name=run.name,
    )


# ------------------------------------------------------------------------------------------------ arrays


def _empty(coords: Mapping[str, Any], names: Sequence[str]) -> xr.Dataset:
    shape = tuple(map(len, coords.values()))
    return xr.Dataset({name: (tuple(coords), np.full(shape, math.nan)) for name in names}, coords=dict(coords))


def _put(found: xr.Dataset, values: Mapping[str, float], **at: Any) -> None:
    for name, value in values.items():
        found[name].loc[at] = value
