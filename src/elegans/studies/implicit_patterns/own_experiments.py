"""The jobs of `elegans.studies.implicit_patterns.own`: questions answered with shots, and after LoRA."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from elegans.lab.run import Run
from elegans.lm.directory import load_lm
from elegans.lm.finetune import Lora, finetune
from elegans.lm.model import TextModel
from elegans.lm.prompting import answers, choice_log_probs, few_shot_prompt
from elegans.lm.tokens import Item as Pair
from elegans.lm.tokens import encode_items
from elegans.ops.rng import numpy_rng
from elegans.studies.implicit_patterns.own_config import Own, OwnShots, OwnTune, digest, divided
from elegans.studies.implicit_patterns.stages import Stages
from elegans.tasks.jsonl import LoadedItem


class Examination:
    """A model's questions, divided and written as prompts."""

    def __init__(self, config: Own, run: Run) -> None:
        if digest(Path(config.data)) != config.digest:
            raise ValueError(f"{config.data} has changed since this run was planned; plan it again")
        self.config = config
        self.lm = load_lm(config.lm, dtype=config.dtype, device=run.device)
        self.parts = divided(Path(config.data), config.test_share, config.select_share)
        self.choices = sorted({config.gap + item.answer for item in self.parts["train"]})

    def pair(self, item: LoadedItem, shots: Sequence[LoadedItem] = ()) -> Pair:
        """A prompt, with shots in front, and its answer."""
        gap, separator = self.config.gap, self.config.separator
        solved = [(shot.question, gap + shot.answer) for shot in shots]
        prompt = few_shot_prompt(solved, item.question, instruction=self.config.instruction, separator=separator)
        return prompt, gap + item.answer

    def right(self, lm: TextModel, pairs: Sequence[Pair]) -> np.ndarray:
        """Which are answered right: the most likely choice, or what the model writes begins with the answer."""
        prompts, batch = [prompt for prompt, _ in pairs], self.config.batch
        if self.config.choices:
            scores = choice_log_probs(lm, prompts, self.choices, batch_size=batch)
            if not np.isfinite(scores).all():
                raise ValueError(f"{self.config.lm} gives probabilities that are not finite; is its dtype too narrow?")
            best = scores.argmax("choice").to_numpy()
            return np.array(
                [self.choices[i] == answer for i, (_, answer) in zip(best, pairs, strict=True)], dtype=float
            )
        longest = max(len(ids) - start for ids, start in encode_items(lm.tokenizer, pairs))
        stop = [mark for mark in (self.config.separator, "\n") if mark.strip(" ")]
        said = answers(lm, prompts, max_new_tokens=longest + 1, stop=stop, batch_size=batch)
        return np.array(
            [begins(text, answer.strip()) for text, (_, answer) in zip(said, pairs, strict=True)], dtype=float
        )


def begins(said: str, answer: str) -> bool:
    """Whether a text begins with the answer and not with a longer word or number."""
    return re.match(rf"{re.escape(answer)}(?!\w|[.,]\d)", said) is not None


def in_context(config: OwnShots, seed: int, run: Run) -> xr.Dataset:
    """Right answers on `test` (`right`) and accuracy on `select` by shots; a question keeps its shots when it gets more."""
    exam = Examination(config, run)
    train, stages = exam.parts["train"], Stages(run, 2 * len(config.shots))
    found: dict[str, list[np.ndarray]] = {"select": [], "test": []}
    for split, rows in found.items():
        for count in config.shots:
            pairs = []
            for number, item in enumerate(exam.parts[split]):
                order = numpy_rng("own-shots", seed, split, number).permutation(len(train))[:count]
                pairs.append(exam.pair(item, [train[i] for i in order]))
            rows.append(exam.right(exam.lm, pairs))
            stages.done()
    return xr.Dataset(
        {
            "right": (("shots", "item"), found["test"]),
            "select": ("shots", [row.mean() for row in found["select"]]),
            "kind": ("item", [item.kind or "all" for item in exam.parts["test"]]),
        },
        coords={"shots": list(config.shots)},
    )


def fine_tuned(config: OwnTune, seed: int, run: Run) -> xr.Dataset:
    """Accuracy on `select` by samples and rate, and right answers on `test` at the rate that is best there."""
    exam = Examination(config, run)
    order = numpy_rng("own-samples", seed).permutation(len(exam.parts["train"]))
    held = {split: [exam.pair(item) for item in exam.parts[split]] for split in ("select", "test")}
    stages = Stages(run, len(config.samples) * len(config.rates))
    select, right, chosen = np.zeros((len(config.samples), len(config.rates))), [], []
    for row, count in enumerate(config.samples):
        pairs = [exam.pair(exam.parts["train"][i]) for i in order[:count]]
        best: TextModel | None = None
        for column, rate in enumerate(config.rates):
            part = stages.part(f"{count}-{rate:g}")
            tuned = finetune(
                exam.lm,
                pairs,
                steps=config.steps,
                lr=rate,
                batch_size=min(config.batch_size, count),
                warmup=config.warmup,
                lora=Lora(rank=config.rank, alpha=config.alpha),
                seed=seed,
                run=part,
                name=part.name,
            )
            select[row, column] = exam.right(tuned, held["select"]).mean()
            if best is None or select[row, column] > select[row, :column].max():
                best = tuned
        assert best is not None
        right.append(exam.right(best, held["test"]))
        chosen.append(config.rates[int(select[row].argmax())])
    return xr.Dataset(
        {
            "right": (("samples", "item"), right),
            "select": (("samples", "rate"), select),
            "chosen_rate": ("samples", chosen),
        },
        coords={"samples": list(config.samples), "rate": list(config.rates)},
    )
