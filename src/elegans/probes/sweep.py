"""Many runs that differ from one another in the activation at one place: only what can differ is computed.

Shapes: B sequences, T positions, H heads, V vocabulary, C cells of the sweep.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from elegans.models.decoder import Decoder
from elegans.models.rwkv import RWKV4
from elegans.probes.record import patch, record
from elegans.probes.streams import extend_states, level_of, resume, start_states, streams

PASS_TOKENS = 1024
"""Tokens of one pass, in which cells of a sweep over few or short sequences are stacked."""


def pair(
    model: nn.Module, base: Int[Tensor, "B T"], source: Int[Tensor, "B2 T2"]
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Both inputs on the model's device. Raises `ValueError` unless they are sequence by sequence alike in shape."""
    if base.shape != source.shape:
        raise ValueError(f"base and source must have one shape, got {tuple(base.shape)} and {tuple(source.shape)}")
    device = next(model.parameters()).device
    return base.to(device), source.to(device)


def is_map(site: str) -> bool:
    """Whether the activation is an attention map [B H T S], with heads before positions."""
    return site.endswith((".scores", ".weights"))


def num_heads(site: str, activation: Tensor) -> int:
    """The heads of an activation. Raises `ValueError` where there are none."""
    if activation.ndim != 4:
        raise ValueError(f"site {site!r} has no heads: its activation has shape {tuple(activation.shape)}")
    return activation.shape[1 if is_map(site) else 2]


def mask_at(
    site: str, activation: Tensor, where: Bool[Tensor, "B T"], head: int | None = None
) -> Bool[Tensor, "B ..."]:
    """Which entries of the activation are at these positions, and of this head if one is given, without its last axis.

    Raises `ValueError` for a head that the site does not have.
    """
    if activation.ndim == 3 and head is None:
        return where
    number, axis = num_heads(site, activation), 1 if is_map(site) else 2
    if head is not None and not 0 <= head < number:
        raise ValueError(f"site {site!r} has heads 0 to {number - 1}, got {head}")
    chosen = torch.arange(number, device=where.device)
    chosen = chosen >= 0 if head is None else chosen == head
    return where.unsqueeze(axis) & chosen.unsqueeze(2 - axis)


@dataclass(frozen=True)
class Cell:
    """What is exchanged: in the run, the activation at `site` takes the values of `new` where `mask` is set.

    The mask has the axes of the activation but the last.
    """

    site: str
    new: Tensor
    mask: Bool[Tensor, "B ..."]

    @property
    def position_axis(self) -> int:
        """Of the mask."""
        return 2 if is_map(self.site) else 1

    def start(self) -> int:
        """The first position at which something is exchanged in any sequence; T where nothing is."""
        axes = [axis for axis in range(self.mask.ndim) if axis != self.position_axis]
        touched = self.mask.any(axes[1]).any(0) if len(axes) > 1 else self.mask.any(0)
        return int(touched.int().argmax()) if touched.any() else len(touched)


class Sweep:
    """The run on `tokens`, and variations of it.

    A variation is computed from the first block that its exchange can reach. Sequences that fill a pass on their own
    are also computed from the first position on that it can reach, in models with a recurrent form (all are causal);
    of shorter ones, several cells are stacked.
    """

    def __init__(self, model: nn.Module, tokens: Int[Tensor, "B T"]) -> None:
        self.model, self.tokens = model, tokens
        try:
            self.entries = streams(model)
        except ValueError:
            self.entries = []
        with record(model, self.entries) as run:
            self.logits: Float[Tensor, "B T V"] = model(tokens)
        self.streams = [run[name] for name in self.entries]

    def run(self, cells: Iterable[Cell]) -> Iterator[tuple[int, Float[Tensor, "B T V"]]]:
        """The number of each cell and its logits, in an order of convenience."""
        at_once = max(1, PASS_TOKENS // self.tokens.numel())
        if at_once == 1:
            yield from self._one_by_one(list(cells))
            return
        stacks: dict[tuple[str, int], list[tuple[int, Cell]]] = {}
        for number, cell in enumerate(cells):
            stacks.setdefault((cell.site, id(cell.new)), []).append((number, cell))
        for stack in stacks.values():
            for first in range(0, len(stack), at_once):
                numbers, some = zip(*stack[first : first + at_once], strict=True)
                yield from zip(numbers, self._stacked(some), strict=True)

    def _one_by_one(self, cells: list[Cell]) -> Iterator[tuple[int, Tensor]]:
        starts = [cell.start() for cell in cells]
        recurrent = self.model if isinstance(self.model, Decoder | RWKV4) else None
        states: list[Any] | None = start_states(recurrent, len(self.tokens)) if recurrent else None
        seen = 0
        for number in sorted(range(len(cells)), key=starts.__getitem__):
            cell, start = cells[number], starts[number]
            if start == self.tokens.shape[1]:
                yield number, self.logits
            elif recurrent is None or states is None or level_of(cell.site) is None:
                yield number, self._stacked([cell])[0]
            else:
                if start > seen:
                    states = extend_states(recurrent, [x[:, seen:start] for x in self.streams[:-1]], states)
                    seen = start
                later = self._logits(cell.site, cell.new, cell.mask[None], states, start)[0]
                yield number, torch.cat([self.logits[:, :start], later], dim=1)

    def _stacked(self, cells: Iterable[Cell]) -> Float[Tensor, "C B T V"]:
        """Of cells with one site and one new activation."""
        cells = list(cells)
        return self._logits(cells[0].site, cells[0].new, torch.stack([cell.mask for cell in cells]))

    def _logits(
        self,
        site: str,
        new: Tensor,
        masks: Bool[Tensor, "C B ..."],
        states: list[Any] | None = None,
        start: int = 0,
    ) -> Float[Tensor, "C B T2 V"]:
        """The logits from position `start` on."""
        count, level = len(masks), level_of(site)
        axis = 2 if is_map(site) else 1
        rest = new.shape[axis] - start
        masks, new = masks.narrow(axis + 1, start, rest)[..., None], new.narrow(axis, start, rest)

        def exchanged(old: Tensor) -> Tensor:
            return torch.where(masks, new, old.unflatten(0, (count, -1))).flatten(0, 1)

        def stacked(x: Tensor) -> Tensor:
            return x.expand(count, *x.shape).flatten(0, 1)

        if level is None:
            with patch(self.model, {site: exchanged}):
                logits = self.model(stacked(self.tokens))
        else:
            x = stacked(self.streams[level][:, start:])
            if site.endswith((".in", ".out")):
                logits = resume(self.model, exchanged(x), level, states)
            else:
                with patch(self.model, {site: exchanged}):
                    logits = resume(self.model, x, level, states)
        return logits.unflatten(0, (count, -1))
