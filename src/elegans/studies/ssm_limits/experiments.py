"""How the arms are built and trained, and what is measured.

Chains are scored by what the model writes itself. The scores with a true chain given (`*_given`) are kept beside them, to
show how far they are off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import nn

from elegans.lab.run import Run
from elegans.models.base import SequenceModel
from elegans.models.registry import build, settings_of
from elegans.probes.capacity import Memory, copy_capacity, slot_accuracy
from elegans.probes.decode import greedy
from elegans.probes.operations import multiply_adds
from elegans.studies.ssm_limits.arms import (
    SOLVED,
    CapacityConfig,
    ChainConfig,
    CopyConfig,
    CostConfig,
    LocalConfig,
    SlotsConfig,
    StateSpace,
    TrainConfig,
    Transformer,
)
from elegans.tasks.base import Task, evaluating
from elegans.tasks.copying import StringCopy
from elegans.tasks.cot_dp.arithmetic import ModularArithmetic
from elegans.tasks.cot_dp.base import EOS, DynamicProgram
from elegans.tasks.cot_dp.edit_distance import EditDistance
from elegans.tasks.cot_dp.equations import LinearEquations
from elegans.tasks.cot_dp.lis import LongestIncreasingSubsequence
from elegans.tasks.cot_dp.prefix_sum import PrefixSum
from elegans.tasks.lagged_sum import LaggedSum
from elegans.training.loop import Measure, fit
from elegans.training.optim import Optim

LEARNED = 0.95
"""The character accuracy at which copying counts as learnt."""

# ------------------------------------------------------------------------------------------------ without training


def capacity(config: CapacityConfig, seed: int, run: Run) -> xr.Dataset:
    """COPY through a selective scan: `accuracy` by memory, T and N / T; at one fixed N; `error` of one-hot keys."""

    def over_lengths(memory: Memory, state_size: Callable[[int], float]) -> xr.Dataset:
        cells = [
            copy_capacity(
                memory,
                length=length,
                state_size=max(round(state_size(length)), 1),
                num_symbols=config.symbols,
                repetitions=config.repetitions * max(config.lengths) // length,
                seed=seed,
            )
            for length in config.lengths
        ]
        return xr.concat(cells, "pairs")

    def over_ratios(memory: Memory, ratios: Sequence[float], dim: str) -> xr.Dataset:
        return xr.concat([over_lengths(memory, lambda length, r=r: r * length) for r in ratios], dim)

    proportional = [over_ratios(memory, config.ratios, "ratio").accuracy for memory in ("linear", "least-squares")]
    fixed = [over_lengths(memory, lambda _: config.fixed).accuracy for memory in ("linear", "softmax")]
    one_hot = over_ratios("one-hot", (0.5, 1.0), "share")
    return xr.Dataset(
        {
            "accuracy": xr.concat(proportional, "memory"),
            "accuracy_fixed": xr.concat(fixed, "memory_fixed"),
            "accuracy_one_hot": one_hot.accuracy,
            "error_one_hot": one_hot.error,
        }
    ).assign_coords(
        memory=["read by keys", "read by least squares"],
        memory_fixed=["state space", "softmax attention"],
        pairs=list(config.lengths),
        ratio=list(config.ratios),
        share=[0.5, 1.0],
    )


def slots(config: SlotsConfig, seed: int, run: Run) -> xr.Dataset:
    """Accuracy of overwritten slots on lagged sums, by lag m, length T, and number of slots: m and one less."""
    cells = [
        [
            [
                slot_accuracy(LaggedSum(length=length, lag=lag, n_eval=config.n_eval, seed=seed), slots=count)
                for count in (lag, lag - 1)
            ]
            for length in config.lengths
        ]
        for lag in config.lags
    ]
    coords = {"lag": list(config.lags), "pairs": list(config.lengths), "slots": ["m", "m - 1"]}
    return xr.Dataset({"accuracy": (("lag", "pairs", "slots"), cells)}, coords=coords)


def cost(config: CostConfig, seed: int, run: Run) -> xr.Dataset:
    """Bytes that the states of built models hold, and multiply-adds of mixing by counting, over the length."""
    sizes = {"width": config.width, "context": max(config.lengths), "state_size": config.state_size}
    models = {
        "transformer": _built(config.reference, depth=config.reference_depth, **sizes),
        "state space": _built(config.model, depth=config.depth, **sizes),
    }

    def ssm(length: int, state_size: int) -> int:
        return multiply_adds("ssm", length=length, width=config.width, state_size=state_size)

    regimes: dict[str, Callable[[int], int]] = {
        "attention": lambda length: multiply_adds("attention", length=length, width=config.width),
        "state of fixed size": lambda length: ssm(length, config.state_size),
        "state as long as the problem": lambda length: ssm(length, length),
        "state as large as the locality": lambda length: ssm(length, config.lag),
    }
    return xr.Dataset(
        {
            "state_bytes": (
                ("family", "tokens"),
                [[m.state_bytes(t) for t in config.lengths] for m in models.values()],
            ),
            "operations": (
                ("regime", "tokens"),
                [[float(count(t)) for t in config.lengths] for count in regimes.values()],
            ),
        },
        coords={"family": list(models), "regime": list(regimes), "tokens": list(config.lengths)},
    )


# ------------------------------------------------------------------------------------------------ models and training


def _built(name: str, *, vocab: int = 2, seed: int = 0, **given: object) -> SequenceModel:
    """A model with those of the settings that it knows."""
    known = settings_of(name)
    return build(name, vocab=vocab, seed=seed, **{key: value for key, value in given.items() if key in known})


def _model(config: TrainConfig, vocab: int, tokens: int, seed: int) -> SequenceModel:
    """The arm's model for sequences of up to so many tokens."""
    given: dict[str, object] = {"depth": config.depth, "embedding_std": config.embedding_std, "tied": False}
    if isinstance(config, Transformer):
        name = config.reference
        given |= {"heads": config.heads, "positions": config.positions, "std": config.std}
    else:
        assert isinstance(config, StateSpace)
        name = config.model
        given |= {"state_size": config.state_size}
    return _built(name, vocab=vocab, seed=seed, width=config.width, context=tokens, **given)


def _train(
    config: TrainConfig,
    model: SequenceModel,
    task: Task,
    rate: float,
    seed: int,
    run: Run,
    measure: Measure,
    stop_by: str,
) -> xr.Dataset:
    """Measurements at the planned steps; after an early stop the last one stands for the rest. `updates` were made."""
    planned = sorted({*range(0, config.steps, config.evaluate_every), config.steps})
    history = fit(
        model,
        task,
        steps=config.steps,
        batch_size=config.batch_size,
        optim=_optim(rate, weight_decay=config.weight_decay, warmup=config.warmup),
        seed=seed,
        evaluate_at=planned,
        measure=measure,
        until=lambda found: bool(found[stop_by].sel(split="select") >= config.stop),
        run=run,
        name=f"rate-{rate:g}",
    )
    found = history.reindex(step=planned, method="ffill")
    return found.assign(updates=int(history.step[-1]), parameters=sum(p.numel() for p in model.parameters()), rate=rate)


def _optim(rate: float, *, weight_decay: float, warmup: int) -> Optim:
    return Optim(
        lr=rate, weight_decay=weight_decay, betas=(0.9, 0.98), warmup=warmup, schedule="linear", floor=0.1, clip=1.0
    )


def _chosen_rate(run: Run) -> float:
    return json.loads((run.artifact("rates") / "rate.json").read_text())["rate"]


def _sweep(config: TrainConfig, run: Run, score: Callable[[float], float]) -> xr.Dataset:
    """The `score` of every rate, higher being better, and the best rate as an artefact; a single rate is not trained."""
    scores = [score(rate) for rate in config.rates] if len(config.rates) > 1 else [float("nan")]
    best = config.rates[int(np.argmax(scores))]
    (run.artifact_dir / "rate.json").write_text(json.dumps({"rate": best}))
    return xr.Dataset({"score": ("rate", scores), "best": best}, coords={"rate": list(config.rates)})


# ------------------------------------------------------------------------------------------------ copying


def copy(config: CopyConfig, seed: int, run: Run) -> xr.Dataset:
    """Training on strings up to a length: `char_accuracy` of the longest over training, then every length by itself.

    `learned_at` is the number of updates to a character accuracy of 0.95 on ``test``, between two measurements on the line
    through them; the planned number where it is not reached, so it is then too small.
    """
    task, rate = _strings(config, seed), _chosen_rate(run)
    model = _model(config, task.vocab_size, _copy_tokens(config), seed)
    history = _train(config, model, task, rate, seed, run, _copy_measure(config), "char_accuracy")
    accuracy = history.char_accuracy.sel(split="test", drop=True)
    tests = [_at_length(model, task.at_length(length)) for length in config.lengths]
    return (
        xr.concat(tests, "length")
        .assign_coords(length=list(config.lengths))
        .merge(history)
        .assign(
            learned_at=first_crossing(accuracy, LEARNED),
            max_length=config.max_length,
            chance=task.chance("test")["char_accuracy"],
        )
    )


def copy_rates(config: CopyConfig, seed: int, run: Run) -> xr.Dataset:
    """Character accuracy of the longest strings on ``select`` at the end of a short training, by learning rate."""

    def score(rate: float) -> float:
        task = _strings(config, seed)
        model = _model(config, task.vocab_size, _copy_tokens(config), seed)
        history = _train(config, model, task, rate, seed, run, _copy_measure(config), "char_accuracy")
        return float(history.char_accuracy.sel(split="select").isel(step=-1))

    return _sweep(config, run, score)


def first_crossing(curve: xr.DataArray, level: float) -> float:
    """The step at which a curve over ``step`` first reaches a level, on the line between two points; else the last step."""
    steps, values = curve.step.values, curve.values
    reached = values >= level
    if not reached.any():
        return float(steps[-1])
    i = int(reached.argmax())
    if not i:
        return float(steps[0])
    return float(np.interp(level, values[i - 1 : i + 1], steps[i - 1 : i + 1]))


def _strings(config: CopyConfig, seed: int) -> StringCopy:
    return StringCopy(
        alphabet=config.alphabet,
        min_length=config.min_length,
        max_length=config.max_length,
        shuffled=config.shuffled,
        layout=config.layout,
        context_length=config.context_length,
        n_eval=config.n_eval,
        seed=seed,
    )


def _copy_tokens(config: CopyConfig) -> int:
    longest = 2 * max(*config.lengths, config.max_length) + 3
    return max(longest, config.context_length) if config.layout == "packed" else longest


def _copy_measure(config: CopyConfig) -> Measure:
    def measure(model: nn.Module, task: StringCopy) -> xr.Dataset:
        longest = task.at_length(config.max_length)
        scores = [longest.evaluate(model, split).mean("item") for split in ("select", "test")]
        return xr.concat(scores, "split").assign_coords(split=["select", "test"])[["char_accuracy"]]

    return measure


def _at_length(model: nn.Module, task: StringCopy) -> xr.Dataset:
    """Scores on strings of one length: `char_given` with the true copy so far, `char_free` and `string_free` without."""
    device = next(model.parameters()).device
    prompts = task.prompts("test", task.n_eval)
    free = task.verify(prompts, greedy(model, prompts.to(device), task.max_length + 1))
    given = task.evaluate(model, "test").char_accuracy.mean()
    return xr.Dataset(
        {
            "char_given": float(given),
            "char_free": float(free.char_accuracy_free.mean()),
            "string_free": float(free.string_accuracy.mean()),
        }
    )


# ------------------------------------------------------------------------------------------------ chains of thought


def chain(config: ChainConfig, seed: int, run: Run) -> xr.Dataset:
    """Training on a dynamic program: `answer` and `chain` of free-running output on ``test`` over training.

    Beside them, with the true output so far given: `answer_given`, the answer alone, and `token_given`, all tokens.
    """
    task, rate = _program(config, seed), _chosen_rate(run)
    model = _model(config, task.vocab_size, task.prompt_length + task.output_length, seed)
    history = _train(config, model, task, rate, seed, run, _chain_measure, "exact")
    return history.drop_dims("split").assign(majority=task.chance("test")["answer"])


def chain_rates(config: ChainConfig, seed: int, run: Run) -> xr.Dataset:
    """Share of right tokens on ``select``, the true output so far given, after a short training, by learning rate."""

    def score(rate: float) -> float:
        task = _program(config, seed)
        model = _model(config, task.vocab_size, task.prompt_length + task.output_length, seed)
        _train(config, model, task, rate, seed, run, _exact_on_select, "exact")
        return float(task.evaluate(model, "select").token_accuracy.mean())

    return _sweep(config, run, score)


def _program(config: ChainConfig, seed: int) -> DynamicProgram:
    view, n_eval, n = config.view, config.n_eval, config.n
    match config.task:
        case "prefix-sum":
            return PrefixSum(n=n, modulus=config.modulus, view=view, n_eval=n_eval, seed=seed)
        case "lis":
            return LongestIncreasingSubsequence(
                n=n, n_values=config.n_values, planted=config.planted, view=view, n_eval=n_eval, seed=seed
            )
        case "arithmetic":
            return ModularArithmetic(n_operators=n, modulus=config.modulus, view=view, n_eval=n_eval, seed=seed)
        case "equations":
            return LinearEquations(n_variables=n, modulus=config.modulus, view=view, n_eval=n_eval, seed=seed)
        case "edit-distance":
            return EditDistance(n=n, view=view, n_eval=n_eval, seed=seed)


def _exact_on_select(model: nn.Module, task: DynamicProgram) -> xr.Dataset:
    """Exact outputs with the true output so far given are exact free-running outputs, and cheaper."""
    return xr.Dataset(
        {"exact": ("split", [float(task.evaluate(model, "select").accuracy.mean())])}, {"split": ["select"]}
    )


def _chain_measure(model: nn.Module, task: DynamicProgram) -> xr.Dataset:
    device = next(model.parameters()).device
    prompts = task.prompts("test", task.n_eval)
    found = task.verify(prompts, greedy(model, prompts.to(device), task.output_length)).mean("item")
    if task.view == "direct":
        found = found.assign(chain=np.nan, progress=np.nan)
    return _exact_on_select(model, task).merge(found).merge(given_scores(model, task))


def given_scores(model: nn.Module, task: DynamicProgram) -> xr.Dataset:
    """`answer_given`, right answers after the *true* chain, and `token_given`, on ``test``: what not to score chains by."""
    batch = task.dataset("test").to(next(model.parameters()).device)
    with evaluating(model):
        right = model(batch.tokens).argmax(-1) == batch.targets
    end = (batch.targets == EOS).int().argmax(1, keepdim=True)
    places = end + torch.arange(-task.answer_length, 0, device=end.device)
    scored = batch.targets >= 0
    return xr.Dataset(
        {
            "answer_given": float(right.gather(1, places).all(1).double().mean()),
            "token_given": float(right[scored].double().mean()),
        }
    )


# ------------------------------------------------------------------------------------------------ locality


def local(config: LocalConfig, seed: int, run: Run) -> xr.Dataset:
    """Token accuracy of a layer with E state numbers on a lagged sum, by E (``state``).

    Of several starts the one that is best on ``select`` counts: single starts stay in local optima. States are tried from
    the largest down to the first that does not learn the sum; what is smaller is not a number.
    """
    task = LaggedSum(length=config.length, lag=config.lag, n_eval=config.n_eval, seed=seed)
    found = dict.fromkeys(config.states, np.nan)
    for state in sorted(config.states, reverse=True):
        best = -1.0, 0.0
        for start in range(config.starts):
            model = _local_layer(config, task, state, seed, start, run)
            best = max(best, (_token_accuracy(model, task, "select"), _token_accuracy(model, task, "test")))
            if best[0] >= config.stop:
                break
        found[state] = best[1]
        if best[0] < SOLVED:
            break
    return xr.Dataset(
        {"accuracy": ("state", list(found.values())), "lag": config.lag, "pairs": config.length},
        coords={"state": list(found)},
    )


def _local_layer(config: LocalConfig, task: LaggedSum, state: int, seed: int, start: int, run: Run) -> SequenceModel:
    model = _built(
        config.model,
        vocab=task.vocab_size,
        width=config.width,
        depth=1,
        inner=state,
        state_size=1,
        conv=0,
        addressing="block",
        dt_rank=config.dt_rank,
        dt_min=config.dt_min,
        dt_max=config.dt_max,
        mlp_ratio=4,
        learned_positions=2 * config.length,
        tied=False,
        std=config.std,
        embedding_std=config.embedding_std,
        seed=config.starts * seed + start,
    )
    fit(
        model,
        task,
        steps=config.steps,
        batch_size=config.batch_size,
        optim=_optim(config.lr, weight_decay=0.1, warmup=50),
        seed=seed,
        evaluate_at=range(0, config.steps + 1, config.evaluate_every),
        measure=lambda model, task: xr.Dataset({"accuracy": _token_accuracy(model, task, "select")}),
        until=lambda found: bool(found.accuracy >= config.stop),
        run=run,
        name=f"state-{state}-{start}",
    )
    return model


def _token_accuracy(model: nn.Module, task: LaggedSum, split: str) -> float:
    return float(task.evaluate(model, split).token_accuracy.mean())
