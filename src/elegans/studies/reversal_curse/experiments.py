"""How the arms are trained and what is measured.

Every experiment returns `nll` (nats per answer) and `accuracy` (exact match) of each split over training; ``reverse``
and ``direct`` are the untrained ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import nn

from elegans.lab.run import Run
from elegans.models.base import SequenceModel
from elegans.models.bilinear import BilinearLM
from elegans.models.one_layer import OneLayerLM
from elegans.models.registry import build, settings_of
from elegans.probes.chain import two_call
from elegans.probes.logits import answer_logits, diagonal_score
from elegans.probes.weights import effective_weights, embedding_cosines, mean_cosine
from elegans.studies.reversal_curse.arms import (
    BilinearConfig,
    ChainConfig,
    InContextConfig,
    OneLayerConfig,
    ReversalConfig,
    TheoryConfig,
    TransformerConfig,
)
from elegans.tasks.base import FiniteTask
from elegans.tasks.chain import TransitiveChain
from elegans.tasks.reversal import InContextReversal, ReversalPairs
from elegans.training.loop import Measure, fit, split_scores
from elegans.training.optim import Optim
from elegans.training.seeds import fit_seeds

# ------------------------------------------------------------------------------------------------ models of the theory


def bilinear(config: BilinearConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Section 3: gradient descent on Theta; the held pairs are trained as A -> B only."""

    def make(seed: int) -> tuple[SequenceModel, ReversalPairs]:
        task = _pairs(config, seed, relations=False)
        model = BilinearLM(
            vocab=task.vocab_size, width=config.width, symmetric=config.symmetric, init_std=config.init_std, seed=seed
        )
        return model, task

    history = fit_seeds(
        make,
        seeds,
        steps=config.steps,
        batch_size=None,
        optim=Optim(kind="sgd", lr=config.lr),
        evaluate_at=config.evaluations,
        measure=_pair_weights,
        run=run,
    )
    return history.assign(width=config.width)


def one_layer(config: OneLayerConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Section 4: gradient descent on Y and Z from zero, on pairs or on triples."""

    def make(seed: int) -> tuple[SequenceModel, FiniteTask]:
        task = _pairs(config, seed, relations=True) if config.task == "reversal" else _triples(config, seed)
        return OneLayerLM(vocab=task.vocab_size, symmetric=config.symmetric, seed=seed), task

    n_facts = len(make(seeds[0])[1].dataset("train"))  # the loss is a mean; the published rates are for the sum
    return fit_seeds(
        make,
        seeds,
        steps=config.steps,
        batch_size=None,
        optim=Optim(kind="sgd", lr=config.lr_Y * n_facts, lr_scale={"Z": config.lr_Z / config.lr_Y}),
        evaluate_at=config.evaluations,
        measure=_pair_weights if config.task == "reversal" else _triple_calls,
        run=run,
    )


def _pairs(config: TheoryConfig, seed: int, *, relations: bool) -> ReversalPairs:
    return ReversalPairs(
        n_symbols=config.n_pairs,
        n_pairs=config.n_pairs,
        n_both=config.n_both,
        relations=relations,
        held="forward",
        seed=seed,
    )


def _triples(config: TheoryConfig, seed: int) -> TransitiveChain:
    return TransitiveChain(n_symbols=config.n_pairs, n_triples=config.n_pairs, n_full=config.n_both, seed=seed)


def _pair_weights(model: SequenceModel, task: ReversalPairs) -> xr.Dataset:
    """Scores, and the mean effective weight of the held pairs in the trained and in the untrained direction."""
    a, b = task.a_words[task.n_both :, 0], task.b_words[task.n_both :, 0]
    p = [float(np.exp(-task.evaluate(model, split).nll).mean()) for split in task.splits]
    return split_scores()(model, task).assign(
        p=("split", p),
        weight_forward=float(np.diag(effective_weights(model, a, b)).mean()),
        weight_reverse=float(np.diag(effective_weights(model, b, a)).mean()),
    )


def _triple_calls(model: nn.Module, task: TransitiveChain) -> xr.Dataset:
    """Scores, and the direct answer beside two calls, for held and for fully trained triples."""
    calls = two_call(model, task).groupby("full").mean()
    kinds = ["trained" if full else "held" for full in calls.full.values]
    return split_scores()(model, task).merge(calls.rename(full="triples").assign_coords(triples=kinds))


# ------------------------------------------------------------------------------------------------ transformers


def reversal(config: ReversalConfig, seed: int, run: Run) -> xr.Dataset:
    """Multi-layer experiments: a transformer on pairs; at its end also its logit matrices and embeddings."""
    task = ReversalPairs(
        n_symbols=config.n_symbols,
        n_pairs=config.n_pairs,
        n_both=config.n_both,
        word_size=config.word_size,
        add_reverse=config.add_reverse,
        identity=config.identity,
        seed=seed,
    )
    model, history = _train(config, task, seed, run)
    logits = _logits_by_training(model, task)
    groups = np.where(np.arange(config.n_pairs) < config.n_both, "both", "held")
    scores = [diagonal_score(logits.sel(direction=d), groups) for d in logits.direction.values]
    symbols = torch.cat([task.a_words, task.b_words]).flatten().unique()
    return history.assign(
        logits=logits,
        diagonal_score=xr.concat(scores, dim="direction"),
        mean_cosine=mean_cosine(embedding_cosines(model, symbols)),
        chance=task.chance("reverse")["nll"],
    )


def _logits_by_training(model: nn.Module, task: ReversalPairs) -> xr.DataArray:
    """G[direction, i, j] = logit of pair j's answer to pair i's question, asked in a trained direction and in the other.

    A held pair is trained in one direction; pairs trained in both count A -> B as the trained one.
    """
    forward = answer_logits(model, task.forward_items(), task.b_words)
    reverse = answer_logits(model, task.reverse_items(), task.a_words)
    as_forward = xr.DataArray(task.forward_trained.numpy(), dims="query")
    matrices = [forward.where(as_forward, reverse), reverse.where(as_forward, forward)]
    pair = np.arange(len(task.a_words))
    return xr.concat(matrices, dim="direction").assign_coords(
        direction=["trained", "untrained"], query=pair, answer=pair
    )


def chain(config: ChainConfig, seed: int, run: Run) -> xr.Dataset:
    """Multi-layer experiments: a transformer on triples; the conclusion asked at once, and in two calls."""
    task = TransitiveChain(
        n_symbols=config.n_symbols,
        n_triples=config.n_triples,
        n_full=config.n_full,
        related_tokens=config.related_tokens,
        seed=seed,
    )
    _, history = _train(config, task, seed, run, measure=_triple_calls)
    return history.assign(chance=task.chance("direct")["nll"])


def in_context(config: InContextConfig, seed: int, run: Run) -> xr.Dataset:
    """A control: the pair stands in the context, in sequences whose pair was never trained."""
    task = InContextReversal(n_x=config.n_x, n_y=config.n_y, n_train_y=config.n_train_y, seed=seed)
    _, history = _train(config, task, seed, run)
    return history.assign(chance=task.chance("reverse")["nll"])


def _train(
    config: TransformerConfig, task: FiniteTask, seed: int, run: Run, measure: Measure | None = None
) -> tuple[SequenceModel, xr.Dataset]:
    model = _model(config, task.vocab_size, seed)
    history = fit(
        model,
        task,
        steps=config.steps,
        batch_size=config.batch_size,
        optim=Optim(lr=config.lr, weight_decay=config.weight_decay),
        seed=seed,
        evaluate_at=config.evaluations,
        measure=measure,
        run=run,
    )
    return model, history


def _model(config: TransformerConfig, vocab: int, seed: int) -> SequenceModel:
    """The arm's model; one of another architecture gets the settings that it knows."""
    names = ("width", "depth", "heads", "dropout", "positions", "tied", "freeze_embeddings")
    given = {name: getattr(config, name) for name in names} | {"context": 16}
    known = settings_of(config.model)
    settings = {name: value for name, value in given.items() if name in known}
    return build(config.model, vocab=vocab, seed=seed, **settings)
