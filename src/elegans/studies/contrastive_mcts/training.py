"""Expert, amateur and draft: one recipe, three sizes, on plans, effects of actions, and judgments of actions."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from elegans.lab.run import Run
from elegans.models.base import SequenceModel
from elegans.models.files import load, save
from elegans.models.registry import build
from elegans.studies.contrastive_mcts.arms import TrainConfig
from elegans.tasks.base import IGNORE, Batch, Task
from elegans.tasks.blocksworld.sequences import KINDS, BlocksworldSequences
from elegans.tasks.blocksworld.words import Words
from elegans.training.loop import fit
from elegans.training.optim import EMA, Optim

STREAMS = {"expert": 0, "amateur": 1, "draft": 2}
"""Models of one seed are trained on batches of their own."""


def train(config: TrainConfig, seed: int, run: Run) -> xr.Dataset:
    """Scores on problems of classes held out for choices, at each stage; the averaged weights of each as an artefact."""
    task = BlocksworldSequences(blocks={n: n - 2.0 for n in range(3, config.max_blocks + 1)}, n_eval=config.n_eval)
    stream = len(STREAMS) * seed + STREAMS[config.role]
    model = fresh(config, task.words, stream)
    steps = [max(1, round(share * config.steps)) for share in config.stages]
    weights = task.token_weights[: task.words.n_plain].to(run.device)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        """The weighted mean over all scored tokens, read in two parts so that short sequences have little padding."""
        lengths = (batch.tokens != 0).sum(1)
        losses, total = [], weights.new_zeros(())
        for rows in lengths.argsort().chunk(2):
            targets = batch.targets[rows, : int(lengths[rows].max())].flatten()
            logits = model(batch.tokens[rows, : int(lengths[rows].max())]).flatten(0, 1)
            losses.append(F.cross_entropy(logits, targets, weights, ignore_index=IGNORE, reduction="sum"))
            total = total + weights[targets[targets != IGNORE]].sum()
        return torch.stack(losses).sum() / total

    def measure(model: nn.Module, task: BlocksworldSequences) -> xr.Dataset:
        scores = [task.evaluate(model, kind).mean("item").drop_attrs() for kind in KINDS]
        found = xr.concat(scores, "kind").assign_coords(kind=list(KINDS))
        return found.assign(parameters=("parameter", parameters_to_vector(model.parameters()).detach().cpu().numpy()))

    history = fit(
        model,
        cast(Task, task),
        steps=config.steps,
        batch_size=config.batch_size,
        optim=Optim(
            lr=config.lr,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
            warmup=config.warmup,
            schedule="linear",
            clip=1.0,
        ),
        seed=stream,
        evaluate_at=steps,
        measure=measure,
        objective=loss,
        ema=EMA(config.ema),
        run=run,
    ).sel(weights="ema", drop=True)
    for share, step in zip(config.stages, steps, strict=True):
        averaged = torch.from_numpy(history.parameters.sel(step=step).values).to(run.device)
        vector_to_parameters(averaged, model.parameters())
        save(model, stage_file(run.artifact_dir, share))
    return history.drop_vars("parameters").assign_coords(step=list(config.stages)).rename(step="stage")


def fresh(config: TrainConfig, words: Words, seed: int) -> SequenceModel:
    """The model before training."""
    return build(
        config.model,
        vocab=len(words),
        factors=words.factor_table.tolist(),
        outputs=words.n_plain,
        width=config.width,
        depth=config.depth,
        heads=config.heads,
        context=config.context,
        std=config.std,
        embedding_std=config.embedding_std,
        seed=seed,
    )


def trained(run: Run, name: str, stage: float = 1.0) -> SequenceModel:
    """A model that this arm needs, as it was at a stage of its training."""
    return load(stage_file(run.artifact(name), stage)).to(run.device).eval()


def stage_file(folder: Path, share: float) -> Path:
    """Where the weights of a stage are."""
    return folder / f"stage-{share:g}.safetensors"
