"""How the arms are trained and what is measured.

Every experiment returns `loss` (summed over lengths, nats) and `accuracy` over training, and the accuracy on parity
check of each way to use the model: ``direct``, chains of thought that are ``truncated`` to the input's length, and
chains that are ``untruncated``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from elegans.lab.run import Run
from elegans.models.theory import StringClassifier
from elegans.probes.dynamics import attention_drift, log_growth, loglog_slope
from elegans.probes.margin import margin_cosine, margin_ratio, mean_difference
from elegans.studies.regular_languages.arms import ChainConfig, DescentConfig, LanguageConfig, SampledConfig
from elegans.tasks.formal import (
    ChainOfThought,
    FormalLanguage,
    Strings,
    StringTask,
    all_words,
    cyclic,
    end_sum,
    random_words,
    roll_out,
)
from elegans.training.ensemble import Ensemble, TaskStack
from elegans.training.loop import fit, joined, log_steps
from elegans.training.optim import Optim

EARLY = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32)
"""Steps of the first phase at which its power laws are read."""
SOLVED = 600
"""The step by which both tasks are learned in the paper's curves."""

# ------------------------------------------------------------------------------------------------ the three systems


def language(config: LanguageConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Even pairs (or the sum itself) on all strings; then parity check without training on it."""
    automaton = end_sum(config.order) if config.label == "ends" else cyclic(config.order)

    def make(seed: int) -> tuple[StringClassifier, StringTask]:
        task = FormalLanguage(automaton, max_length=config.max_length)
        return _model(config, task, config.max_length, seed), task

    def measure(model: StringClassifier, task: StringTask) -> xr.Dataset:
        lengths = range(2, config.max_length + 1)
        reasoning = [_reasoning(model, all_words(config.order, length), config.max_length) for length in lengths]
        return _look(model, task).merge(joined(reasoning, "length").assign_coords(length=list(lengths)))

    return _laws(config, _descend(config, make, measure, seeds, run))


def chain(config: ChainConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Parity check trained on its chain of thought, with even pairs of short strings beside it."""

    def make(seed: int) -> tuple[StringClassifier, StringTask]:
        task = ChainOfThought(length=config.length, short=config.short)
        return _model(config, task, task.max_length, seed), task

    def measure(model: StringClassifier, task: StringTask) -> xr.Dataset:
        inputs = all_words(2, config.length)
        return _look(model, task).merge(_reasoning(model, inputs, 2 * config.length - 2))

    return _laws(config, _descend(config, make, measure, seeds, run))


def sampled(config: SampledConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Even pairs on random strings, and parity check by truncated chains on new ones of the greatest length."""

    def make(seed: int) -> tuple[StringClassifier, StringTask]:
        task = FormalLanguage(end_sum(2), max_length=config.max_length, per_length=config.per_length, seed=seed)
        return _model(config, task, config.max_length, seed), task

    def measure(model: StringClassifier, task: StringTask) -> xr.Dataset:
        longest = random_words(2, config.max_length, 256, "regular-languages", "inputs")
        fresh = task.dataset("fresh").to(model.v.device)
        with torch.no_grad():
            right = (model.predict(fresh.words) == fresh.labels).double().mean()
        scores = {"loss": _loss(model, task), "accuracy_fresh": float(right)}
        return xr.Dataset(scores).merge(_reasoning(model, longest, config.max_length))

    return _descend(config, make, measure, seeds, run)


# ------------------------------------------------------------------------------------------------ training

Make = Callable[[int], tuple[StringClassifier, StringTask]]
Look = Callable[[StringClassifier, StringTask], xr.Dataset]


def objective(model: nn.Module, batch: Strings) -> Tensor:
    """The logistic loss (cross-entropy for more classes), summed over lengths: [] or one per member."""
    scores = model(batch.words)
    if scores.ndim == batch.labels.ndim:
        losses = F.softplus(torch.where(batch.labels == 0, -scores, scores))
    else:
        losses = F.cross_entropy(scores.flatten(0, -2), batch.labels.flatten(), reduction="none").view_as(batch.labels)
    return (losses * batch.weights).sum(-1)


def _model(config: DescentConfig, task: StringTask, max_length: int, seed: int) -> StringClassifier:
    return StringClassifier(
        num_symbols=task.vocab_size,
        max_length=max_length,
        num_classes=task.num_classes,
        temperature=config.temperature,
        init_std=config.init_std,
        seed=seed,
    ).double()


def _descend(config: DescentConfig, make: Make, measure: Look, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Both phases, in float64. Where nothing depends on the seed, one training stands for all."""
    random = config.init_std > 0 or isinstance(config, SampledConfig)
    pairs: list[tuple[StringClassifier, Any]] = [make(seed) for seed in (seeds if random else seeds[:1])]
    model: nn.Module = Ensemble([model for model, _ in pairs]) if random else pairs[0][0]
    task: Any = TaskStack([task for _, task in pairs], seeds) if random else pairs[0][1]
    due = _due(config)
    first, second = config.boundary, config.steps - config.boundary
    phases = {
        "first": (first, config.temperature, [s for s in due if s <= first]),
        "second": (second, 1.0, [s - first for s in due if s > first]),
    }
    parts: list[xr.Dataset] = []
    for name, (steps, boost, evaluate_at) in phases.items():
        found = fit(
            model,
            task,
            steps=steps,
            batch_size=None,
            optim=Optim(kind="sgd", lr=config.lr, lr_scale={"W": 0.0 if config.attention == "frozen" else boost}),
            evaluate_at=evaluate_at,
            measure=measure,
            objective=objective,  # pyright: ignore[reportArgumentType] (strings, not token batches)
            run=run,
            name=name,
        )
        parts.append(found if name == "first" else found.assign_coords(step=found.step + first))
    history = xr.concat(parts, "step")
    return history if random else history.expand_dims(seed=list(seeds))


def _due(config: DescentConfig) -> list[int]:
    marks = {*EARLY, 100, config.boundary, SOLVED, config.steps // 20, config.steps}
    return sorted({*log_steps(config.steps, config.evaluations), *(s for s in marks if s <= config.steps)})


# ------------------------------------------------------------------------------------------------ measurements


def _loss(model: StringClassifier, task: StringTask) -> float:
    with torch.no_grad():
        return float(objective(model, task.dataset("train").to(model.key_query().device)))


def _look(model: StringClassifier, task: StringTask) -> xr.Dataset:
    """Loss, accuracy, token scores, norms, attention by class, and how near the read-out is to the largest margin."""
    items = task.dataset("train").to(model.key_query().device)
    with torch.no_grad():
        right = (model.predict(items.words) == items.labels).double().mean()
        weights, mixed = model.attention(items.words).cpu(), model.mixed(items.words).cpu().numpy()
    read_out = (model.v if model.value == "vector" else model.V).detach().cpu().clone()
    lengths, labels = (items.words >= 0).sum(1).cpu(), items.labels.cpu()
    found: dict[str, Any] = {
        "loss": _loss(model, task),
        "accuracy": float(right),
        "norm_v": float(read_out.norm()),
        "norm_W": float(model.key_query().detach().norm()),
        "attention": (("size", "label", "position"), _by_class(weights, lengths, labels)),
        "weights": (("string", "position"), weights.numpy()),
    }
    coords = {
        "size": np.arange(1, weights.shape[1] + 1),
        "label": ["+", "-"],
        "position": np.arange(1, weights.shape[1] + 1),
    }
    if model.value == "vector":
        signs = (1 - 2 * labels).numpy()
        naive = mean_difference(mixed, signs)
        u = read_out.numpy()
        found |= {
            "token_score": (("position", "symbol"), u.reshape(-1, task.vocab_size)),
            "margin_cosine": margin_cosine(u, mixed, signs),
            "margin_ratio": margin_ratio(u, mixed, signs),
            "naive_cosine": margin_cosine(naive, mixed, signs),
            "naive_ratio": margin_ratio(naive, mixed, signs),
        }
    return xr.Dataset(found, coords=coords)


def _by_class(weights: Tensor, lengths: Tensor, labels: Tensor) -> np.ndarray:
    """Mean attention [length, class, position] of strings in the language (+) and not (-); NaN where there are none."""
    size = weights.shape[1]
    means = np.full((size, 2, size), np.nan)
    for length in range(1, size + 1):
        for side, chosen in enumerate((labels == 0, labels != 0)):
            rows = weights[(lengths == length) & chosen]
            if len(rows):
                means[length - 1, side, :length] = rows.mean(0)[:length].numpy()
    return means


def _reasoning(model: StringClassifier, inputs: Tensor, max_length: int) -> xr.Dataset:
    """Accuracy on the sum of the inputs, by way of use; NaN for chains that outgrow the model's positions."""
    inputs = inputs.to(model.key_query().device)
    size = inputs.shape[1]
    truth = inputs.sum(1) % model.num_symbols
    with torch.no_grad():
        answers: Mapping[str, Tensor] = {
            "direct": model.predict(inputs),
            "truncated": roll_out(model.predict, inputs, steps=size - 1, truncate=True)[:, -1],
        }
        if 2 * size - 2 <= max_length:
            answers = {**answers, "untruncated": roll_out(model.predict, inputs, steps=size - 1, truncate=False)[:, -1]}
    accuracy = {name: float((answer == truth).double().mean()) for name, answer in answers.items()}
    ways = ("direct", "truncated", "untruncated")
    return xr.Dataset({"parity": ("way", [accuracy.get(way, np.nan) for way in ways])}, coords={"way": list(ways)})


def _laws(config: DescentConfig, history: xr.Dataset) -> xr.Dataset:
    """Add the rates of both phases and the drift of attention; drop the attention of single strings.

    `slope_score` is d log |u_l| / d log t over steps 4 to 32; `slope_loss` the same of the loss over the last 1.3
    decades; `log_growth` and `log_growth_first` the correlation of ||u|| with log t over steps T/20 to T and 1 to 100;
    `drift` the mean total variation between attention at t_0 and at each step, `moved` that since the start.
    """
    rows = []
    for seed in range(history.sizes["seed"]):
        data = history.isel(seed=seed)
        weights = torch.tensor(data.weights.values)
        at = torch.tensor(data.weights.sel(step=config.boundary).values)
        found: dict[str, Any] = {
            "drift": ("step", attention_drift(weights, at).mean(-1).numpy()),
            "moved": ("step", attention_drift(weights, weights[:1]).mean(-1).numpy()),
        }
        late, early = (config.steps / 20, config.steps), (1, min(100, config.steps))
        found["slope_loss"] = loglog_slope(data.step, data.loss, late)
        if float(data.norm_v.std()) > 0:
            found["log_growth"] = log_growth(data.step, data.norm_v, late)
            found["log_growth_first"] = log_growth(data.step, data.norm_v, early)
        if "token_score" in data:
            scores = abs(data.token_score.mean("symbol")).transpose("position", "step").values
            slopes = [loglog_slope(data.step, s, (4, 32)) if (s[4:] > 0).all() else np.nan for s in scores]
            found["slope_score"] = ("position", slopes)
        rows.append(xr.Dataset(found))
    return history.drop_vars("weights").merge(joined(rows, "seed")).assign(lr=config.lr)
