"""Model organisms for machine reasoning: published claims about sequence models as executable objects.

As a library::

    from elegans import build, tasks
    from elegans.training import fit
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans import interop, lm, models, probes, reasoning, tasks, training
    from elegans.models.registry import build

__version__ = "0.1.0"
__all__ = ["build", "interop", "lm", "models", "probes", "reasoning", "tasks", "training"]


def __getattr__(name: str) -> Any:
    """Load the parts on first use: `import elegans` alone imports no torch."""
    if name == "build":
        return importlib.import_module("elegans.models.registry").build
    if name in __all__:
        return importlib.import_module(f"elegans.{name}")
    raise AttributeError(f"module 'elegans' has no attribute {name!r}")
