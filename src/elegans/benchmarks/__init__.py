"""Side-by-side benchmarks: what is ours against what one would use instead, measured in one process.

`CATALOG` lists them without importing torch. Each is a function ``cases(quick, device)`` (see `Benchmark`); `quick` asks
for sizes that take a second in all.
"""

import importlib
from typing import TYPE_CHECKING

from elegans.study import unknown

if TYPE_CHECKING:
    from elegans.benchmarks.harness import Benchmark

CATALOG: dict[str, tuple[str, str]] = {
    "fit": ("elegans.benchmarks.fit:cases", "the training loop against one written by hand"),
    "ensemble": ("elegans.benchmarks.ensemble:cases", "seeds as one vmapped stack against one after another"),
    "attention": ("elegans.benchmarks.attention:cases", "StableMask against plain causal attention"),
    "selective-scan": ("elegans.benchmarks.selective_scan:cases", "Mamba's scan and layer against loops"),
    "wkv": ("elegans.benchmarks.wkv:cases", "RWKV-4's WKV operator against loops"),
    "linear-attention": ("elegans.benchmarks.linear_attention:cases", "linear attention in chunks against a loop"),
    "training-step": ("elegans.benchmarks.training_step:cases", "a whole training step against Hugging Face's models"),
    "patching": ("elegans.benchmarks.patching:cases", "a sweep of activation patching against TransformerLens"),
    "decoding": ("elegans.benchmarks.decoding:cases", "the next token after a long context against a short one"),
    "search": ("elegans.benchmarks.search:cases", "tree search with a language model against llm-reasoners"),
    "speculation": ("elegans.benchmarks.speculation:cases", "decoding with a draft against without one"),
}
"""Name -> (import path, one-line description)."""


def load(name: str) -> "Benchmark":
    """A benchmark by name. Raises `UsageError` for an unknown one, naming the nearest."""
    if name not in CATALOG:
        raise unknown("benchmark", name, CATALOG)
    module, _, attribute = CATALOG[name][0].partition(":")
    return getattr(importlib.import_module(module), attribute)
