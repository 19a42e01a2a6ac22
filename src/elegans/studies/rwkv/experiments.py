"""How the networks are trained, and what is measured of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from elegans.lab.run import Run
from elegans.models.base import SequenceModel
from elegans.models.registry import build, settings_of
from elegans.ops.attention import attention, reference_attention
from elegans.ops.rng import torch_rng
from elegans.ops.wkv import WKVState, wkv
from elegans.probes.cost import decoding_cost, interleaved_seconds
from elegans.probes.decay import decay_spectrum, decays
from elegans.studies.rwkv.arms import (
    AttentionConfig,
    DecodingConfig,
    FormsConfig,
    NetworkConfig,
    OperatorConfig,
    RecurrentConfig,
    RecurrentDecodingConfig,
)
from elegans.tasks.associative_recall import AssociativeRecall, PromptOrder
from elegans.tasks.base import evaluating
from elegans.tasks.markov import MarkovText
from elegans.tasks.topics import CONTENT, REPEATED, TopicCorpus
from elegans.training.loop import fit
from elegans.training.optim import EMA, Optim

World = TopicCorpus | MarkovText | AssociativeRecall | PromptOrder

# ------------------------------------------------------------------------------------------------ training


def train(config: NetworkConfig, seed: int, run: Run) -> xr.Dataset:
    """One network on one world, judged on its test split; for topics, in the end, also at four times the length."""
    lr = config.lr
    if lr is None:
        lr = json.loads((run.artifact("rates") / "rates.json").read_text())["lr"]
    world = make_world(config, seed)
    model, ema, history = _fit(config, world, lr, seed, run, split="test", evaluations=config.evaluations)
    ema.swap(model)
    if isinstance(world, TopicCorpus):
        found = world.evaluate(model, "test", length=4 * world.length)
        history = history.merge(by_position(found, window=world.length // 4))
        if decays(model):
            spectra = [decay_spectrum(each) for each in (make_model(config, world.vocab_size, seed), model)]
            history = history.assign(decay=xr.concat(spectra, "when").assign_coords(when=["start", "end"]))
    return history.assign(
        lr=lr,
        width=config.width,
        parameters=sum(p.numel() for p in model.parameters()),
        compute=training_compute(config, world.vocab_size),
    )


def sweep(config: NetworkConfig, seed: int, run: Run) -> xr.Dataset:
    """The same at several learning rates, judged on the split ``select``; leaves the best rate for other arms."""
    world = make_world(config, seed)
    loss = []
    for lr in config.rates:
        _, _, history = _fit(config, world, lr, seed, run, split="select", evaluations=1, name=f"rate-{lr:g}")
        loss.append(float(history.loss.isel(step=-1)))
    best = config.rates[int(np.argmin(loss))]
    (run.artifact_dir / "rates.json").write_text(json.dumps({"lr": best}))
    return xr.Dataset({"loss": ("rate", loss), "lr": best}, coords={"rate": list(config.rates)})


def _fit(
    config: NetworkConfig,
    world: World,
    lr: float,
    seed: int,
    run: Run,
    *,
    split: str,
    evaluations: int,
    name: str = "fit",
) -> tuple[SequenceModel, EMA, xr.Dataset]:
    """A trained network, the average of its weights, and the scores of that average."""
    model, ema = make_model(config, world.vocab_size, seed).to(run.device), EMA(config.ema)
    history = fit(
        model,
        world,
        steps=config.steps,
        batch_size=config.batch_size,
        optim=Optim(
            lr=lr,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
            clip=1.0,
            warmup=min(config.warmup, config.steps),
            schedule="cosine",
            floor=0.1,
        ),
        seed=seed,
        evaluate_at=evaluations,
        measure=lambda model, world: _scores(model, world, split),
        ema=ema,
        run=run,
        name=name,
    )
    return model, ema, history.sel(weights="ema", drop=True)


def make_world(config: NetworkConfig, seed: int) -> World:
    """What a network is trained on; its chains and its test sequences are new for each seed."""
    if config.world == "topics":
        return TopicCorpus(
            n_content=config.n_content,
            n_names=config.n_names,
            fact_rate=config.fact_rate,
            length=config.length,
            n_eval=config.n_eval,
            seed=seed,
        )
    if config.world == "markov":
        return MarkovText(length=config.length, n_eval=config.n_eval, seed=seed)
    sizes: dict[str, Any] = {"n_keys": config.n_keys, "n_values": config.n_keys, "n_eval": config.n_eval, "seed": seed}
    if config.world == "recall":
        return AssociativeRecall(pairs=config.pairs, **sizes)
    return PromptOrder(pairs=config.pairs, orders=config.orders, **sizes)


def make_model(config: NetworkConfig, vocab: int, seed: int) -> SequenceModel:
    """A fresh network; one of another architecture gets the settings that it knows."""
    sizes = {"width": config.width, "depth": config.depth}
    if isinstance(config, AttentionConfig):
        heads: dict[str, Any] = {"heads": config.heads, "shift": config.shift}
        heads |= {"positions": "rotary", "context": max(4 * config.length, 4 * max(config.pairs))}
        model = build("gpt", vocab=vocab, seed=seed, embedding_std=config.embedding_std, **sizes, **heads)
        with torch.no_grad():
            for p in model.get_submodule("blocks").parameters():
                if p.ndim == 2:
                    p.mul_(config.matrix_std / 0.02)
        return model
    assert isinstance(config, RecurrentConfig)
    given = sizes | {name: getattr(config, name) for name in ("embedding_init", "matrices", "decay_init")}
    return build(config.model, vocab=vocab, seed=seed, **_known(config.model, given))


def _known(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a model knows: one of another architecture has others."""
    return {name: value for name, value in given.items() if name in settings_of(model)}


def training_compute(config: NetworkConfig, vocab: int) -> float:
    """Floating-point operations of a training of RWKV-4: 6 (V D + 13 D^2 L) per token (Table 2 counts 2 forward)."""
    tokens = config.steps * config.batch_size * config.length
    return 6.0 * (vocab * config.width + 13 * config.width**2 * config.depth) * tokens


# ------------------------------------------------------------------------------------------------ what is measured


def _scores(model: SequenceModel, world: World, split: str) -> xr.Dataset:
    """`loss` in nats per token or answer, and what a world tells apart: kinds of token, or numbers of pairs and orders."""
    if isinstance(world, TopicCorpus):
        return topic_scores(world.evaluate(model, split))
    if isinstance(world, MarkovText):
        return xr.Dataset({"loss": world.evaluate(model, split).nll.mean()})
    if isinstance(world, AssociativeRecall):
        parts = xr.concat([_answers(model, world.at(n), split) for n in world.pairs], "pairs")
        return parts.assign(loss=parts.nll.mean()).assign_coords(pairs=list(world.pairs))
    orders = []
    for order in world.orders:
        parts = [_answers(model, world.at(n, order), split) for n in world.pairs]
        orders.append(xr.concat(parts, "pairs").assign_coords(pairs=list(world.pairs)))
    found = xr.concat(orders, "order").assign_coords(order=list(world.orders))
    return found.assign(loss=found.nll.mean())


def _answers(model: SequenceModel, world: AssociativeRecall | PromptOrder, split: str) -> xr.Dataset:
    """Share of right answers, and nats per answer."""
    found = world.evaluate(model, split)
    answers = (world.dataset(split).targets >= 0).sum(-1).numpy()
    return xr.Dataset({"accuracy": found.token_accuracy.mean(), "nll": (found.nll / answers).mean()})


def topic_scores(found: xr.Dataset) -> xr.Dataset:
    """Nats per token from the scores of single tokens (`TopicCorpus.evaluate`).

    `loss` of all tokens and its `excess` over the Bayes loss; `content`, the excess of content tokens, and `repeated`,
    the loss of values that can be recalled, in the second half of the sequence.
    """
    excess = found.nll - found.floor
    late = found.position >= found.sizes["position"] // 2
    return xr.Dataset(
        {
            "loss": found.nll.mean(),
            "excess": excess.mean(),
            "content": excess.where(late & (found.kind == CONTENT)).mean(),
            "repeated": found.nll.where(late & (found.kind == REPEATED)).mean(),
        }
    )


def by_position(found: xr.Dataset, window: int) -> xr.Dataset:
    """Excess of content tokens and loss of repeated values (nats), means over windows of positions, by their middle."""
    excess = (found.nll - found.floor).where(found.kind == CONTENT)
    both = xr.Dataset({"content_at": excess, "repeated_at": found.nll.where(found.kind == REPEATED)})
    sums = both.sum("item").coarsen(position=window).sum()
    counts = both.notnull().sum("item").coarsen(position=window).sum()
    middle = window * (np.arange(sums.sizes["position"]) + 0.5)
    return (sums / counts).assign_coords(position=middle)


# ------------------------------------------------------------------------------------------------ two forms


def forms(config: FormsConfig, seed: int, run: Run) -> xr.Dataset:
    """The largest difference of logits between the parallel form and token by token, and with a state in part reset."""
    given = {"width": config.width, "depth": config.depth, "context": config.length}
    model = build(config.model, vocab=config.vocab, seed=seed, **_known(config.model, given)).double()
    generator = torch_rng("rwkv-forms", seed)
    with torch.no_grad():  # the official start has zero matrices: nothing would move between positions
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    tokens = torch.randint(config.vocab, (config.batch_size, config.length), generator=generator)
    with evaluating(model):
        parallel = model(tokens)
        kinds: dict[str, Callable[[Any], Any]] = {
            "kept": lambda state: state,
            "token shift reset": lambda state: _reset(state, ("last", "ffn")),
            "sums reset": lambda state: _reset(state, ("sums",)),
        }
        found = [float((_recurrent(model, tokens, between) - parallel).abs().max()) for between in kinds.values()]
    return xr.Dataset({"difference": ("state", found), "tokens": config.length}, coords={"state": list(kinds)})


def _recurrent(model: SequenceModel, tokens: Tensor, between: Callable[[Any], Any]) -> Tensor:
    """Logits token by token, with something done to the state in between."""
    state, out = model.init_state(len(tokens)), []
    for token in tokens.unbind(1):
        logits, state = model.step(token, between(state))
        out.append(logits)
    return torch.stack(out, dim=1)


def _reset(state: Any, names: Sequence[str]) -> Any:
    """A nested state of named tuples whose parts of those names are as at the start."""
    if not isinstance(state, tuple):
        return state
    fields = getattr(state, "_fields", None)
    if fields is None:
        return tuple(_reset(part, names) for part in state)
    parts = zip(fields, state, strict=True)
    return type(state)(*(_started(part) if name in names else _reset(part, names) for name, part in parts))


def _started(part: Any) -> Any:
    return WKVState.start(len(part.a), part.a[0]) if isinstance(part, WKVState) else torch.zeros_like(part)


# ------------------------------------------------------------------------------------------------ what it costs


def decoding(config: DecodingConfig, seed: int, run: Run) -> xr.Dataset:
    """CPU time of the next token, and bytes of the state, after prompts of several lengths."""
    name = config.model if isinstance(config, RecurrentDecodingConfig) else "gpt"
    context = max(config.positions) + config.num_tokens
    given = {"width": config.width, "depth": config.depth, "positions": "rotary", "context": context}
    model = build(name, vocab=config.vocab, seed=seed, **_known(name, given))
    return decoding_cost(
        model,
        config.positions,
        batch_size=config.batch_size,
        num_tokens=config.num_tokens,
        rounds=config.rounds,
        seed=seed,
    )


def operators(config: OperatorConfig, seed: int, run: Run) -> xr.Dataset:
    """CPU seconds of one pass forward and backward through what mixes the tokens, over the length T."""
    actions: dict[tuple[str, int], Callable[[], object]] = {}
    for length in config.lengths:
        for name, action in _passes(config, length, torch_rng("rwkv-operators", seed, length)).items():
            actions[name, length] = action
    spent = interleaved_seconds(actions, rounds=config.rounds)
    names = list(dict.fromkeys(name for name, _ in actions))
    seconds = [[spent[name, length] for length in config.lengths] for name in names]
    return xr.Dataset(
        {"seconds": (("operator", "length"), seconds)}, coords={"operator": names, "length": list(config.lengths)}
    )


def _passes(config: OperatorConfig, length: int, generator: torch.Generator) -> dict[str, Callable[[], object]]:
    """Forward and backward through each operator, on inputs of its own."""
    channels, heads = config.channels, config.heads
    k, v = (torch.randn(config.batch_size, length, channels, generator=generator) for _ in range(2))
    decay, bonus = torch.linspace(-5, 3, channels), torch.randn(channels, generator=generator)
    q = torch.randn(k.shape, generator=generator)
    parts = [x.unflatten(-1, (heads, -1)) for x in (q, k.clone(), v.clone())]
    for x in (decay, bonus, k, v, *parts):
        x.requires_grad_()
    return {
        "wkv": lambda: torch.autograd.grad(wkv(decay, bonus, k, v)[0].sum(), (decay, bonus, k, v)),
        "attention": lambda: torch.autograd.grad(reference_attention(*parts).sum(), parts),
        "fused attention": lambda: torch.autograd.grad(attention(*parts).sum(), parts),
    }
