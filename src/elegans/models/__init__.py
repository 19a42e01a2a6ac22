"""Floor 1: sequence models with named activation sites. `registry.CATALOG` lists them without importing torch."""

import importlib
from typing import TYPE_CHECKING, Any

from elegans.models.registry import CATALOG, build, locate

if TYPE_CHECKING:
    from elegans.models.base import SequenceModel, Site, Sites
    from elegans.models.bilinear import BilinearLM
    from elegans.models.gpt import GPT
    from elegans.models.mamba import Mamba
    from elegans.models.one_layer import OneLayerLM
    from elegans.models.rwkv import RWKV4

__all__ = [
    "CATALOG",
    "GPT",
    "RWKV4",
    "BilinearLM",
    "Mamba",
    "OneLayerLM",
    "SequenceModel",
    "Site",
    "Sites",
    "build",
    "locate",
]

_CLASSES = {path.partition(":")[2]: path.partition(":")[0] for path, *_ in CATALOG.values()}
_CLASSES |= {name: "elegans.models.base" for name in ("SequenceModel", "Site", "Sites")}


def __getattr__(name: str) -> Any:
    """Load a model class on first use."""
    if name in _CLASSES:
        return getattr(importlib.import_module(_CLASSES[name]), name)
    raise AttributeError(f"module 'elegans.models' has no attribute {name!r}")
