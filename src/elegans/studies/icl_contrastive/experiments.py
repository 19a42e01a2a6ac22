"""What is computed: dual models beside attention, without training; and attention layers trained on regression.

The comparisons use float64 and the CPU. Their layers, prompts and features are functions of the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from elegans.lab.run import Run
from elegans.models.icl_dual import ContrastiveAttention
from elegans.ops.feature_maps import (
    MapName,
    exact_gram,
    feature_map,
    gaussian_directions,
    orthogonal_directions,
)
from elegans.ops.rng import torch_rng
from elegans.probes.dual import dual_error, dual_path, kernel_matrices, relative_error
from elegans.studies.icl_contrastive.arms import DualConfig, FeaturesConfig, IdentityConfig, RegressionConfig
from elegans.tasks.base import Batch, evaluating
from elegans.tasks.regression import InContextRegression
from elegans.training.ensemble import Ensemble, TaskStack
from elegans.training.loop import fit, joined
from elegans.training.optim import Optim

ETAS = (1e-3, 1.0, 1e3)


def _layer(config: DualConfig, seed: int, **modification) -> ContrastiveAttention:
    settings = {"num_query_side": config.query_side, **modification}
    return ContrastiveAttention(width=config.width, seed=seed, **settings).double()


def _prompts(config: DualConfig, norm: float, seed: int) -> Float[Tensor, "P L D"]:
    shape = (config.prompts, config.demonstrations + config.query_side, config.width)
    return norm * torch.randn(*shape, generator=torch_rng("dual-prompts", seed), dtype=torch.float64)


def _over_seeds(seeds: Sequence[int], one: Callable[[int], xr.Dataset], run: Run) -> xr.Dataset:
    parts = []
    for count, seed in enumerate(seeds, 1):
        parts.append(one(seed))
        run.progress(count, len(seeds))
    return joined(parts, "seed").assign_coords(seed=list(seeds))


# ------------------------------------------------------------------------------------------------ the identity


def identity(config: IdentityConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """One gradient step with exact features, its ablations and modifications, and several steps."""

    def one(seed: int) -> xr.Dataset:
        layer = _layer(config, seed)
        by_norm = [_ablations(layer, _prompts(config, norm, seed)) for norm in config.norms]
        prompts = _prompts(config, config.norms[0], seed)
        found = xr.concat(by_norm, "norm").assign_coords(norm=list(config.norms)).to_dataset(name="error")
        return found.assign(
            {
                "eta_error": _etas(layer, prompts),
                "modified_error": _modifications(config, seed, prompts),
                "alpha_effect": _alpha_effect(config, seed, prompts),
                "kernel": _kernels(config, layer, prompts[0], seed),
                **_paths(config, seed, prompts),
            }
        )

    return _over_seeds(seeds, one, run)


def _ablations(layer: ContrastiveAttention, prompts: Float[Tensor, "P L D"]) -> xr.DataArray:
    """Relative errors of one step over ``condition`` and ``prompt``."""
    rows = {
        "exact": dual_error(layer, prompts, exact_gram),
        "start at zero": dual_error(layer, prompts, exact_gram, query_start=False),
        "no normalizer": dual_error(layer, prompts, exact_gram, normalize=False),
        "elu + 1 map": dual_error(layer, prompts, feature_map("elu")),
        "identity map": dual_error(layer, prompts, feature_map("identity")),
    }
    return xr.concat(list(rows.values()), "condition").assign_coords(condition=list(rows))


def _etas(layer: ContrastiveAttention, prompts: Float[Tensor, "P L D"]) -> xr.DataArray:
    """Errors over the learning rate; ``matched``: the loss knows it, ``unmatched``: the loss keeps eta = 1."""
    matched = [dual_error(layer, prompts, exact_gram, eta=eta) for eta in ETAS]
    unmatched = [dual_error(layer, prompts, exact_gram, lr=eta) for eta in ETAS]
    both = xr.concat([xr.concat(rows, "eta") for rows in (matched, unmatched)], "loss")
    return both.assign_coords(eta=list(ETAS), loss=["matched", "unmatched"])


def _modifications(config: IdentityConfig, seed: int, prompts: Float[Tensor, "P L D"]) -> xr.DataArray:
    """Errors of each modified layer's own dual step, and of the plain layer's, against the modified attention."""
    plain = _layer(config, seed)
    negatives = {"beta": config.beta, "num_negatives": config.num_negatives}
    modified = {
        "regularized": _layer(config, seed, alpha=config.alpha),
        "augmented": _layer(config, seed, augment_keys="mlp", augment_values="mlp"),
        "negatives": _layer(config, seed, negatives="least-similar", **negatives),
    }
    rows = []
    for layer in modified.values():
        pair = [dual_error(dual, prompts, exact_gram, explains=layer) for dual in (layer, plain)]
        rows.append(xr.concat(pair, "dual").assign_coords(dual=["own", "plain"]))
    return xr.concat(rows, "modification").assign_coords(modification=list(modified))


def _alpha_effect(config: IdentityConfig, seed: int, prompts: Float[Tensor, "P L D"]) -> xr.DataArray:
    """How much alpha changes the attention output, with and without query-side tokens."""
    effects = []
    for count in (config.query_side, 0):
        layers = [_layer(config, seed, alpha=a, num_query_side=count) for a in (config.alpha, 0.0)]
        changed, plain = (layer(prompts).detach() for layer in layers)
        effects.append(xr.DataArray(relative_error(changed, plain).numpy(), dims="prompt"))
    return xr.concat(effects, "query_side").assign_coords(query_side=["some", "none"])


def _paths(config: IdentityConfig, seed: int, prompts: Float[Tensor, "P L D"]) -> dict[str, xr.DataArray]:
    """Several gradient steps: on the plain loss, also with a tenth of the rate, and on the regularized one."""
    plain, tenth = (dual_path(_layer(config, seed), prompts, exact_gram, 20, lr=lr) for lr in (1.0, 0.1))
    regularized, divergent = (
        dual_path(_layer(config, seed, alpha=alpha), prompts, exact_gram, config.steps)
        for alpha in (config.alpha, config.alpha_divergent)
    )
    losses = ["plain", "regularized"]
    off_line = xr.concat([plain.off_line, regularized.off_line], "loss", join="inner").assign_coords(loss=losses)
    to_attention = xr.concat([plain.to_attention, tenth.to_attention], "rate").assign_coords(rate=["eta", "eta / 10"])
    to_fixed_point = xr.concat([regularized.to_fixed_point, divergent.to_fixed_point], "alpha")
    return {
        "off_line": off_line.isel(gd_step=slice(0, 6)).rename(gd_step="few_steps"),
        "to_attention": to_attention.rename(gd_step="rate_step"),
        "to_fixed_point": to_fixed_point.assign_coords(alpha=[config.alpha, config.alpha_divergent]),
    }


def _kernels(
    config: IdentityConfig, layer: ContrastiveAttention, prompt: Float[Tensor, "L D"], seed: int
) -> xr.DataArray:
    """The normalized kernel between the keys of one prompt, by map."""
    directions = gaussian_directions(config.heat_map_features, config.width, torch_rng("heat-map", seed))
    points = layer.views(prompt).keys.detach() * config.width**-0.25
    maps = {
        "exact": exact_gram,
        f"positive, R = {config.heat_map_features}": feature_map("positive", directions),
        f"trigonometric, R = {config.heat_map_features}": feature_map("trigonometric", directions),
        "elu + 1": feature_map("elu"),
    }
    return kernel_matrices(points, maps)


# ------------------------------------------------------------------------------------------------ random features


def features(config: FeaturesConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Median error of one gradient step over prompts, by map, kind of directions, norm and number of features."""

    def one(seed: int) -> xr.Dataset:
        layer = _layer(config, seed)
        independent = [_feature_errors(config, layer, norm, "independent", seed) for norm in config.norms]
        kinds = ("independent", "repeated", "orthogonal", "orthogonal, plain QR")
        variants = [_feature_errors(config, layer, config.variant_norm, kind, seed) for kind in kinds]
        return xr.Dataset(
            {
                "error": xr.concat(independent, "norm").assign_coords(norm=list(config.norms)),
                "variant_error": xr.concat(variants, "directions").assign_coords(directions=list(kinds)),
            }
        )

    return _over_seeds(seeds, one, run)


def _feature_errors(
    config: FeaturesConfig, layer: ContrastiveAttention, norm: float, kind: str, seed: int
) -> xr.DataArray:
    """Median errors over ``map`` and ``features``; every prompt has directions of its own."""
    prompts = _prompts(config, norm, seed)
    maps: tuple[MapName, ...] = ("positive", "trigonometric")
    medians = np.empty((len(maps), len(config.features)))
    for i, name in enumerate(maps):
        for j, num in enumerate(config.features):
            draws = _directions(config, kind, num, seed)
            errors = [dual_error(layer, x[None], feature_map(name, w)) for x, w in zip(prompts, draws, strict=False)]
            medians[i, j] = np.median(errors)
    return xr.DataArray(
        medians, dims=("map", "features"), coords={"map": list(maps), "features": list(config.features)}
    )


def _directions(config: FeaturesConfig, kind: str, num: int, seed: int) -> Iterator[Float[Tensor, "R d"]]:
    """Directions for one prompt after the other; ``repeated`` uses the smallest number's directions again and again."""
    base = config.features[0] if kind == "repeated" else num
    for prompt in range(config.prompts):
        generator = torch_rng("directions", kind, base, seed, prompt)
        if kind.startswith("orthogonal"):
            yield orthogonal_directions(num, config.width, generator, fix_signs=kind == "orthogonal")
        else:
            drawn = gaussian_directions(base, config.width, generator)
            yield drawn.repeat(-(-num // base), 1)[:num]


# ------------------------------------------------------------------------------------------------ regression


class RestartStack(TaskStack):
    """Several starts of each seed: they see the same prompts, which are drawn once."""

    def __init__(self, tasks: Sequence[InContextRegression], seeds: Sequence[int], restarts: int) -> None:
        self._once, self._restarts = TaskStack(tasks, seeds), restarts
        super().__init__([t for t in tasks for _ in range(restarts)], [s for s in seeds for _ in range(restarts)])

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """The batches number `step` of all members."""
        drawn = self._once.batch(split, size, step=step)
        tokens, targets = (x.repeat_interleave(self._restarts, dim=0) for x in (drawn.tokens, drawn.targets))
        return Batch(tokens, targets)


def squared_error(model: nn.Module, batch: Batch) -> Float[Tensor, "*members"]:
    """Mean squared error of the prediction, which is the last coordinate of h'."""
    return (model(batch.tokens)[..., -1] - batch.targets).square().mean(-1)


def normalized_error(model: nn.Module, task: InContextRegression) -> xr.Dataset:
    """`error` by ``split`` (val, test): squared error over that of the best constant."""
    device = next(model.parameters()).device
    errors = []
    with evaluating(model):
        for split in ("val", "test"):
            sample = task.dataset(split).to(device)
            errors.append(float(squared_error(model, sample) / sample.targets.var(correction=0)))
    return xr.Dataset({"error": ("split", errors)}, coords={"split": ["val", "test"]})


def regression(config: RegressionConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Training one layer from several starts per seed; `error` is that of the start with the lowest validation error.

    `starts` holds the final test error of every start, `one_step_gd` the closed form of the best gradient step.
    """
    tasks = [
        InContextRegression(
            function=config.function,
            width=config.width,
            demonstrations=config.demonstrations,
            weight_std=config.weight_std,
            seed=seed,
        )
        for seed in seeds
    ]
    models = [_trained_layer(config, seed, start) for seed in seeds for start in range(config.restarts)]
    history = fit(
        Ensemble(models),
        RestartStack(tasks, seeds, config.restarts),
        steps=config.steps,
        batch_size=config.batch_size,
        optim=Optim(lr=config.lr, schedule="linear"),
        evaluate_at=config.evaluations,
        measure=normalized_error,
        objective=squared_error,
        run=run,
    )
    shape = (len(history.step), len(seeds), config.restarts, 2)
    errors = xr.DataArray(
        history.error.transpose("step", "seed", "split").values.reshape(shape),
        dims=("step", "seed", "start", "split"),
        coords={"step": history.step.values, "seed": list(seeds), "split": history.split.values},
    )
    final = errors.isel(step=-1, drop=True)
    best = errors.isel(start=final.sel(split="val", drop=True).argmin("start"))
    found = xr.Dataset({"error": best.sel(split="test", drop=True), "starts": final.sel(split="test", drop=True)})
    return found.assign(one_step_gd=tasks[0].one_step_error()) if config.function == "linear" else found


def _trained_layer(config: RegressionConfig, seed: int, start: int) -> ContrastiveAttention:
    return ContrastiveAttention(
        width=config.width + 1,
        num_query_side=config.query_side,
        alpha=config.alpha,
        beta=config.beta,
        negatives=config.negatives,
        num_negatives=config.num_negatives,
        augment_keys=config.augment_keys,
        augment_values=config.augment_values,
        hidden=config.hidden,
        seed=seed * config.restarts + start,
    )
