"""The problems of a user's file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from elegans.studies.contrastive_mcts.own_config import SolveConfig
from elegans.tasks.blocksworld.english import English
from elegans.tasks.blocksworld.notation import Compact, Notation
from elegans.tasks.blocksworld.pddl import Pddl
from elegans.tasks.planning import Problem
from elegans.tasks.problem_file import load_problems

Rendering = Literal["english", "compact", "pddl"]
NOTATIONS: dict[Rendering, type[Notation]] = {"english": English, "compact": Compact, "pddl": Pddl}


def digest(config: SolveConfig) -> str:
    """A hash of all that is read but the expert, whose files the lab looks at.

    Problems are taken as they were read too, since a split file names other files.
    """
    found = hashlib.blake2b(digest_size=16)
    for name in filter(None, (config.problems, config.examples)):
        path = Path(name)
        for file in sorted(path.rglob("*.pddl")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    for problem in load(config):
        found.update(f"{problem.name}\n{problem.world.render_state(problem.start)}\n".encode())
    for file in sorted(Path(config.amateur).iterdir()) if config.amateur else ():
        found.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}\n".encode())
    return found.hexdigest()


def load(config: SolveConfig, *, examples: bool = False) -> list[Problem[Any, Any]]:
    """The problems of a config, or those of its file of examples. Raises `ValueError`."""
    return load_problems(
        config.examples if examples else config.problems, config.world, notation=NOTATIONS[config.render]
    )
