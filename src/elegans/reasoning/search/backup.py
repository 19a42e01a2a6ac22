"""Back-ups: what a finished path credits to each of its nodes.

A path is [n_0, ..., n_L], the root first; r_i is the reward of node i, and r_0 = 0 belongs to no action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol, get_args, runtime_checkable

from elegans.reasoning.search.node import Node

Returns = Literal["sum", "mean"]


@runtime_checkable
class Backup(Protocol):
    """The credit of each node of a path, and how the credits of several visits become its value Q."""

    def returns(self, path: Sequence[Node]) -> list[float]:
        """The credit of each node, the root's first."""
        ...

    def aggregate(self, node: Node, credit: float) -> float:
        """The value of a node after one more visit; `node.visits` counts that visit already."""
        ...


class _Mean:
    """The value is the mean of all credits."""

    def aggregate(self, node: Node, credit: float) -> float:
        """See `Backup.aggregate`."""
        return node.value + (credit - node.value) / node.visits


class SumBackup(_Mean):
    r"""The rewards from a node to the leaf, :math:`\sum_{j \ge i} r_j` (RAP, Hao et al. 2023, arXiv 2305.14992).

    Depends on the length of the path: with negative rewards longer is worse, with positive ones longer is better.
    """

    def returns(self, path: Sequence[Node]) -> list[float]:
        """See `Backup.returns`."""
        credits, total = [], 0.0
        for node in reversed(path):
            total += node.reward
            credits.append(total)
        return credits[::-1]


class MeanBackup(SumBackup):
    r"""The same per step, :math:`\frac{1}{L - i + 1} \sum_{j \ge i} r_j`; at the root over the L actions."""

    def returns(self, path: Sequence[Node]) -> list[float]:
        """See `Backup.returns`."""
        last = len(path) - 1
        steps = [max(1, last), *range(last, 0, -1)]
        return [total / n for total, n in zip(super().returns(path), steps, strict=True)]


@dataclass(frozen=True)
class MaxBackup:
    """The value is the best of all credits, sums or means as in `SumBackup` and `MeanBackup`."""

    of: Returns = "mean"

    def __post_init__(self) -> None:
        if self.of not in get_args(Returns):
            raise ValueError(f"of must be 'sum' or 'mean', got {self.of!r}")

    def returns(self, path: Sequence[Node]) -> list[float]:
        """See `Backup.returns`."""
        return (SumBackup() if self.of == "sum" else MeanBackup()).returns(path)

    def aggregate(self, node: Node, credit: float) -> float:
        """See `Backup.aggregate`."""
        return credit if node.visits == 1 else max(node.value, credit)


@dataclass(frozen=True)
class ProgressBackup(_Mean):
    r"""Credit for progress (arXiv 2410.01707, eq. 3), beside another back-up or alone.

    .. math::
        V = \sum_{i \ge 2} f(p_i - p_{i-1}) - \lambda n, \qquad
        f(\Delta) = \begin{cases} \Delta & \Delta \ge 0 \\ d \max(\Delta, c) & \text{otherwise} \end{cases}

    for the values :math:`p_1 \dots p_n` of a path. The paper leaves open what they are and where the path begins; its
    released code has no such back-up.

    Args:
        signal: p is the share of the goal that holds, the root's included; or (``value``) the reward of each node, the
            root, which has none, standing for the first action.
        scope: ``below``: for a node, the path begins at its parent, so the first difference is the node's own;
            ``path``: V of the whole path for all its nodes.
        clip: c, the worst difference that counts; made for values between 0 and 1.
        down: d, the weight of losses.
        length_penalty: lambda.
        weight: of V.
        base: back-up to which V is added; None is V alone.
    """

    signal: Literal["goal_fraction", "value"] = "goal_fraction"
    scope: Literal["below", "path"] = "below"
    clip: float = -0.1
    down: float = 0.5
    length_penalty: float = 0.1
    weight: float = 1.0
    base: Backup | None = None

    def __post_init__(self) -> None:
        if self.signal not in ("goal_fraction", "value") or self.scope not in ("below", "path"):
            raise ValueError(f"no signal {self.signal!r} with scope {self.scope!r}")

    def returns(self, path: Sequence[Node]) -> list[float]:
        """See `Backup.returns`."""
        if self.signal == "goal_fraction":
            values = [node.goal_fraction for node in path]
        else:
            values = [node.reward for node in [*path[1:2], *path[1:]]] or [0.0]
        steps = [after - before for before, after in pairwise(values)]
        worth = [step if step >= 0 else self.down * max(step, self.clip) for step in steps]
        starts = [0 if self.scope == "path" else max(0, i - 1) for i in range(len(path))]
        progress = [sum(worth[start:]) - self.length_penalty * (len(path) - start) for start in starts]
        base = self.base.returns(path) if self.base else [0.0] * len(path)
        return [b + self.weight * p for b, p in zip(base, progress, strict=True)]
