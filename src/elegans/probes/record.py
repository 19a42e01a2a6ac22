"""Look at activations and replace them, at the sites of any model that names its places.

A model here is a module that maps tokens [B, T] to logits [B, T, V] and has ``sites()``: any `SequenceModel`, or a model
of Hugging Face's library under `elegans.interop.sites.adapt`.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from elegans.models.base import Site

Names = str | Iterable[str] | Callable[[str], bool]
"""``"all"``, a pattern (``*``, ``?``), several patterns, or a function that says yes or no to the name of a site."""
Replacement = Tensor | float | Callable[[Tensor], Tensor]
"""What passes instead: a tensor or a number, which may broadcast, or a function of the activation."""


class Recording(dict[str, Tensor]):
    """The activations that passed, by the name of their site; of several passes the last."""

    def __missing__(self, name: str) -> Tensor:
        if not self:
            raise KeyError("nothing is recorded before the model is called inside of the with statement")
        raise KeyError(f"site {name!r} was not recorded; {_hint(name, self)}")


@contextmanager
def record(model: nn.Module, names: Names = "all") -> Iterator[Recording]:
    """Inside, every call of the model fills the recording with the activations at the sites that `names` chooses.

    They are the very tensors of the pass, without a copy: part of the graph where there is one, inference tensors in
    inference mode. Records and patches compose in the order of entering, so a record inside of a patch sees what the
    patch put there, and one outside of it what came to it. Attention maps are computed only if asked for, or for
    ``"all"``. No hook outlives the with statement. Raises `ValueError` for a name or pattern without a site.

    >>> with record(model, "blocks.*.mixer") as seen:  # doctest: +SKIP
    ...     model(tokens)
    >>> seen["blocks.0.mixer"]  # doctest: +SKIP
    """
    seen = Recording()
    with ExitStack() as hooks:
        for name, site in sites_of(model, names).items():
            hooks.enter_context(site.register_forward_hook(partial(_keep, seen, name)))
        yield seen


@contextmanager
def patch(model: nn.Module, values: Mapping[str, Replacement]) -> Iterator[None]:
    """Inside, the activation at each site is replaced by a tensor, a number, or a function of it.

    A key may be a pattern. Patches of one site apply in the order of entering. A tensor takes the activation's dtype and
    device. Gradients flow through whatever the patch computed. No hook outlives the with statement. Raises `ValueError`
    for a name or pattern without a site and, when the model is called, for a value that does not fit.

    >>> with patch(model, {"blocks.1.mlp": 0.0, "blocks.0.out": lambda x: x + steering}):  # doctest: +SKIP
    ...     model(tokens)
    """
    with ExitStack() as hooks:
        for names, value in values.items():
            for name, site in sites_of(model, [names]).items():
                hooks.enter_context(site.register_forward_hook(partial(_replace, name, value)))
        yield


def sites_of(model: nn.Module, names: Names = "all") -> dict[str, Site]:
    """The sites that `names` chooses, in its order. Raises `ValueError` for what no site has, naming the nearest one."""
    if not hasattr(model, "sites"):
        raise ValueError(
            f"{type(model).__name__} has no sites: subclass elegans.models.base.SequenceModel and place Sites in it, or"
            " adapt a model of Hugging Face's library with elegans.interop.sites.adapt"
        )
    sites: dict[str, Site] = model.sites()  # pyright: ignore[reportCallIssue]
    if callable(names):
        return {name: site for name, site in sites.items() if names(name)}
    chosen: dict[str, Site] = {}
    for pattern in [names] if isinstance(names, str) else names:
        found = {name: site for name, site in sites.items() if pattern in ("all", name) or fnmatchcase(name, pattern)}
        if not found:
            raise ValueError(f"{type(model).__name__} has no site {pattern!r}; {_hint(pattern, sites)}")
        chosen |= found
    return chosen


def _hint(name: str, known: Iterable[str]) -> str:
    """The nearest known name, or for a pattern the nearest with a star for each number; else all of them."""
    if "*" in name:
        known = dict.fromkeys(re.sub(r"\d+", "*", site) for site in known)
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"


def _keep(seen: Recording, name: str, _: nn.Module, args: Any, activation: Tensor) -> None:
    seen[name] = activation


def _replace(name: str, value: Replacement, _: nn.Module, args: Any, activation: Tensor) -> Tensor:
    new = value(activation) if callable(value) else torch.as_tensor(value)
    if not isinstance(new, Tensor):
        raise ValueError(f"the patch of {name!r} returned {type(new).__name__}; it must return the new activation")
    new = new.to(activation)
    try:
        return new.expand(activation.shape)
    except RuntimeError:
        shapes = f"{tuple(new.shape)}, the activation {tuple(activation.shape)}"
        raise ValueError(f"the patch of {name!r} has shape {shapes}") from None
