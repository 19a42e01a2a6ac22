"""Many seeds as one: the weights of N models stacked along a leading dimension and run by one vmapped call.

On a CPU this pays for tiny models only, whose time goes into calling operators rather than into arithmetic; on a GPU it
is the main lever. `stacks` says which, from the model's size. Shapes: N members, B batch, T positions, V vocabulary.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from elegans.tasks.base import Batch, Task

CPU_LIMIT = 20_000
"""Trainable parameters above which a CPU runs members faster one after another (elegans bench ensemble)."""


class Ensemble(nn.Module):
    """N models of one shape as a single module; member i computes what model i computed.

    Parameters and buffers carry a leading dimension N, under the members' names with dots as ``/``.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        parameters, buffers = stack_module_state(list(models))
        frozen = {name for name, p in models[0].named_parameters() if not p.requires_grad}
        self._template = (copy.deepcopy(models[0]).to("meta"),)  # in a tuple, so that it is no submodule
        self._undecayed: set[str] = models[0].undecayed() if hasattr(models[0], "undecayed") else set()  # pyright: ignore
        for name, tensor in parameters.items():
            parameter = nn.Parameter(tensor.detach().clone(), requires_grad=name not in frozen)
            self.register_parameter(name.replace(".", "/"), parameter)
        for name, tensor in buffers.items():
            self.register_buffer(name.replace(".", "/"), tensor.clone())
        self.num_members = len(models)

    def _states(self) -> dict[str, Tensor]:
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return {name.replace("/", "."): tensor for name, tensor in state.items()}

    def forward(self, tokens: Int[Tensor, "N B T"]) -> Float[Tensor, "N B T V"]:
        """Member i's logits for batch i."""

        def call(state: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self._template[0], state, (x,))

        return torch.vmap(call, randomness="different")(self._states(), tokens)

    def train(self, mode: bool = True) -> Ensemble:
        """Switch dropout of all members on or off."""
        self._template[0].train(mode)
        return super().train(mode)

    def undecayed(self) -> set[str]:
        """Names of the parameters that weight decay leaves alone."""
        return {name.replace(".", "/") for name in self._undecayed}

    def members(self) -> Iterator[nn.Module]:
        """Each member as a model of its own, sharing nothing with the ensemble."""
        states = {name: tensor.detach() for name, tensor in self._states().items()}
        for index in range(self.num_members):
            member = copy.deepcopy(self._template[0]).to_empty(device=next(iter(states.values())).device)
            own = {name: tensor[index].clone() for name, tensor in states.items()}
            for name, tensor in own.items():
                _assign(member, name, tensor)
            yield member


class TaskStack:
    """The tasks of an ensemble's members side by side; member i draws the batches that seed i draws alone."""

    def __init__(self, tasks: Sequence[Task], seeds: Sequence[int]) -> None:
        if len(tasks) != len(seeds):
            raise ValueError(f"each task has one seed, got {len(tasks)} tasks and {len(seeds)} seeds")
        self.tasks, self.seeds = list(tasks), list(seeds)
        self.vocab_size, self.splits = tasks[0].vocab_size, tasks[0].splits

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """The members' batches number `step`, stacked; `seed` is ignored in favor of the members' own."""
        return _stack([t.batch(split, size, step=step, seed=s) for t, s in zip(self.tasks, self.seeds, strict=True)])

    def dataset(self, split: str) -> Batch:
        """The members' splits, stacked."""
        return _stack([task.dataset(split) for task in self.tasks])

    def chance(self, split: str) -> Any:
        """The level of a guess, alike for all members."""
        return self.tasks[0].chance(split)


def stacks(model: nn.Module, device: torch.device) -> bool:
    """Whether a stack of such models is faster than one after another on this device."""
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return device.type != "cpu" or size <= CPU_LIMIT


def _stack(batches: Sequence[Batch]) -> Batch:
    """Records of one kind, field by field; tasks with records of their own are stacked like token batches."""
    kind, names = type(batches[0]), [field.name for field in dataclasses.fields(batches[0])]
    return kind(**{name: torch.stack([getattr(batch, name) for batch in batches]) for name in names})


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    *path, leaf = name.split(".")
    for part in path:
        module = getattr(module, part)
    if leaf in module._parameters:
        module._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[leaf] = tensor
