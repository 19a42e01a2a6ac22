"""Tensors by name: tables that say which of theirs make up which of ours, and moving values along them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class Entry:
    """One parameter of ours, and the foreign tensors that are its rows, one below the other.

    Attributes:
        ours: name of the parameter.
        theirs: names of the foreign tensors; None stands for zeros, where they leave a bias out.
        rows: rows of each; None is one tensor with all.
        transposed: their matrix maps from rows to columns, ours from columns to rows.
    """

    ours: str
    theirs: tuple[str | None, ...]
    rows: tuple[int, ...] | None = None
    transposed: bool = False


def entry(ours: str, *theirs: str | None, rows: tuple[int, ...] | None = None, transposed: bool = False) -> Entry:
    """An `Entry`, with less to type."""
    return Entry(ours, theirs, rows, transposed)


def fill(model: nn.Module, table: Iterable[Entry], tensors: Mapping[str, Tensor]) -> None:
    """Give every parameter of `model` its values. Each tensor is used exactly once, half precision is widened.

    Raises `ValueError`, which names the tensor, where one is missing, left over, of another shape, or not of floats.
    """
    table = list(table)
    parameters = dict(model.named_parameters())
    assert sorted(row.ours for row in table) == sorted(parameters), "a table names every parameter once"
    names = [name for row in table for name in row.theirs if name is not None]
    assert len(set(names)) == len(names), "a table names every tensor once"
    _refuse("the weights lack", [name for name in names if name not in tensors])
    _refuse("the model has no place for", [name for name in tensors if name not in set(names)])
    for row in table:
        parameter = parameters[row.ours]
        parts = []
        for name, rows in zip(row.theirs, row.rows or (len(parameter),), strict=True):
            shape = (rows, *parameter.shape[1:])
            part = parameter.new_zeros(shape) if name is None else _checked(name, tensors[name], shape, row.transposed)
            parts.append(part.to(parameter))
        parameter.data.copy_(torch.cat(parts) if len(parts) > 1 else parts[0])


def collect(model: nn.Module, table: Iterable[Entry]) -> dict[str, Tensor]:
    """The parameters of `model` under their foreign names, on the CPU, each with a memory of its own."""
    parameters = dict(model.named_parameters())
    tensors = {}
    for row in table:
        parameter = parameters.pop(row.ours).detach().cpu()
        for name, part in zip(row.theirs, parameter.split(list(row.rows or (len(parameter),))), strict=True):
            assert name is not None, "what we write leaves nothing out"
            tensors[name] = (part.T if row.transposed else part).clone(memory_format=torch.contiguous_format)
    assert not parameters, "a table names every parameter once"
    return tensors


def without_values(cls: type[Model], **settings: Any) -> Model:
    """A model whose weights are about to be replaced: drawing those of a large one takes minutes."""
    hollow: Any = type(cls.__name__, (cls,), {"reset_parameters": lambda self, seed: None})
    model = hollow(**settings)
    model.__class__ = cls
    return model


def _checked(name: str, tensor: Tensor, shape: tuple[int, ...], transposed: bool) -> Tensor:
    expected = shape[::-1] if transposed else shape
    if tensor.shape != expected:
        raise ValueError(f"{name!r} has shape {tuple(tensor.shape)}, the model needs {tuple(expected)}")
    if tensor.dtype not in DTYPES:
        raise ValueError(f"{name!r} holds {tensor.dtype}; weights must be floats of 16 bits or more")
    return tensor.T if transposed else tensor


def _refuse(complaint: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise ValueError(f"{complaint} {names[0]!r}{more}")
