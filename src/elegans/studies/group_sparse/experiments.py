"""How the arms are trained and what is measured.

`transfer`, `scratch` and `linear` return the accuracy on second tasks over the number of items seen: dimensions
``second`` (same group with a margin, same group without, another group with a margin) and ``n``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from elegans.lab.run import Run
from elegans.models.theory import GroupClassifier
from elegans.probes.dynamics import attention_mass, block_norm_shares, cosine, loglog_slope
from elegans.studies.group_sparse.arms import GroupConfig, LearnConfig, LinearConfig, TransferConfig
from elegans.tasks.group_sparse import GroupSparse, Labelled
from elegans.training.ensemble import Ensemble, TaskStack
from elegans.training.loop import fit, log_steps
from elegans.training.optim import Optim

Seconds = dict[str, Callable[[GroupConfig, float, int], GroupSparse]]
SECOND_TASKS: Seconds = {
    "margin": lambda config, margin, seed: _task(config, seed, config.second_test_size, margin=margin),
    "no margin": lambda config, margin, seed: _task(config, seed, config.second_test_size),
    "other group": lambda config, margin, seed: _task(
        config, seed, config.second_test_size, relevant=(config.groups - 1,), margin=margin
    ),
}
"""The tasks after the first: a new direction in the same group, with and without a margin, or in another group."""


def objective(model: nn.Module, batch: Labelled) -> Tensor:
    """The mean logistic loss: [] or one per member."""
    return F.softplus(-batch.y * model(batch.x)).mean(-1)


# ------------------------------------------------------------------------------------------------ the first task


def learn(config: LearnConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Gradient descent on the label of the relevant groups."""
    return _learned(config, seeds, run)[1]


def _learned(config: LearnConfig, seeds: Sequence[int], run: Run) -> tuple[Ensemble, xr.Dataset]:
    def make(seed: int) -> GroupClassifier:
        return GroupClassifier(features=config.features, groups=config.groups, positions=config.positions, seed=seed)

    relevant = tuple(range(config.relevant))
    stack = Ensemble([make(seed) for seed in seeds])
    how: dict[str, Any] = {"relevant": relevant, "margin": config.first_margin, "antithetic": True}
    tasks: Any = TaskStack([_task(config, seed, config.test_size, **how) for seed in seeds], seeds)  # pyright: ignore
    history = fit(
        stack,
        tasks,
        steps=config.steps,
        batch_size=config.batch_size,
        optim=Optim(kind="sgd", lr=config.lr, lr_scale={"W": 0.0 if config.attention == "frozen" else 1.0}),
        evaluate_at=log_steps(config.steps, config.evaluations),
        measure=_mechanism,
        objective=objective,  # pyright: ignore[reportArgumentType] (groups, not token batches)
        run=run,
        name="first",
    )
    window = (config.steps / 3, config.steps)
    slopes = {
        f"slope_{name}": (
            "seed",
            [loglog_slope(history.step, history[name].isel(seed=i), window) for i in range(len(seeds))],
        )
        for name in ("norm_v", "loss")
    }
    return stack, history.assign(slopes)


def _task(config: GroupConfig, seed: int, test_size: int, **how: Any) -> GroupSparse:
    sizes = {"features": config.features, "groups": config.groups, "sigma": config.sigma, "test_size": test_size}
    return GroupSparse(**sizes, **how, seed=seed)


def _mechanism(model: GroupClassifier, task: GroupSparse) -> xr.Dataset:
    """Loss and accuracy, where attention goes, and where the norms of v and W lie."""
    items = task.dataset("test").to(model.v.device)
    relevant = torch.isin(torch.arange(task.groups), torch.tensor(task.relevant)).to(model.v.device)
    with torch.no_grad():
        loss, right = objective(model, items), _right(model, items)
        weights = model.attention(items.x[:500])
        mass = attention_mass(weights, relevant)
        features, rest = model.v[: task.features], model.v[task.features :]
        found: dict[str, Any] = {
            "loss": float(loss),
            "accuracy": right,
            "even_attention_accuracy": task.even_attention_accuracy(),
            "attention": (("query", "group"), weights.mean(0).cpu().numpy()),
            "relevant_mass": float(mass.mean()),
            "relevant_mass_least": float(mass.mean(0).min()),
            "cosine": float(cosine(features, task.direction.to(features.device))),
            "position_share": float(rest.norm() / model.v.norm()) if model.v.any() else 0.0,
            "norm_v": float(model.v.norm()),
            "norm_W": float(model.W.norm()),
        }
        if model.joined:
            shares = block_norm_shares(model.W, (task.features, task.groups)).cpu().numpy()
            found["block_share"] = (("key", "asker"), shares)
    parts = ["features", "positions"]
    return xr.Dataset(
        found, coords={"query": np.arange(task.groups), "group": np.arange(task.groups), "key": parts, "asker": parts}
    )


def _right(model: nn.Module, items: Labelled) -> float:
    with torch.no_grad():
        return float((torch.where(model(items.x) >= 0, 1.0, -1.0) == items.y).double().mean())


# ------------------------------------------------------------------------------------------------ the second tasks


def transfer(config: TransferConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Learn, keep the attention, forget the read-out, and learn second tasks item by item."""
    stack, history = _learned(config, seeds, run)
    return history.merge(_second(config, list(stack.members()), seeds, run))


def scratch(config: TransferConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """The same second tasks for a transformer that learned nothing before."""
    models = [GroupClassifier(features=config.features, groups=config.groups, seed=seed) for seed in seeds]
    return _second(config, models, seeds, run)


def _second(config: TransferConfig, models: Sequence[nn.Module], seeds: Sequence[int], run: Run) -> xr.Dataset:
    parts = []
    for number, make in enumerate(SECOND_TASKS.values()):
        addresses = [_address(seed, repeat) for seed in seeds for repeat in range(config.repeats)]
        stack = Ensemble([model for model in models for _ in range(config.repeats)])
        with torch.no_grad():
            stack.get_parameter("v").zero_()
            for parameter in stack.parameters():
                parameter.requires_grad_()
        tasks: Any = TaskStack([make(config, config.margin, address) for address in addresses], addresses)  # pyright: ignore
        found = fit(
            stack,
            tasks,
            steps=max(config.items),
            batch_size=1,
            optim=Optim(kind="sgd", lr=config.transfer_lr),
            evaluate_at=sorted(config.items),
            measure=lambda model, task: xr.Dataset({"transfer": _right(model, task.dataset("test").to(run.device))}),
            objective=objective,  # pyright: ignore[reportArgumentType] (groups, not token batches)
            run=run,
            name=f"second-{number}",
        )
        parts.append(_mean_over_repeats(found.transfer.transpose("seed", "step").values, config, seeds))
    return _over_tasks(parts, "transfer")


def linear(config: LinearConfig, seeds: Sequence[int], run: Run) -> xr.Dataset:
    """Logistic regression on second tasks: one pass over all features, converged, and converged on the true group."""
    size = (len(seeds), config.repeats, len(config.items))
    found: dict[str, list[xr.DataArray]] = {"online": [], "converged": [], "oracle": []}
    for make in SECOND_TASKS.values():
        values = {name: np.zeros(size) for name in found}
        for i, seed in enumerate(seeds):
            for repeat in range(config.repeats):
                address = _address(seed, repeat)
                task = make(config, config.margin, address)
                for name, accuracies in _linear(config, task, address).items():
                    values[name][i, repeat] = accuracies
        for name, value in values.items():
            found[name].append(_mean_over_repeats(value.reshape(-1, len(config.items)), config, seeds))
    return xr.merge([_over_tasks(parts, name) for name, parts in found.items()])


def _linear(config: LinearConfig, task: GroupSparse, address: int) -> dict[str, list[float]]:
    """Accuracies at each n, on the items that the transformers see."""
    stream = [task.batch("train", 1, step=step, seed=address) for step in range(max(config.items))]
    x, y = torch.cat([b.x for b in stream]), torch.cat([b.y for b in stream]).numpy()
    test = task.dataset("test")
    inside = list(task.relevant)
    views = {
        "all": (x.flatten(1).numpy(), test.x.flatten(1).numpy()),
        "group": (x[:, inside].flatten(1).numpy(), test.x[:, inside].flatten(1).numpy()),
    }
    labels = test.y.numpy()

    def right(scores: np.ndarray) -> float:
        return float((np.where(scores >= 0, 1.0, -1.0) == labels).mean())

    found: dict[str, list[float]] = {"online": [], "converged": [], "oracle": []}
    w, (train, held) = np.zeros(x[0].numel()), views["all"]
    for n in range(1, max(config.items) + 1):
        w += config.lr * y[n - 1] * train[n - 1] / (1 + np.exp(y[n - 1] * (train[n - 1] @ w)))
        if n in config.items:
            found["online"].append(right(held @ w))
            for name, view in (("converged", "all"), ("oracle", "group")):
                found[name].append(right(_converged(views[view][0][:n], y[:n], views[view][1])))
    return found


def _converged(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Scores of scikit-learn's logistic regression, hardly regularized; the only label's sign where there is one."""
    if len(np.unique(y)) < 2:
        return np.full(len(test), y[0])
    return LogisticRegression(C=100.0, fit_intercept=False, max_iter=2000).fit(x, y).decision_function(test)


def _address(seed: int, repeat: int) -> int:
    """The seed of a second task: its direction and its items, other than those of any first task."""
    return 1_000_000 + 1000 * seed + repeat


def _mean_over_repeats(values: np.ndarray, config: TransferConfig | LinearConfig, seeds: Sequence[int]) -> xr.DataArray:
    means = values.reshape(len(seeds), config.repeats, -1).mean(1)
    return xr.DataArray(means, dims=("seed", "n"), coords={"seed": list(seeds), "n": sorted(config.items)})


def _over_tasks(parts: Sequence[xr.DataArray], name: str) -> xr.Dataset:
    return xr.concat(parts, "second").assign_coords(second=list(SECOND_TASKS)).to_dataset(name=name)
