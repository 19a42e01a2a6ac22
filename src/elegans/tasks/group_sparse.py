"""Group-sparse classification: of many groups of features, few decide the label.

Shapes: N items, G groups, F features of a group, R relevant groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import erfc, erfcinv
from torch import Tensor

from elegans.ops.rng import numpy_rng


@dataclass(frozen=True)
class Labelled:
    """Groups of features and labels, which are -1 or +1."""

    x: Float[Tensor, "*members N G F"]
    y: Float[Tensor, "*members N"]

    def __len__(self) -> int:
        return self.x.shape[-3]

    def to(self, device: torch.device | str) -> Labelled:
        """The same items on another device."""
        return Labelled(self.x.to(device), self.y.to(device))


class GroupSparse:
    r"""Normal features x_j ~ N(0, sigma^2 I) in each group j, and a label that only some groups decide.

    .. math::
        y = \mathrm{sign}(m), \qquad m = \sum_{j \in R} \langle x_j, v \rangle / \sqrt{|R|}

    `relevant` names the groups R, and v is a random unit vector, a pure function of `seed`. With `margin` gamma, items with
    |m| < gamma do not occur: m has a Gaussian law cut at gamma. With `antithetic`, batches come in pairs (x, y) and
    (-x, -y), in which all gradients cancel that vanish over the whole distribution because of this symmetry.

    Zhang, Meng and Cao 2025 (arXiv 2504.08638): one relevant group and no margin for training; a margin and another v
    for the task that comes after it. Splits: ``train`` (a stream) and ``test`` (`test_size` items).
    """

    splits = ("train", "test")

    def __init__(
        self,
        *,
        features: int,
        groups: int,
        relevant: Sequence[int] = (0,),
        sigma: float = 1.0,
        margin: float = 0.0,
        antithetic: bool = False,
        test_size: int = 4000,
        seed: int = 0,
    ) -> None:
        for name, value in (("features", features), ("groups", groups), ("test_size", test_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not relevant or len(set(relevant)) < len(relevant) or not all(0 <= j < groups for j in relevant):
            raise ValueError(f"relevant must name different groups from 0 to {groups - 1}, got {tuple(relevant)}")
        if not sigma > 0:
            raise ValueError(f"sigma must be above 0, got {sigma}")
        if not 0 <= margin <= 5 * sigma:
            raise ValueError(f"margin must lie between 0 and 5 sigma = {5 * sigma:g}, got {margin}")
        self.features, self.groups, self.relevant = features, groups, tuple(relevant)
        self.sigma, self.margin, self.antithetic, self.test_size = sigma, margin, antithetic, test_size
        self.seed, self.vocab_size = seed, 2
        v = numpy_rng("group-sparse", seed, "direction").normal(size=features)
        self.direction = torch.from_numpy(v / np.linalg.norm(v)).float()

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Labelled:
        """`size` new items, batch `step` of stream `seed`; an even number of them if antithetic."""
        if split not in self.splits:
            raise KeyError(f"no split {split!r}; this task has {', '.join(self.splits)}")
        if self.antithetic and size % 2:
            raise ValueError(f"antithetic items come in pairs: size must be even, got {size}")
        rng = numpy_rng("group-sparse", self.seed, split, seed, step)
        drawn = size // 2 if self.antithetic else size
        x = self.sigma * torch.from_numpy(rng.standard_normal((drawn, self.groups, self.features), dtype=np.float32))
        if self.margin:
            x = self._part(x)
        y = torch.where(self.score(x) >= 0, 1.0, -1.0)
        return Labelled(torch.cat([x, -x]), torch.cat([y, -y])) if self.antithetic else Labelled(x, y)

    def dataset(self, split: str) -> Labelled:
        """A fixed sample of `test_size` items."""
        return self.batch(split, self.test_size + self.test_size % 2, step=-1)

    def score(self, x: Float[Tensor, "*B G F"]) -> Float[Tensor, "*B"]:
        """The oracle: m, whose sign is the label; normal with standard deviation sigma where the margin is 0."""
        return (x[..., self.relevant, :] @ self.direction.to(x.device)).sum(-1) / len(self.relevant) ** 0.5

    def chance(self, split: str) -> dict[str, float]:
        """What a constant answer reaches."""
        return {"accuracy": 0.5}

    def even_attention_accuracy(self) -> float:
        r"""The best accuracy on :math:`\sum_j x_j`, all that attention with even weights can see, without a margin.

        The correlation of m with :math:`\langle \sum_j x_j, v \rangle` is :math:`\sqrt{R / G}`, and two normal numbers of
        correlation rho have one sign with probability 1/2 + arcsin(rho) / pi.
        """
        return 0.5 + float(np.arcsin((len(self.relevant) / self.groups) ** 0.5)) / float(np.pi)

    def _part(self, x: Float[Tensor, "N G F"]) -> Float[Tensor, "N G F"]:
        """Move m from the normal law to the same law outside (-gamma, gamma), by quantiles, and x along v with it."""
        m = self.score(x).double().numpy() / self.sigma
        tail = both_tails(np.abs(m)) * both_tails(self.margin / self.sigma)
        parted = np.sign(m) * np.sqrt(2) * erfcinv(tail)
        shift = torch.from_numpy((parted - m) * self.sigma / len(self.relevant) ** 0.5).float()
        moved = x.clone()
        moved[:, self.relevant, :] += shift[:, None, None] * self.direction
        return moved


def both_tails(z: np.ndarray | float) -> np.ndarray:
    """P(|n| >= z) of a standard normal n."""
    return np.asarray(erfc(z / np.sqrt(2)))
