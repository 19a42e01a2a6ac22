"""Problems of PlanBench from a copy that the user has: PDDL files, and the split files of Reasoning via Planning.

Sources: Valmeekam et al. 2023 (arXiv 2206.10498), github.com/karthikv792/LLMs-Planning; Hao et al. 2023 (arXiv
2305.14992), whose splits group the problems by the length of the shortest plan.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from elegans.tasks.blocksworld.english import English
from elegans.tasks.blocksworld.notation import Notation
from elegans.tasks.blocksworld.pddl import Pddl, parse_problem
from elegans.tasks.blocksworld.state import Action
from elegans.tasks.blocksworld.world import BlocksworldProblem, blocksworld_of
from elegans.tasks.planning import Problem, solves


class PlanBenchItem(NamedTuple):
    """A problem and the plan that comes with it."""

    problem: BlocksworldProblem
    plan: list[Action]


def load_pddl(path: Path | str, *, notation: type[Notation] = English) -> list[BlocksworldProblem]:
    """The problem of a file, or of every ``*.pddl`` file of a folder with its folders, in the order of their numbers.

    A domain file in the folder is passed over. A problem is named by its path within the folder, or its file's name.

    Raises:
        FileNotFoundError: there is no such file, or no problem in the folder.
        ValueError: a file does not hold a Blocksworld problem; names file and line.
    """
    path = Path(path)
    if path.is_file():
        return [_problem(path, path.stem, notation)]
    files = sorted((file for file in path.rglob("*.pddl") if "domain" not in file.stem), key=_natural)
    if not files:
        raise FileNotFoundError(f"no PDDL problem at {path}")
    return [_problem(file, file.relative_to(path).with_suffix("").as_posix(), notation) for file in files]


def load_split(
    path: Path | str, root: Path | str | None = None, *, notation: type[Notation] = English
) -> list[PlanBenchItem]:
    """The items of a split file: a JSON list of [path of a PDDL file, plan as PDDL, length of the shortest plan].

    Paths begin with ``LLMs-Planning/``; `root` is that folder or the one that holds it, by default the split file's.
    Every plan is checked to solve its problem with the said number of actions.

    Raises:
        FileNotFoundError: the split file or one of its PDDL files is missing; says where it was looked for.
        ValueError: what is read is not of this form, or a plan does not do; names file and line or item.
    """
    path = Path(path)
    root = path.parent if root is None else Path(root)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    if not isinstance(entries, list):
        raise ValueError(f"{path}, line 1: expected a list of [path, plan, length]")
    return [_item(entry, f"{path}, item {number}", root, notation) for number, entry in enumerate(entries, 1)]


def _item(entry: Any, where: str, root: Path, notation: type[Notation]) -> PlanBenchItem:
    match entry:
        case [str(name), str(plan_text), int(length)]:
            pass
        case _:
            raise ValueError(f"{where}: expected [path, plan, length], got {json.dumps(entry)[:80]}")
    relative = Path(name)
    inside = Path(*relative.parts[1:]) if len(relative.parts) > 1 else relative
    places = [root / relative, root / inside]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{where}: no file {name} in {root}; is this the folder of LLMs-Planning?")
    read = _problem(file, "/".join(relative.with_suffix("").parts[-2:]), notation)
    problem = Problem(read.world, read.start, read.name, length)
    try:
        plan = Pddl(blocksworld_of(problem).notation.names).parse_plan(plan_text)
    except ValueError as error:
        raise ValueError(f"{where}: in the plan, {error}") from None
    if len(plan) != length:
        raise ValueError(f"{where}: the plan has {len(plan)} actions, not {length}")
    if not solves(problem, plan):
        raise ValueError(f"{where}: the plan does not solve {file}")
    return PlanBenchItem(problem, plan)


def _problem(file: Path, name: str, notation: type[Notation]) -> BlocksworldProblem:
    try:
        return parse_problem(file.read_text(encoding="utf-8"), name=name, notation=notation)
    except ValueError as error:
        raise ValueError(f"{file}, {error}") from None


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sorts instance-9 before instance-10."""
    return [(int(part or -1), text) for part, text in re.findall(r"(\d*)(\D*)", file.as_posix())]
