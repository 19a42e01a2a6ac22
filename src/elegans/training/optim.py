"""Optimizers and schedules, described by one frozen record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How parameters move.

    ``adamw`` (Loshchilov and Hutter 2019) and ``sgd`` are torch's fused implementations. ``normalized`` is gradient
    descent with the gradient scaled to norm 1, w <- w - lr g / |g|, and ``normalized-tensor`` scales the gradient of each
    parameter tensor by itself. With ``fit(batch_size=None)`` all but the first are full-batch gradient descent.

    `clip` bounds the gradient's norm over all parameters. `warmup` steps of linear increase come first, then the
    schedule: constant, or along a line or a cosine to `floor` times the rate. `lr_scale` multiplies the rate of
    parameters by name.
    """

    kind: Literal["adamw", "sgd", "normalized", "normalized-tensor"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.0
    clip: float | None = None
    warmup: int = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    floor: float = 0.0
    lr_scale: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0, got {self.lr}")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor must be in [0, 1], got {self.floor}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be above 0, got {self.clip}")

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a model's trainable parameters, which names those that weight decay leaves alone."""
        undecayed: set[str] = model.undecayed() if hasattr(model, "undecayed") else set()  # pyright: ignore
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, p in model.named_parameters():
            if p.requires_grad:
                decay = 0.0 if name in undecayed else self.weight_decay
                groups.setdefault((self.lr_scale.get(name, 1.0), decay), []).append(p)
        unknown = set(self.lr_scale) - {name for name, _ in model.named_parameters()}
        if unknown:
            raise ValueError(f"lr_scale names parameters that the model does not have: {', '.join(sorted(unknown))}")
        params = [{"params": g, "weight_decay": decay, "scale": scale} for (scale, decay), g in groups.items()]
        if self.kind == "adamw":
            return torch.optim.AdamW(params, lr=self.lr, betas=self.betas, eps=self.eps, fused=True)
        return torch.optim.SGD(params, lr=self.lr, momentum=self.momentum, fused=True)

    def lr_at(self, step: int, steps: int) -> float:
        """The learning rate of update number `step` (from 0) of `steps`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(steps - self.warmup, 1)
        factor = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[self.schedule]
        return self.lr * (self.floor + (1 - self.floor) * factor)

    @property
    def rescales(self) -> bool:
        """Whether gradients are changed before the update."""
        return self.kind.startswith("normalized") or self.clip is not None

    def rescale(self, params: list[nn.Parameter], *, members: bool) -> None:
        """Clip or normalize the gradients in place; with `members`, each along dimension 0 by itself."""
        grads = [p.grad for p in params if p.grad is not None]
        if self.kind == "normalized-tensor":
            for g in grads:
                _scale(g, _inverse(gradient_norm([g], members=members)), members=members)
            return
        norm = gradient_norm(grads, members=members)
        if self.kind == "normalized":
            scale = _inverse(norm)
        else:
            assert self.clip is not None
            scale = (self.clip / norm.clamp(min=1e-12)).clamp(max=1.0)
        for g in grads:
            _scale(g, scale, members=members)


def _inverse(norm: Tensor) -> Tensor:
    """1 / norm, and 0 for 0: a zero gradient stays zero."""
    return torch.where(norm > 0, 1 / norm, 0.0)


def _scale(gradient: Tensor, factor: Tensor, *, members: bool) -> None:
    gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)) if members else factor)


def gradient_norm(grads: list[Tensor], *, members: bool = False) -> Float[Tensor, "*members"]:
    """The norm over all gradients together, or with `members` the norm of each slice along dimension 0."""
    if members:
        return torch.stack([g.reshape(len(g), -1).square().sum(1) for g in grads]).sum(0).sqrt()
    return torch.nn.utils.get_total_norm(grads)


class EMA:
    """A running average of the weights: w <- d w + (1 - d) w_t with d = min(decay, (1 + t) / (10 + t)).

    The smaller d of the first steps keeps the random start out of the average.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"the decay of an average lies between 0 and 1, got {decay}")
        self.decay = decay
        self.weights: dict[str, Tensor] = {}

    def start(self, model: nn.Module) -> None:
        """Begin with the model's present weights."""
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after update number `step` (from 0)."""
        named = dict(model.named_parameters())
        current = [named[name].detach() for name in self.weights]
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.weights.values()), current, weight)  # pyright: ignore[reportPrivateImportUsage]

    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights and the average; a second call undoes it."""
        named = dict(model.named_parameters())
        with torch.no_grad():
            for name, average in self.weights.items():
                kept = named[name].detach().clone()
                named[name].copy_(average)
                average.copy_(kept)
