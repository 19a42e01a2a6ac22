"""Which corpora, which language models, what they are tuned to, at three scales.

A world is a corpus and a language model that has read unlabelled texts of it: one per seed and value of rho, the share of
names whose type depends on the topic, and one per seed for each of six corpora of the verbalizers. Other arms start from
a world and leave it as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from elegans.study import Arm, Config, Needs, Scale, UsageError, setting

HERE = "elegans.studies.mutual_reinforcement"
SWEEP_SEED = 100
RHOS = (0, 25, 50, 100)
"""Shares of names whose type depends on the topic, percent, by which arms are named."""
CORPORA: dict[str, dict[str, Any]] = {
    "plain": {},
    "faint": {"topic_rate": 0.3},
    "long": {"length": 16, "topic_rate": 0.3},
    "noisy": {"filler_rate": 0.2},
    "six-classes": {"n_classes": 6},
    "rich": {"n_topic_words": 16},
}
"""The corpora of the verbalizers: six settings of the generator, none of them one of the paper's six sets."""


class Format(NamedTuple):
    """What a line gives and asks for; whether what it gives is another text's; the name of the training phase."""

    format: str
    shuffled: bool
    name: str


FORMATS = {
    "X->y": Format("X->y", False, "label"),
    "X,W->y": Format("X,W->y", False, "label-given-words"),
    "X,W'->y": Format("X,W->y", True, "label-given-other-words"),
    "X->W": Format("X->W", False, "words"),
    "X,y->W": Format("X,y->W", False, "words-given-label"),
    "X,y'->W": Format("X,y->W", True, "words-given-other-label"),
}
"""X is the text, y its label, W its spans with their types; W' and y' are another text's."""
TEXT_LEVEL = ("X->y", "X,W->y")
BOTH_LEVELS = (*TEXT_LEVEL, "X->W", "X,y->W")


@dataclass(frozen=True, kw_only=True)
class WorldConfig(Config):
    """A corpus and a language model."""

    lm: str = setting("", "directory of a Hugging Face causal LM, taken as it is; empty: grow a small Llama")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting("auto", "of that model's weights in memory")
    data: str = setting(
        "", "a file of texts with label and spans, JSON lines, in place of the generated corpus; needs `lm`"
    )
    digest: str = setting("", "of the contents of `data`; filled in, so that another content is another job")

    rho: float = setting(1.0, "share of names whose type depends on the class", at_least=0, at_most=1)
    n_classes: int = setting(4, "classes C", at_least=2, at_most=26)
    n_topic_words: int = setting(8, "topic words of a class", at_least=1)
    n_subtopics: int = setting(1, "subtopics of a class; the class is named by a word of the first", at_least=1)
    n_fillers: int = setting(20, "words that tell nothing", at_least=1)
    n_entities: int = setting(8, "names", at_least=2)
    n_types: int = setting(4, "types of names", at_least=1)
    length: int = setting(10, "words of a text", at_least=3)
    n_spans: int = setting(2, "of them names", at_least=1)
    topic_rate: float = setting(0.22, "probability that another word is of the text's subtopic", at_least=0)
    filler_rate: float = setting(0.5, "probability that a word of no topic is a filler", at_least=0)

    width: int = setting(64, "residual stream", at_least=1)
    depth: int = setting(3, "blocks", at_least=1)
    heads: int = setting(4, "attention heads", at_least=1)
    ffn: int = setting(192, "inner width of the MLP", at_least=1)
    steps: int = setting(1000, "updates on unlabelled texts", at_least=1)
    batch_size: int = setting(64, "texts per update", at_least=1)
    lr: float = setting(0.004, "AdamW's learning rate, warmed up and along a cosine", above=0)
    type_evidence: float = setting(1.0, "share of names followed by their type in these texts", at_least=0, at_most=1)

    def check(self) -> None:
        """Data are whole, and come with a model."""
        if not self.data:
            return
        if not self.lm:
            raise UsageError("data of your own need a language model of your own, lm")
        read_texts(self.data)
        object.__setattr__(self, "digest", digest(self.data))


def read_texts(path: str) -> list[Any]:
    """The texts of a file. Raises `UsageError` naming the first line that is wrong."""
    from elegans.tasks.jsonl import load_hybrid

    try:
        return load_hybrid(path)
    except ValueError as error:
        raise UsageError(str(error)) from None


def digest(path: str) -> str:
    """A hash of a file's contents."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class TuneConfig(Config):
    """How models are tuned to labelled texts: AdamW, warm-up over a tenth, a cosine, gradients clipped at 1."""

    n_train: int = setting(3000, "labelled texts at most", at_least=4)
    n_select: int = setting(500, "texts by which the learning rate is chosen, at most", at_least=4)
    n_test: int = setting(1200, "texts to score, at most", at_least=4)
    steps: int = setting(500, "updates, the same for each format", at_least=1)
    batch_size: int = setting(32, "lines per update", at_least=1)
    drop: float = setting(0.3, "share of lines without the level that is given besides the text", at_least=0, at_most=1)
    rates: tuple[float, ...] = setting((), "learning rates that a sweep tries; not used by other arms", above=0)
    lora_rank: int = setting(0, "of adapters on the attention; 0 trains all weights", at_least=0)
    score_batch: int = setting(256, "lines per pass where nothing is trained", at_least=1)


@dataclass(frozen=True, kw_only=True)
class LevelsConfig(TuneConfig):
    """One level from the text, with and without the other."""

    formats: tuple[str, ...] = setting(tuple(FORMATS), "which to tune to", choices=tuple(FORMATS))
    n_flow: int = setting(200, "texts whose flow is measured", at_least=1)

    def check(self) -> None:
        """A level is compared with and without the other; another text's is a control of that."""
        for form, (plain, _, _) in FORMATS.items():
            alone = f"X->{form[-1]}"
            if form in self.formats and not {plain, alone} <= set(self.formats):
                raise UsageError(f"the format {form} is compared with {plain} and {alone}, which formats leave out")


@dataclass(frozen=True, kw_only=True)
class JointConfig(TuneConfig):
    """Both levels at once against one, over the number of labelled texts."""

    sizes: tuple[int, ...] = setting((100, 300, 1000), "labelled texts N", at_least=4)
    steps: int = setting(80, "updates", at_least=1)
    batch_size: int = setting(32, "lines per update", at_least=1)


@dataclass(frozen=True, kw_only=True)
class VerbalizerConfig(Config):
    """Classes by the next word: named by one word, or by all that are annotated in a few texts."""

    shots: tuple[int, ...] = setting((1, 4, 8, 16), "labelled texts per class, 1 among them", at_least=1)
    main: int = setting(4, "of `shots`, those at which class names are compared with annotated words", at_least=1)
    resamples: int = setting(4, "draws of these texts, averaged", at_least=1)
    n_pool: int = setting(1000, "texts they are drawn from", at_least=4)
    n_prompts: int = setting(200, "unlabelled texts for calibration", at_least=1)
    n_test: int = setting(400, "texts to score", at_least=4)
    score_batch: int = setting(512, "texts per pass", at_least=1)
    about: str = setting("[ABOUT]", "what stands between a text and its topic")

    def check(self) -> None:
        """What the claims are read at is measured."""
        if not {1, self.main} <= set(self.shots):
            raise UsageError(f"shots must hold 1 and main {self.main}, got {self.shots}")


# ------------------------------------------------------------------------------------------------ arms


def arms(
    world: WorldConfig,
    levels: LevelsConfig,
    sweep: Mapping[str, Any],
    joint: JointConfig,
    topics: WorldConfig,
    verbalizer: VerbalizerConfig,
) -> dict[str, Arm]:
    """Worlds over rho with everything that is tuned in them, and worlds of the verbalizers."""
    found = {f"pretrained-rho{rho}": Arm(f"{HERE}.worlds:pretrained", world.replace(rho=rho / 100)) for rho in RHOS}
    needs = {"world": Needs("pretrained-rho100")}
    found["rates"] = Arm(f"{HERE}.experiments:rates", levels.replace(**sweep), needs=needs, seed=SWEEP_SEED)
    for rho in RHOS:
        needs = {"world": Needs(f"pretrained-rho{rho}"), "rates": Needs("rates")}
        formats = {0: BOTH_LEVELS, 100: tuple(FORMATS)}.get(rho, TEXT_LEVEL)
        found[f"levels-rho{rho}"] = Arm(f"{HERE}.experiments:levels", levels.replace(formats=formats), needs=needs)
    needs = {"world": Needs("pretrained-rho100"), "rates": Needs("rates")}
    found["joint"] = Arm(f"{HERE}.experiments:joint", joint, needs=needs)
    for name, changes in CORPORA.items():
        found[f"pretrained-{name}"] = Arm(f"{HERE}.worlds:pretrained", topics.replace(**changes))
        found[f"verbalizer-{name}"] = Arm(
            f"{HERE}.verbalizers:verbalizer", verbalizer, needs={"world": Needs(f"pretrained-{name}")}
        )
    return found


TOPICS: dict[str, Any] = {"n_subtopics": 2, "topic_rate": 0.4, "rho": 0.0}
"""Of the verbalizers' corpora: the name of a class is a word of half of its texts."""


def smoke() -> dict[str, Arm]:
    """Seconds: proves the plumbing, judges nothing."""
    tiny: dict[str, Any] = {"width": 8, "depth": 2, "heads": 2, "ffn": 8, "steps": 2, "batch_size": 4}
    tuning: dict[str, Any] = {"n_train": 16, "n_select": 8, "n_test": 8, "steps": 2, "batch_size": 4}
    return arms(
        WorldConfig(**tiny),
        LevelsConfig(n_flow=4, **tuning),
        {"rates": (0.001, 0.002), "formats": BOTH_LEVELS},
        JointConfig(sizes=(8, 12), **tuning),
        WorldConfig(**tiny, **TOPICS),
        VerbalizerConfig(shots=(1, 2), main=2, resamples=1, n_pool=100, n_prompts=8, n_test=16),
    )


def laptop() -> dict[str, Arm]:
    """Two CPU cores, some minutes."""
    world, levels = WorldConfig(), LevelsConfig()
    sweep = {"rates": (0.003, 0.005), "formats": BOTH_LEVELS}
    return arms(world, levels, sweep, JointConfig(), WorldConfig(steps=250, **TOPICS), VerbalizerConfig())


def paper() -> dict[str, Arm]:
    """For a GPU, with a language model and data of one's own (``--lm DIR --set 'pretrained-*.config.data=FILE'``).

    The paper's models, rates and numbers of texts are not known. Without a model a larger one is grown on larger corpora.
    """
    world = WorldConfig(
        n_topic_words=200,
        n_fillers=2000,
        n_entities=200,
        n_types=8,
        length=60,
        topic_rate=0.05,
        width=512,
        depth=8,
        heads=8,
        ffn=1536,
        steps=20_000,
        batch_size=256,
        lr=6e-4,
    )
    tuning: dict[str, Any] = {"n_train": 20_000, "n_select": 1000, "n_test": 1000, "lora_rank": 16, "score_batch": 8}
    return arms(
        world,
        LevelsConfig(steps=2000, n_flow=500, **tuning),
        {"rates": (5e-5, 2e-4, 1e-3), "formats": BOTH_LEVELS},
        JointConfig(sizes=(100, 1000, 10_000), steps=1000, **tuning),
        world.replace(n_subtopics=2, topic_rate=0.1, rho=0.0),
        VerbalizerConfig(
            shots=(1, 5, 10, 20), main=5, resamples=5, n_pool=5000, n_prompts=500, n_test=1000, score_batch=8
        ),
    )


ARMS: dict[Scale, dict[str, Arm]] = {"smoke": smoke(), "laptop": laptop(), "paper": paper()}
