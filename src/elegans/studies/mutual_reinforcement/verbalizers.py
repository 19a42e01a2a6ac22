"""Classes read off the next word, by their names or by the words annotated in a few labelled texts."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from sklearn.naive_bayes import MultinomialNB

from elegans.lab.run import Run
from elegans.lm.verbalizer import KnowledgeableVerbalizer, ManualVerbalizer
from elegans.ops.rng import numpy_rng
from elegans.studies.mutual_reinforcement.arms import VerbalizerConfig
from elegans.studies.mutual_reinforcement.worlds import World, macro_f1, open_world
from elegans.tasks.hybrid.items import HybridItem


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
    world = open_world(run, seed, counts, config.score_batch, annotate="topics")
    lm, names = world.lm, {label: label for label in world.labels}
    prompts, unlabelled = (
        [f"{item.text} {config.about}" for item in world.items[split]] for split in ("test", "select")
    )
    vocabulary = sorted({word for item in world.items["select"] for word in item.text.split()} - set(world.labels))
    manual = ManualVerbalizer({label: [label] for label in names})
    fixed = {"name": manual, "name, calibrated": manual.calibrate(lm, unlabelled, batch_size=world.batch)}
    items = world.items["test"]

    def score(judge: ManualVerbalizer) -> float:
        return macro_f1(items, judge.predict(lm, prompts, batch_size=world.batch))

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
            annotated = KnowledgeableVerbalizer.from_examples(lm, names, examples, unlabelled, batch_size=world.batch)
            words = {
                label: [label, *rng.choice(vocabulary, len(some) - 1, replace=False).tolist()]
                for label, some in annotated.words.items()
            }
            random = ManualVerbalizer(words).calibrate(lm, unlabelled, batch_size=world.batch)
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
    return macro_f1(items, model.predict(counts([item.text.split() for item in items])).tolist())
