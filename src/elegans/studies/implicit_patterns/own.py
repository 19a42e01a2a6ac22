"""In-context learning or LoRA, on a user's own model and items: an ordinary study, made by `icl_study`.

Items are divided into questions to learn from (``train``), to choose by (``select``) and to report (``test``): as the file
says, or by a hash. The number of shots and the learning rate are chosen on ``select``; ``test`` is seen once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from elegans.studies.implicit_patterns.own_config import OwnShots, OwnTune, digest, divided
from elegans.studies.implicit_patterns.own_results import CLAIMS, FIGURES
from elegans.study import Arm, Paper, Study, UsageError, own_name

if TYPE_CHECKING:
    from elegans.tasks.jsonl import LoadedItem

HERE = "elegans.studies.implicit_patterns.own_experiments"
FEWEST = 8
"""Questions that ``select`` and ``test`` need at least."""
MANY_ANSWERS = 20
"""With more different answers than this, answers are not taken for a fixed choice."""


# ------------------------------------------------------------------------------------------------ configs


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
    from elegans.lm.directory import check_lm
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
