"""Gradients of a metric at the sites of a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from elegans.probes.metrics import Metric, judge
from elegans.probes.record import Names, patch, record, sites_of


class Slopes(NamedTuple):
    """The metric of a run, its activations by site, and the gradients of the metric (summed) with respect to them."""

    value: Tensor
    activations: dict[str, Tensor]
    gradients: dict[str, Tensor]


def slopes(model: nn.Module, tokens: Int[Tensor, "B T"], metric: Metric, sites: Names) -> Slopes:
    """Gradients at the chosen sites, of a run without dropout. The parameters' own gradients are not touched."""
    with differentiable(model):
        start = {"embed": _leaf} if "embed" in sites_of(model) else {}
        with patch(model, start), record(model, sites) as seen:
            value = judge(metric, model(tokens.to(next(model.parameters()).device)))
        if not value.requires_grad:
            raise ValueError("the metric has no gradient")
        found = torch.autograd.grad(value.sum(), list(seen.values()), allow_unused=True)
    activations = {name: activation.detach() for name, activation in seen.items()}
    zero_filled = zip(activations.items(), found, strict=True)
    gradients = {name: torch.zeros_like(x) if g is None else g for (name, x), g in zero_filled}
    return Slopes(value.detach(), activations, gradients)


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Gradients but no dropout inside; every module's mode is restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _leaf(x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
    return x.detach().requires_grad_()
