"""Floor 4: one folder per paper. Each reads like the paper's experiment section: configs, experiments, claims, figures.

A study outside this package is found by its import path, ``"package.module:STUDY"``.
"""

import importlib

from elegans.study import Study, UsageError, unknown

MODULES = {
    "reversal-curse": "elegans.studies.reversal_curse",
    "regular-languages": "elegans.studies.regular_languages",
    "group-sparse": "elegans.studies.group_sparse",
    "in-context-recall": "elegans.studies.in_context_recall",
    "gd-cot": "elegans.studies.gd_cot",
    "icl-contrastive": "elegans.studies.icl_contrastive",
    "stablemask": "elegans.studies.stablemask",
    "rwkv": "elegans.studies.rwkv",
    "ssm-limits": "elegans.studies.ssm_limits",
    "two-hop-cot": "elegans.studies.two_hop_cot",
    "implicit-patterns": "elegans.studies.implicit_patterns",
    "mutual-reinforcement": "elegans.studies.mutual_reinforcement",
    "contrastive-mcts": "elegans.studies.contrastive_mcts",
}
"""Name -> module with a ``STUDY``."""


def names() -> list[str]:
    """The studies that come with elegans."""
    return list(MODULES)


def load(name: str) -> Study:
    """A study by name or by import path. Raises `UsageError` for one that does not exist."""
    if ":" not in name:
        if name not in MODULES:
            raise unknown("study", name, MODULES)
        return importlib.import_module(MODULES[name]).STUDY
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"no study {name!r}: {error}") from None
    if not isinstance(found, Study):
        raise UsageError(f"{name!r} is not a Study")
    return found
