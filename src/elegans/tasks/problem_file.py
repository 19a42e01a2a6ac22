"""Planning problems of a user's own, one JSON object per line; whatever is wrong is named with its line.

=========================== ==========================================================================================
world                       a line, if wanted with a ``"name"``
=========================== ==========================================================================================
``blocksworld``             ``{"init": [["a", "b"], ["c"]], "goal": [["b", "c"]]}``: stacks from below, b on a at first
                            and c on b in the end. A goal wants what is on what in its stacks, wherever they stand; it
                            may also list ``["on", "c", "b"]`` and ``["ontable", "b"]``
``countdown``               ``{"numbers": [2, 4, 6, 8], "target": 24}``, and with ``"use_all": false`` the target may be
                            left beside other numbers
``package.module:function`` any object: the function makes a `elegans.tasks.planning.Problem` of it
=========================== ==========================================================================================

For Blocksworld the path may also be a split file of PlanBench (a JSON list), a PDDL file, or a folder of these.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from elegans.tasks.blocksworld.english import English
from elegans.tasks.blocksworld.notation import Notation
from elegans.tasks.blocksworld.planbench import load_pddl, load_split
from elegans.tasks.blocksworld.state import TABLE, from_stacks, make_goal
from elegans.tasks.blocksworld.world import Blocksworld
from elegans.tasks.countdown import Countdown, numbers
from elegans.tasks.jsonl import at_line, check_keys, check_once, kind_of, objects
from elegans.tasks.planning import Problem, World

WORLDS = ("blocksworld", "countdown")
ATOMS = {"on": 3, "ontable": 2}
"""Words that begin an atom of a goal, and how many it has."""

Make = Callable[[dict[str, Any], str], Problem]
"""The problem of an object, with a name for where the object has none."""


def load_problems(
    path: str | Path, world: str = "blocksworld", *, notation: type[Notation] = English
) -> list[Problem[Any, Any]]:
    """The problems of a file in its order, each with a name of its own (``line-3`` where the line gives none).

    `world` is one of `WORLDS` or a function, see above; `notation` is how Blocksworld is written. Raises `ValueError`
    that names the file and the line, and for a world that does not exist.
    """
    path = Path(path)
    make = _maker(world, notation)
    special = _planbench(path, notation) if world == "blocksworld" else None
    if special is None:
        return _lines(path, make)
    names = [problem.name for problem in special]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path}: the problem {name} stands there twice")
    return special


def _lines(path: Path, make: Make) -> list[Problem[Any, Any]]:
    found, lines = [], {}
    for number, value in objects(path):
        with at_line(path, number):
            problem = make(value, f"line-{number}")
            if not problem.name.strip():
                raise ValueError("'name' is empty")
            check_once(problem.name, "name", lines, number)
            found.append(problem)
    return found


def _planbench(path: Path, notation: type[Notation]) -> list[Problem[Any, Any]] | None:
    """The problems of PDDL or of a split file; None where the file is neither."""
    try:
        if path.is_dir() or path.suffix == ".pddl":
            return load_pddl(path, notation=notation)
        with open(path, "rb") as file:
            is_list = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
        return [item.problem for item in load_split(path, notation=notation)] if is_list else None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})" if error.strerror else str(error)) from None


# ------------------------------------------------------------------------------------------------ worlds


def _maker(world: str, notation: type[Notation]) -> Make:
    if world == "blocksworld":
        return lambda value, name: _blocksworld(value, name, notation)
    return _countdown if world == "countdown" else _function(world)


def _blocksworld(value: dict[str, Any], name: str, notation: type[Notation]) -> Problem[Any, Any]:
    check_keys(value, "the line", {"init": list, "goal": list}, {"name": str})
    stacks = [_names(stack, f"stack {number} of 'init'") for number, stack in enumerate(value["init"], 1)]
    blocks = [block for stack in stacks for block in stack]
    for word in ATOMS:
        if word in blocks:
            raise ValueError(f"a block cannot be called {word!r}")
    written = notation(blocks)
    index = {block: number for number, block in enumerate(blocks)}
    atoms = [
        atom for n, part in enumerate(value["goal"], 1) for atom in _atoms(part, f"entry {n} of 'goal'", index)
    ]  # fmt: skip
    try:
        goal = make_goal(atoms, len(blocks))
    except ValueError as error:
        raise ValueError(written.named(str(error))) from None
    start = from_stacks([index[block] for block in stack] for stack in stacks)
    return Problem(Blocksworld(goal, written), start, value.get("name", name))


def _atoms(part: Any, where: str, index: dict[str, int]) -> list[tuple[int, int]]:
    """What an entry of a goal wants: pairs of a block and what is below it."""
    kind, *rest = words = _names(part, where)
    wanted = rest if kind in ATOMS else words
    for block in wanted:
        if block not in index:
            raise ValueError(f"{where} names {block!r}, which is not in 'init'")
    if len(words) != ATOMS.get(kind, len(words)):
        raise ValueError(f"{where} must be ['on', x, y] or ['ontable', x], got {words}")
    if kind in ATOMS:
        return [(index[wanted[0]], index[wanted[1]] if kind == "on" else TABLE)]
    if len(wanted) < 2:
        raise ValueError(f"{where}, a stack of one block, wants nothing; for the table write ['ontable', {kind!r}]")
    return [(index[block], index[below]) for below, block in pairwise(wanted)]


def _names(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where} must be a list of names, got {kind_of(value) if value != [] else 'an empty one'}")
    for name in value:
        if not isinstance(name, str):
            raise ValueError(f"{where} must be a list of names, but one is {kind_of(name)}")
    return value


def _countdown(value: dict[str, Any], name: str) -> Problem[Any, Any]:
    check_keys(value, "the line", {"numbers": list, "target": int}, {"name": str, "use_all": bool})
    if len(value["numbers"]) < 2 or any(type(number) is not int for number in value["numbers"]):
        raise ValueError("'numbers' must be two or more integers")
    world = Countdown(Fraction(value["target"]), use_all=value.get("use_all", True))
    return Problem(world, numbers(value["numbers"]), value.get("name", name))


def _function(world: str) -> Make:
    module, _, name = world.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"no world {world!r}: {error}") from None
    if not callable(function):
        raise ValueError(f"no world {world!r}: {name} is no function")

    def make(value: dict[str, Any], _: str) -> Problem[Any, Any]:
        try:
            problem = function(value)
        except Exception as error:  # whatever a function of the user's own raises speaks of this line
            raise ValueError(f"{world} fails with {type(error).__name__}: {' '.join(str(error).split())}") from error
        if not isinstance(problem, Problem) or not isinstance(problem.world, World):
            raise ValueError(f"{world} must return a Problem with a World, got {type(problem).__name__}")
        return problem

    return make
