"""How the arms are computed, trained and measured."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from typing import TypeGuard

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from elegans.lab.run import Run
from elegans.models.attention import SelfAttention
from elegans.models.base import SequenceModel
from elegans.models.decoder import Decoder
from elegans.models.positions import alibi_slopes
from elegans.models.registry import build, settings_of
from elegans.models.sinks import StableMask
from elegans.ops.attention import attention, attention_weights, pseudo_log_mass, reference_stablemask
from elegans.ops.rng import torch_rng
from elegans.probes.sinks import ROWS, attention_maps, sinks
from elegans.studies.stablemask.arms import (
    BackcopyConfig,
    CostConfig,
    DecoderConfig,
    FormsConfig,
    PositionConfig,
    PrefixConfig,
    RatesConfig,
    TextConfig,
)
from elegans.tasks.base import evaluating
from elegans.tasks.language import shuffled
from elegans.tasks.markov import BigramBackcopy
from elegans.tasks.position import EvenToken, PositionIdentification
from elegans.tasks.text import TextLM
from elegans.training.loop import fit
from elegans.training.optim import EMA, Optim

FIRST_QUERY = 8
"""Queries before this one see too few keys for a sink to show."""

# ------------------------------------------------------------------------------------------------ without training


def exactness(config: FormsConfig, seed: int, run: Run) -> xr.Dataset:
    """Errors against softmax(A * C + P) * C, relative to the largest entry, of outputs and gradients.

    `error` (form, quantity) is that of the fused form with its backward pass, and of the same output made by scaling
    fused attention, with the normalizer taken for a constant. `mass_error` is that of the closed forms of log c_i
    against sums over the pseudo scores.
    """
    generator = torch_rng("stablemask-exactness", seed)
    shape = (config.batch_size, config.length, config.heads, config.head_width)
    q, k, v, weight = (torch.randn(shape, generator=generator, dtype=torch.double) for _ in range(4))
    gamma = alibi_slopes(config.heads).double()
    sink = _log_mass(config, config.length)

    def scaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keep = attention_weights(q, k, sink).sum(-1).detach()
        return attention(q, k, v) * keep.mT[..., None]

    def derived(form: Callable[..., Tensor]) -> list[Tensor]:
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = form(*inputs)
        return [out.detach(), *torch.autograd.grad(out, inputs, weight)]

    true = derived(lambda q, k, v: reference_stablemask(q, k, v, gamma))
    forms = {"fused": derived(lambda q, k, v: attention(q, k, v, sink)), "scaled": derived(scaled)}
    errors = [[_relative(x, y) for x, y in zip(found, true, strict=True)] for found in forms.values()]
    return xr.Dataset(
        {"error": (("form", "quantity"), errors), "mass_error": _mass_error(config, gamma)},
        coords={"form": list(forms), "quantity": ["output", "grad q", "grad k", "grad v"]},
    )


def _log_mass(config: FormsConfig, total: int | None) -> Float[Tensor, "H T"]:
    positions = torch.arange(1, config.length + 1, dtype=torch.double)
    return pseudo_log_mass(alibi_slopes(config.heads).double(), positions, total)


def _relative(found: Tensor, true: Tensor) -> float:
    return float((found - true).abs().max() / true.abs().max())


def _mass_error(config: FormsConfig, gamma: Float[Tensor, " H"]) -> float:
    """The largest error of log c_i; the tail of the endless sum that is left out has less than e^-40 of its mass."""
    end = config.length + math.ceil(40 / float(gamma.min()))
    scores = -gamma[:, None] * torch.arange(end, dtype=torch.double)

    def error(total: int | None) -> float:
        columns = scores[:, :total]
        # Row i, counted from 1, gives its mass to the columns from i + 1 on.
        tails = columns.flip(-1).logcumsumexp(-1).flip(-1)[:, 1 : config.length + 1]
        return float((_log_mass(config, total)[:, : tails.shape[1]] - tails).abs().max())

    return max(error(config.length), error(None))


def row_masses(config: FormsConfig, seed: int, run: Run) -> xr.Dataset:
    """`keep` (mask, head, position) of every row of weights where all scores are equal."""
    zeros = torch.zeros(1, config.length, config.heads, config.head_width, dtype=torch.double)
    masses = {"causal": None, "finite": _log_mass(config, config.length), "endless": _log_mass(config, None)}
    keep = [attention(zeros, zeros, zeros + 1, sink)[0, ..., 0].mT.numpy() for sink in masses.values()]
    return xr.Dataset(
        {"keep": (("mask", "head", "position"), np.stack(keep)), "gamma": ("head", alibi_slopes(config.heads).numpy())},
        coords={"mask": list(masses), "position": np.arange(1, config.length + 1)},
    )


def prefix(config: PrefixConfig, seed: int, run: Run) -> xr.Dataset:
    """The largest difference between logits of the first half, read with and without the second.

    `alone` is that of a pass over the half alone, `cached` that of token by token from a cache; the finite form has none.
    """
    tokens = torch.randint(config.vocab, (config.batch_size, config.length), generator=torch_rng("prefix", seed))
    tokens, half = tokens.to(run.device), config.length // 2
    kinds = ["none", "stablemask", "stablemask-finite", "learned"]
    alone, cached = [], []
    for kind in kinds:
        model = build(
            "gpt",
            vocab=config.vocab,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            context=config.length,
            positions="rotary",
            sink=kind,
            norm="rms",
            bias=False,
            tied=False,
            seed=seed,
        ).to(run.device)
        with evaluating(model):
            whole = model(tokens)[:, :half]
            alone.append(float((whole - model(tokens[:, :half])).abs().max()))
            cached.append(math.nan if kind == "stablemask-finite" else _cached_error(model, tokens[:, :half], whole))
    return xr.Dataset({"alone": ("mask", alone), "cached": ("mask", cached)}, coords={"mask": kinds})


def _cached_error(model: SequenceModel, tokens: Tensor, logits: Tensor) -> float:
    state, error = model.init_state(len(tokens)), 0.0
    for position, column in enumerate(tokens.unbind(1)):
        found, state = model.step(column, state)
        error = max(error, float((found - logits[:, position]).abs().max()))
    return error


def cost(config: CostConfig, seed: int, run: Run) -> xr.Dataset:
    """`seconds` (form, length), forward and backward, and `ratio` to plain attention: medians over rounds.

    On a CPU the time is that of the process, so that other processes do not count.
    """
    generator = torch_rng("stablemask-cost", seed)
    mask = StableMask(config.heads).to(run.device)
    forms: dict[str, Callable[..., Tensor]] = {
        "plain": attention,
        "fused": lambda q, k, v: attention(q, k, v, mask(0, q.shape[1])),
        "matrices": lambda q, k, v: reference_stablemask(q, k, v, mask.gamma),
    }
    found = []
    for number, length in enumerate(config.lengths):
        shape = (config.num_tokens // length, length, config.heads, config.head_width)
        q, k, v, weight = (torch.randn(shape, generator=generator).to(run.device) for _ in range(4))
        inputs = [x.requires_grad_() for x in (q, k, v)]
        rounds = np.empty((config.rounds + 1, len(forms)))
        for turn in rounds:
            turn[:] = [_seconds(form, inputs, weight) for form in forms.values()]
        found.append(rounds[1:])  # the first warms up
        run.progress(number + 1, len(config.lengths))
    seconds = xr.DataArray(
        np.stack(found), dims=("length", "round", "form"), coords={"length": list(config.lengths), "form": list(forms)}
    )
    ratio = (seconds / seconds.sel(form="plain", drop=True)).median("round")
    return xr.Dataset({"seconds": seconds.median("round"), "ratio": ratio})


def _seconds(form: Callable[..., Tensor], inputs: Sequence[Tensor], weight: Tensor) -> float:
    on_gpu = weight.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    wait()
    start = clock()
    torch.autograd.grad(form(*inputs), inputs, weight)
    wait()
    return clock() - start


# ------------------------------------------------------------------------------------------------ small tasks


def position(config: PositionConfig, seed: int, run: Run) -> xr.Dataset:
    """`accuracy` and `nll` of two trainings on constant input, dimension ``task``, with the level of a `chance`."""
    sizes = {"n_positions": config.n_positions, "bos": config.bos, "n_eval": 1}
    tasks = {"position": PositionIdentification(**sizes), "even": EvenToken(**sizes)}
    scores = []
    for name, task in tasks.items():
        model = _model(config, task.vocab_size, config.n_positions + 1, seed)
        fit(
            model,
            task,
            steps=config.steps,
            batch_size=config.batch_size,
            optim=_optim(config, config.lr),
            seed=seed,
            evaluate_at=[],
            run=run,
            name=name,
        )
        scores.append(task.evaluate(model, "test").mean().assign(chance=task.chance("test")["accuracy"]))
    return xr.concat(scores, "task").assign_coords(task=list(tasks))


def backcopy(config: BackcopyConfig, seed: int, run: Run) -> xr.Dataset:
    """What the head keeps at triggers and elsewhere, its losses there, and what it gives the first token, over training."""
    task = BigramBackcopy(
        n_tokens=config.n_tokens, n_triggers=config.n_triggers, length=config.length, n_eval=config.n_eval
    )
    model = _model(config, task.vocab_size, config.length, seed)
    return fit(
        model,
        task,
        steps=config.steps,
        batch_size=config.batch_size,
        optim=_optim(config, config.lr),
        seed=seed,
        evaluate_at=config.evaluations,
        measure=_trigger_measures,
        run=run,
    )


def _trigger_measures(model: nn.Module, task: BigramBackcopy) -> xr.Dataset:
    """`nll`, `keep` and `first` by `place`: at triggers, and at other queries. Rows are those of the only head.

    `keep` (labels) is that of the true places, and of places shuffled within each sequence. `first` (rows) is the weight
    of the first token over that of uniform attention, in rows as they are and in rows divided by what they keep.
    """
    items = task.dataset("test")
    true = task.target_kinds(items)
    nll = task.evaluate(model, "test").nll
    found = xr.Dataset({"nll": _by_place(nll, true)}, coords={"place": list(task.kinds)})
    if not _attends(model):
        return found
    weights = torch.cat([layer.weights for layer in attention_maps(model, items.tokens).values()], dim=1).mean(1)
    dims = ("item", "position")
    keep, raw = xr.DataArray(weights.sum(-1).numpy(), dims=dims), xr.DataArray(weights[..., 0].numpy(), dims=dims)
    uniform = _by_place(xr.ones_like(raw) / (1 + np.arange(raw.sizes["position"])), true)
    late = shuffled(true[:, FIRST_QUERY:])
    labels = {"true": true, "shuffled": torch.cat([true[:, :FIRST_QUERY], late], dim=1)}
    return found.assign(
        keep=xr.concat([_by_place(keep, kinds) for kinds in labels.values()], "labels"),
        first=xr.concat([_by_place(rows, true) / uniform for rows in (raw, raw / keep)], "rows"),
    ).assign_coords(labels=list(labels), rows=list(ROWS))


def _by_place(values: xr.DataArray, kinds: Tensor) -> xr.DataArray:
    """Means over the queries of each kind, from `FIRST_QUERY` on."""
    late = np.arange(kinds.shape[1]) >= FIRST_QUERY
    return xr.concat([values.where((kinds.numpy() == kind) & late).mean() for kind in (0, 1)], "place")


# ------------------------------------------------------------------------------------------------ text


def sweep(config: RatesConfig, seed: int, run: Run) -> xr.Dataset:
    """`nll` (rate) on the split ``select``; leaves the best rate as ``rates.json`` for the reported arm."""
    task = TextLM(config.text, context=config.contexts[0])
    scores = []
    for lr in config.rates:
        try:
            model = _trained(config, task, lr, seed, run)
        except FloatingPointError:
            scores.append(math.inf)
        else:
            scores.append(float(task.evaluate(model, "select", context=config.contexts[0]).nll.mean()))
    best = config.rates[int(np.argmin(scores))]
    (run.artifact_dir / "rates.json").write_text(json.dumps({"lr": best}))
    return xr.Dataset({"nll": ("rate", scores)}, coords={"rate": list(config.rates)})


def text(config: TextConfig, seed: int, run: Run) -> xr.Dataset:
    """`nll` (context) of the same characters of the split ``test``, and the attention maps at the training context.

    `nll_without_sink` is that at the training context with the sink taken off after training, `unigram` the loss of the
    characters' frequencies.
    """
    lr = json.loads((run.artifact("rates") / "rates.json").read_text())["lr"]
    task = TextLM(config.text, context=config.contexts[0])
    model = _trained(config, task, lr, seed, run)
    longest = max(config.contexts)

    def nll(context: int) -> float:
        return float(task.evaluate(model, "test", context=context, longest=longest).nll.mean())

    found = xr.Dataset(
        {
            "nll": ("context", [nll(context) for context in config.contexts]),
            "unigram": task.chance("test")["nll_unigram"],
            "lr": lr,
        },
        coords={"context": list(config.contexts)},
    )
    if _attends(model):
        items = task.dataset("test").tokens[: config.n_maps]
        found = found.merge(sinks(model, items, skip=min(FIRST_QUERY, config.contexts[0] - 1)))
        if config.sink != "none":
            for module in model.modules():
                if isinstance(module, SelfAttention):
                    module.sink = None
            found = found.assign(nll_without_sink=nll(config.contexts[0]))
    return found


def _trained(config: TextConfig, task: TextLM, lr: float, seed: int, run: Run) -> SequenceModel:
    """A model with the running average of its weights."""
    model = _model(config, task.vocab_size, max(config.contexts), seed)
    ema = EMA(config.ema)
    fit(
        model,
        task,
        steps=config.steps,
        batch_size=config.batch_size,
        optim=_optim(config, lr),
        seed=seed,
        evaluate_at=[],
        ema=ema,
        run=run,
        name=f"rate-{lr:g}",
    )
    ema.swap(model)
    return model


# ------------------------------------------------------------------------------------------------ common


def _optim(config: DecoderConfig, lr: float) -> Optim:
    return Optim(
        lr=lr,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
        clip=1.0,
        warmup=config.warmup,
        schedule="cosine",
        floor=0.1,
    )


def _attends(model: nn.Module) -> TypeGuard[Decoder]:
    """Whether the model has rows of weights to look at."""
    return isinstance(model, Decoder) and any(isinstance(module, SelfAttention) for module in model.modules())


def _model(config: DecoderConfig, vocab: int, context: int, seed: int) -> SequenceModel:
    """The arm's model; one of another architecture gets the settings that it knows."""
    names = ("width", "depth", "heads", "mlp", "mlp_hidden", "positions", "sink")
    given = {name: getattr(config, name) for name in names}
    given |= {"context": context, "norm": "rms", "bias": False, "tied": False}
    known = settings_of(config.model)
    return build(config.model, vocab=vocab, seed=seed, **{name: v for name, v in given.items() if name in known})
