"""How the arms are trained and what is measured.

Names used throughout: `kind` is ID or OOD (both hops), `layer` l is the input of block l and the last one the output of
the last block, `position` the token h, r1, r2 or b of a two-hop item, `output` the token b or t that is asked for.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from elegans.lab.run import Run
from elegans.models.base import SequenceModel
from elegans.models.registry import build, settings_of
from elegans.ops.rng import numpy_rng, torch_rng
from elegans.probes.decode import greedy
from elegans.probes.interchange import interchange_residual
from elegans.probes.lens import logit_lens
from elegans.probes.metrics import Metric
from elegans.studies.two_hop_cot.arms import FactsConfig
from elegans.tasks.base import IGNORE, Batch, evaluating, score, token_nll
from elegans.tasks.two_hop import Position, TwoHopFacts
from elegans.training.loop import Measure, fit
from elegans.training.optim import EMA, Optim

WATCHED = (
    "id_atomic",
    "ood_atomic",
    "train_two_hop",
    "train_two_hop_clean",
    "test_id",
    "test_ood",
    "mixed_first",
    "mixed_second",
)
KINDS = {"ID": "test_id", "OOD": "test_ood"}
DONORS = {"own": 0, "another's": 1}
"""Whose counterfactual gives its state: so many items away."""
BASE = 2**20
"""More than there are tokens."""
AT_ONCE = 20_000
"""At most so many items of a split are measured at the end."""


def two_hop(config: FactsConfig, seed: int, run: Run) -> xr.Dataset:
    """Train on the facts; then take the averaged weights apart, beside those of an untrained model.

    ===================== ================================= ====================================================
    variable              dimensions                        is
    ===================== ================================= ====================================================
    `accuracy`            step, weights, split              exact match by greedy decoding, of a sample
    `lens`                step, weights, kind, token, ...   mean reciprocal rank of a token (layer, position)
    `final_accuracy`      split                             exact match, of all items, averaged weights
    `bridge_accuracy`,    split                             of b, and
    `tail_accuracy`                                         of t given the true b
    `tail_alone`          split                             accuracy of t after the model's own b, right or not
    `nll_bridge`,         split                             nats, of b and of t given the true b: the two terms of the
    `nll_tail`                                              paper's bound for training with a chain
    `three_hops`          kind, by                          solved by a caller who composes two calls, or by itself
    `flips`, `becomes`    state, donor, kind, layer, ...    see `circuit`
    `chance`              split                             accuracy of always naming the most frequent tail
    ===================== ================================= ====================================================
    """
    task = _task(config, seed)
    model = _model(config, task, seed)
    ema = EMA(config.ema)
    history = fit(
        model,
        task,
        steps=config.steps,
        batch_size=config.batch_size,
        optim=Optim(lr=config.lr, warmup=config.warmup, weight_decay=config.weight_decay, clip=config.clip),
        seed=seed,
        evaluate_at=config.evaluations,
        measure=_watcher(config, task, seed),
        ema=ema,
        run=run,
    )
    ema.swap(model)
    states = {"trained": model, "untrained": _model(config, task, seed).to(run.device)}
    found = [circuit(each, task, config.circuit_items, seed) for each in states.values()]
    return xr.merge(
        [
            history,
            hops(model, task).rename(accuracy="final_accuracy"),
            three_hops(model, task),
            xr.concat(found, xr.DataArray(list(states), dims="state", name="state")),
        ],
        join="outer",
    ).assign(exposure=history.step * config.batch_size / len(task.dataset("train")))


def _task(config: FactsConfig, seed: int) -> TwoHopFacts:
    return TwoHopFacts(
        n_entities=config.n_entities,
        n_relations=config.n_relations,
        out_degree=config.out_degree,
        ood_share=config.ood_share,
        lam=config.lam,
        test_share=config.test_share,
        cot=config.cot,
        order=config.order,
        noise_first=config.noise_first,
        noise_second=config.noise_second,
        noise_both=config.noise_both,
        released_noise=config.released_noise,
        without_ood_atomics=config.without_ood_atomics,
        seed=seed,
    )


def _model(config: FactsConfig, task: TwoHopFacts, seed: int) -> SequenceModel:
    """The arm's model; one of another architecture gets the settings that it knows."""
    given = {name: getattr(config, name) for name in ("width", "depth", "heads", "dropout")} | {"context": 8}
    known = settings_of(config.model)
    settings = {name: value for name, value in given.items() if name in known}
    return build(config.model, vocab=task.vocab_size, seed=seed, **settings)


def sample(batch: Batch, count: int, seed: int, name: str) -> Batch:
    """`count` random items, or all of them where there are no more."""
    order = numpy_rng("two-hop-cot", seed, "sample", name).permutation(len(batch))[:count]
    return batch.take(torch.from_numpy(order))


# ------------------------------------------------------------------------------------------------ answers


def hops(model: nn.Module, task: TwoHopFacts) -> xr.Dataset:
    """Exact match, its two parts, and the surprise at each of them, on every split of up to two hops."""
    device = next(model.parameters()).device
    rows = []
    for split in WATCHED:
        batch = sample(task.dataset(split), AT_ONCE, 0, split).to(device)
        row = {name: float(value.mean()) for name, value in _parts(model, batch).items()}
        bridge_first = task.cot and task.order == "after" and "atomic" not in split
        row["tail_alone"] = _tail_alone(model, batch) if bridge_first else row["tail_accuracy"]
        rows.append(row | {"chance": task.chance(split)["accuracy"]})
    names = ("accuracy", "bridge_accuracy", "tail_accuracy", "tail_alone", "nll_bridge", "nll_tail", "chance")
    values = {name: ("split", [row.get(name, float("nan")) for row in rows]) for name in names}
    return xr.Dataset(values, coords={"split": list(WATCHED)})


def _parts(model: nn.Module, batch: Batch) -> dict[str, Float[Tensor, " N"]]:
    """Per item: `accuracy`, and for bridge and tail whether it is said and the surprise at it, given what is true."""
    with evaluating(model):
        logits = model(batch.tokens)
    scored = batch.targets != IGNORE
    right, nll = logits.argmax(-1) == batch.targets, token_nll(logits, batch.targets)
    places = {"tail": scored.shape[1] - 1 - scored.flip(1).int().argmax(1)}
    if bool((scored.sum(1) > 1).all()):
        places["bridge"] = scored.int().argmax(1)
    rows = torch.arange(len(batch), device=right.device)
    parts = {"accuracy": (right | ~scored).all(1).float()}
    for name, place in places.items():
        parts |= {f"{name}_accuracy": right[rows, place].float(), f"nll_{name}": nll[rows, place]}
    return parts


def _tail_alone(model: nn.Module, batch: Batch) -> float:
    """How often the second of two freely decoded tokens is the tail."""
    said = greedy(model, batch.tokens[:, :-1], 2)
    return float((said[:, 1] == batch.targets[:, -1]).float().mean())


def three_hops(model: nn.Module, task: TwoHopFacts) -> xr.Dataset:
    """Walks of three hops: composed of two calls by a caller, who needs the bridge to be named, or asked at once."""
    device = next(model.parameters()).device

    def solved(batch: Batch) -> Float[Tensor, " N"]:
        return score(model, batch.to(device))["accuracy"]

    rows = []
    for split in ("three_hop_id", "three_hop_ood"):
        both = [solved(call) for call in task.two_calls(split)] if task.cot else []
        composed = float((both[0] * both[1]).mean()) if both else float("nan")
        rows.append([composed, float(solved(task.dataset(split)).mean())])
    return xr.Dataset({"three_hops": (("kind", "by"), rows)}, coords={"kind": list(KINDS), "by": ["caller", "itself"]})


# ------------------------------------------------------------------------------------------------ on the way


def _watcher(config: FactsConfig, task: TwoHopFacts, seed: int) -> Measure:
    """Exact match and the lens on fixed samples."""
    samples = {split: sample(task.dataset(split), config.evaluation_items, seed, split) for split in WATCHED}

    def look(model: nn.Module, task: TwoHopFacts) -> xr.Dataset:
        device = next(model.parameters()).device
        found = {split: score(model, batch.to(device))["accuracy"] for split, batch in samples.items()}
        accuracy = xr.DataArray([float(v.mean()) for v in found.values()], {"split": list(WATCHED)}, name="accuracy")
        lenses = [lens(model, task, samples[split], seed) for split in KINDS.values()]
        return xr.merge([accuracy, xr.concat(lenses, xr.DataArray(list(KINDS), dims="kind", name="kind"))])

    return look


def lens(model: nn.Module, task: TwoHopFacts, items: Batch, seed: int) -> xr.DataArray:
    """Mean reciprocal rank of the true bridge and of a random entity, dimensions (token, layer, position)."""
    h, r1 = (items.tokens[:, task.positions[name]] for name in ("h", "r1"))
    anyone = torch.randint(task.n_entities, (len(items),), generator=torch_rng("two-hop-cot", seed, "lens"))
    bridge = task.table[h, r1 - task.n_entities]
    found = logit_lens(model, items.tokens, {"bridge": bridge, "random entity": anyone}, positions=task.positions)
    return found.reciprocal_rank.mean("item").drop_vars("site").rename("lens")


# ------------------------------------------------------------------------------------------------ the circuit


def circuit(model: nn.Module, task: TwoHopFacts, n_items: int, seed: int) -> xr.Dataset:
    """What each token's state does to each answer: interchange interventions on the residual stream.

    The state at one layer and position is replaced by that of a run on a counterfactual, in which this token is another
    one that changes what follows from it. `flips` is how often the answer changes, `becomes` how often it becomes what
    the facts say of the counterfactual. The `donor` is the item's own counterfactual, or as a control that of another
    item. Dimensions (kind, donor, position, layer, output).
    """
    items = [sample(task.dataset(split), n_items, seed, split) for split in KINDS.values()]
    cells = [_exchange(model, task, items, name, seed) for name in task.positions]
    names = xr.DataArray(list(task.positions), dims="position", name="position")
    return xr.concat(cells, names).assign_coords(kind=list(KINDS), donor=list(DONORS), output=list(task.outputs))


def _exchange(model: nn.Module, task: TwoHopFacts, kinds: list[Batch], position: str, seed: int) -> xr.Dataset:
    """`flips` and `becomes` of one position, for all kinds and donors in one sweep; dimensions (kind, ..., output)."""
    pairs = [task.counterfactual(items, cast(Position, position), seed=seed) for items in kinds]
    shifts = list(DONORS.values())
    base = torch.cat([p.clean.tokens for p in pairs for _ in shifts])
    source = torch.cat([p.changed.tokens.roll(shift, 0) for p in pairs for shift in shifts])
    places = list(task.outputs.values())
    codes = interchange_residual(
        model, base, source, _said(places), positions={position: task.positions[position]}
    ).transpose("position", "layer", "item")[0]
    said, before = _decoded(codes.values, len(places)), _decoded(codes.base.values, len(places))
    truth = torch.cat([p.changed.targets[:, places] for p in pairs for _ in shifts]).numpy()
    sizes = [len(p.clean) for p in pairs for _ in shifts]

    def means(hits: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        parts = np.split(hits, np.cumsum(sizes)[:-1], axis=1)
        table = np.stack([part.mean(axis=1) for part in parts]).reshape(len(pairs), len(shifts), *hits.shape[::2])
        return ("kind", "donor", "layer", "output"), table

    return xr.Dataset(
        {"flips": means(said != before), "becomes": means(said == truth)}, coords={"layer": codes.layer.values}
    )


def _said(places: list[int]) -> Metric:
    """The tokens with the largest logit at some places, as one number."""

    def codes(logits: Float[Tensor, "B T V"]) -> Float[Tensor, " B"]:
        tokens = logits[:, places].argmax(-1).double()
        return tokens @ BASE ** torch.arange(len(places), dtype=tokens.dtype, device=tokens.device)

    return codes


def _decoded(codes: np.ndarray, count: int) -> np.ndarray:
    """The tokens in such numbers, along a new last axis."""
    return codes.astype(np.int64)[..., None] // BASE ** np.arange(count) % BASE
