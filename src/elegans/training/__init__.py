"""Floor 2: optimization. One loop for everything that trains by steps."""

from elegans.training.checkpoint import FileCheckpoint
from elegans.training.ensemble import Ensemble, TaskStack
from elegans.training.loop import fit, linear_steps, log_steps, split_scores
from elegans.training.optim import EMA, Optim
from elegans.training.seeds import fit_seeds

__all__ = [
    "EMA",
    "Ensemble",
    "FileCheckpoint",
    "Optim",
    "TaskStack",
    "fit",
    "fit_seeds",
    "linear_steps",
    "log_steps",
    "split_scores",
]
