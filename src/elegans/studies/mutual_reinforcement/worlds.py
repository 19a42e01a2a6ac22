"""A corpus and a language model, which other arms start from and leave as they are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr
from sklearn.metrics import f1_score

from elegans.lab.run import Run
from elegans.lm.directory import load_lm
from elegans.lm.grow import pretrain, tiny_llama
from elegans.lm.model import TextModel
from elegans.lm.tokens import word_tokenizer
from elegans.studies.mutual_reinforcement.arms import WorldConfig
from elegans.tasks.hash_split import split_of
from elegans.tasks.hybrid.corpus import HybridCorpus
from elegans.tasks.hybrid.formats import Serializer
from elegans.tasks.hybrid.items import HybridItem
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


@dataclass(frozen=True)
class World:
    """A language model, texts by split, where they are generated their corpus; and how many texts fit into a pass."""

    lm: TextModel
    items: Mapping[str, Sequence[HybridItem]]
    corpus: HybridCorpus | None
    batch: int = 256

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


def open_world(run: Run, seed: int, counts: Mapping[str, int], batch: int, annotate: str = "entities") -> World:
    """The world that the arm needs, with up to so many texts of each split."""
    folder = run.artifact("world")
    told = json.loads((folder / "world.json").read_text())
    lm = load_lm(told["lm"] or folder, dtype=told["dtype"], device=run.device)
    if not told["data"]:
        corpus = HybridCorpus(**{f: told[f] for f in CORPUS_FIELDS}, seed=seed)
        texts = {split: corpus.items(count, split, seed, annotate=annotate) for split, count in counts.items()}
        return World(lm, texts, corpus, batch)
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
    return World(lm, items, None, batch)


def macro_f1(items: Sequence[HybridItem], said: Sequence[str]) -> float:
    """Macro-F1 of labels."""
    gold = [item.label for item in items]
    return float(f1_score(gold, list(said), average="macro", zero_division=0))  # pyright: ignore[reportArgumentType]
