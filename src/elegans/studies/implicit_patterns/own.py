"""In-context learning or LoRA, on a user's own model and items: an ordinary study, made by `icl_study`.

Items are divided into questions to learn from (``train``), to choose by (``select``) and to report (``test``): as the file
says, or by a hash. The number of shots and the learning rate are chosen on ``select``; ``test`` is seen once, at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from elegans.studies.implicit_patterns.own_results import CLAIMS, FIGURES
from elegans.study import Arm, Config, Paper, Study, UsageError, own_name, setting

if TYPE_CHECKING:
    from elegans.tasks.jsonl import LoadedItem

HERE = "elegans.studies.implicit_patterns.own_experiments"
FEWEST = 8
"""Questions that ``select`` and ``test`` need at least."""
MANY_ANSWERS = 20
"""With more different answers than this, answers are not taken for a fixed choice."""


# ------------------------------------------------------------------------------------------------ configs


@dataclass(frozen=True, kw_only=True)
class Own(Config):
    """The model, the items, and how they are written."""

    lm: str = setting("", "directory of a Hugging Face causal LM")
    data: str = setting("", "file of items, a JSON object per line")
    digest: str = setting("", "hash of what the file holds: other content is another job")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting("auto", "of the weights in memory")
    choices: bool = setting(False, "answers are a fixed choice, those of `train`, compared by log-probability")
    instruction: str = setting("", "a line in front of everything")
    gap: str = setting(" ", "what stands between a question and its answer")
    separator: str = setting("\n", "what stands between one item and the next")
    test_share: float = setting(0.3, "of the items in `test`, where the file does not say", above=0, at_most=0.8)
    select_share: float = setting(0.15, "of the items in `select`, likewise", above=0, at_most=0.8)
    batch: int = setting(32, "questions read at once", at_least=1)


@dataclass(frozen=True, kw_only=True)
class OwnShots(Own):
    """In-context learning."""

    shots: tuple[int, ...] = setting((0, 1, 2, 4, 8), "solved questions in front", at_least=0)

    def check(self) -> None:
        """From none upward."""
        if len(self.shots) < 2 or self.shots[0] != 0 or list(self.shots) != sorted(set(self.shots)):
            raise UsageError(f"shots must increase from 0, got {self.shots}")


@dataclass(frozen=True, kw_only=True)
class OwnTune(Own):
    """LoRA on the attention projections; the answer is trained."""

    samples: tuple[int, ...] = setting((8, 64, 256), "solved questions to train on", at_least=1)
    rates: tuple[float, ...] = setting((1e-4, 5e-4, 2e-3), "learning rates; the best on `select` counts", above=0)
    steps: int = setting(100, "updates", at_least=1)
    batch_size: int = setting(8, "questions per update", at_least=1)
    warmup: int = setting(10, "updates of linear increase of the learning rate", at_least=0)
    rank: int = setting(8, "rank of the adapters", at_least=1)
    alpha: float = setting(16.0, "LoRA's alpha", above=0)

    def check(self) -> None:
        """Increasing, and some rate to choose."""
        if not self.samples or list(self.samples) != sorted(set(self.samples)):
            raise UsageError(f"samples must increase, got {self.samples}")
        if not self.rates:
            raise UsageError("rates must have at least one learning rate")


# ------------------------------------------------------------------------------------------------ the study


def icl_study(
    lm: str | Path,
    data: str | Path,
    *,
    samples: Sequence[int] = (8, 64, 256),
    shots: Sequence[int] = (0, 1, 2, 4, 8),
    rates: Sequence[float] = (1e-4, 5e-4, 2e-3),
    choices: bool | None = None,
    seeds: int = 3,
    steps: int = 100,
    batch_size: int = 8,
    rank: int = 8,
    instruction: str = "",
    gap: str = " ",
    separator: str = "\n",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    batch: int = 32,
) -> Study:
    """The study whether solved questions in the prompt do as well as LoRA fine-tuning, for `elegans.lab` to run.

    Args:
        lm: a directory as `elegans.lm.load_lm` reads it.
        data: a file as `elegans.tasks.jsonl.load_items` reads it. Its ``split`` is all items' or none's; ``kind`` is only
            reported by.
        samples, rates: numbers of questions to fine-tune on, and the learning rates tried at each.
        shots: numbers of solved questions in the prompt.
        choices: whether answers are a fixed choice; by default they are where there are at most 20 different ones and
            `train` has them all. Otherwise the model writes freely and has to begin with the right answer.
        seeds: draws of shots and of samples.
        steps, batch_size, rank: of fine-tuning.
        instruction, gap, separator: how items are written in a prompt.
        dtype, batch: of the weights in memory; questions read at once.

    Raises `UsageError`, before anything runs, for a directory or file that is not there or malformed, too few items, and
    with `choices` for an answer that `train` does not have.
    """
    directory, path = Path(lm).resolve(), Path(data).resolve()
    _check_directory(directory)
    parts = divided(path)
    answers = {item.answer for item in parts["train"]}
    unseen = [item for name in ("select", "test") for item in parts[name] if item.answer not in answers]
    if choices is None:
        choices = len(answers) <= MANY_ANSWERS and not unseen
    common = {
        "lm": str(directory),
        "data": str(path),
        "digest": digest(path),
        "dtype": dtype,
        "choices": choices,
        "instruction": instruction,
        "gap": gap,
        "separator": separator,
        "batch": batch,
    }
    in_context = OwnShots(shots=tuple(shots), **common)
    tuned = OwnTune(samples=tuple(samples), rates=tuple(rates), steps=steps, batch_size=batch_size, rank=rank, **common)
    _check_items(path, parts, in_context, tuned, unseen)
    return Study(
        name=own_name("icl", path),
        title=f"Shots or fine-tuning: {directory.name} on {path.name}",
        question="Do a few solved questions in the prompt do as well as fine-tuning, and up to how many training samples?",
        paper=Paper(
            arxiv="2410.04691",
            title="Deeper Insights Without Updates: The Power of In-Context Learning Over Fine-Tuning",
            authors="Q. Yin et al.",
            venue="EMNLP 2024 Findings",
        ),
        arms={
            "laptop": {
                "icl": Arm(f"{HERE}:in_context", in_context),
                "lora": Arm(f"{HERE}:fine_tuned", tuned),
            }
        },
        claims=CLAIMS,
        figures=FIGURES,
        differences=["The question of the paper, asked of another model and other items; LoRA instead of all weights."],
        seeds=seeds,
    )


def refuse_model(study: Study) -> None:
    """Look at the model of an `icl_study` without reading its weights; the study itself asks only for a directory.

    Raises `UsageError` for a model that is not whole, and for prompts that may be longer than it reads.
    """
    from elegans.lm.check import check_lm
    from elegans.lm.tokens import encode

    config = study.arms["laptop"]["icl"].config
    assert isinstance(config, OwnShots)
    try:
        lm = check_lm(config.lm)
    except ValueError as error:
        raise UsageError(str(error)) from None
    parts = divided(Path(config.data))

    def lengths(names: Sequence[str]) -> list[int]:
        texts = [f"{x.question}{config.gap}{x.answer}{config.separator}" for name in names for x in parts[name]]
        return sorted(map(len, encode(lm.tokenizer, texts)), reverse=True)

    longest = sum(lengths(["train"])[: config.shots[-1]]) + lengths(["select", "test"])[0]
    longest += len(encode(lm.tokenizer, [config.instruction])[0]) if config.instruction else 0
    if lm.context and longest > lm.context:
        raise UsageError(f"prompts may take {longest} tokens, the model reads {lm.context}; use fewer shots")


def divided(path: Path, test_share: float = 0.3, select_share: float = 0.15) -> dict[str, list[LoadedItem]]:
    """The items of a file as train, select and test. Where the file has no splits, a hash of the question decides.

    Raises `UsageError` for a malformed file and for one where some items have a split and some have none.
    """
    from elegans.tasks.jsonl import load_items

    try:
        items = load_items(path)
    except ValueError as error:
        raise UsageError(str(error)) from None
    without = [item for item in items if item.split is None]
    if without and len(without) < len(items):
        raise UsageError(f"{path}: the item {without[0].question!r} has no 'split', but others have one")
    if not without:
        return {name: [item for item in items if item.split == name] for name in ("train", "select", "test")}
    order = sorted(items, key=lambda item: hashlib.blake2b(item.question.encode(), digest_size=8).digest())
    test, select = round(test_share * len(order)), round(select_share * len(order))
    return {"test": order[:test], "select": order[test : test + select], "train": order[test + select :]}


def digest(path: Path) -> str:
    """A hash of the content of a file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _check_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory with a language model")
    if not (directory / "config.json").is_file():
        raise UsageError(f"{directory} has no config.json, so it is no language model of the transformers library")


def _check_items(
    path: Path, parts: dict[str, list[LoadedItem]], in_context: OwnShots, tuned: OwnTune, unseen: list[LoadedItem]
) -> None:
    for name in ("select", "test"):
        if len(parts[name]) < FEWEST:
            raise UsageError(f"{path}: only {len(parts[name])} items for {name!r}, at least {FEWEST} are needed")
    available = len(parts["train"])
    for what, number in (("samples", tuned.samples[-1]), ("shots", in_context.shots[-1])):
        if number > available:
            raise UsageError(f"{path}: {what} of {number} need as many items to learn from, there are {available}")
    if in_context.choices and unseen:
        raise UsageError(
            f"{path}: the answer {unseen[0].answer!r} to {unseen[0].question!r} is not in 'train', so it is no choice"
        )
