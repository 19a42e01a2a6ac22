"""Blocksworld in PDDL: the domain with four operators, problems and plans, written and read with line numbers.

The names are those of PlanBench's files (Valmeekam et al. 2023, arXiv 2206.10498); ``on-table`` and ``arm-empty``, which
other collections use for ``ontable`` and ``handempty``, are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from elegans.tasks.blocksworld.english import English
from elegans.tasks.blocksworld.notation import Notation
from elegans.tasks.blocksworld.state import ANYWHERE, HAND, TABLE, Action, BlocksworldState, Goal
from elegans.tasks.blocksworld.world import Blocksworld, BlocksworldProblem, blocksworld_of
from elegans.tasks.planning import Problem

DOMAIN = """\
(define (domain blocksworld-4ops)
  (:requirements :strips)
  (:predicates (clear ?x) (ontable ?x) (handempty) (holding ?x) (on ?x ?y))
  (:action pick-up
    :parameters (?x)
    :precondition (and (clear ?x) (ontable ?x) (handempty))
    :effect (and (holding ?x) (not (clear ?x)) (not (ontable ?x)) (not (handempty))))
  (:action put-down
    :parameters (?x)
    :precondition (holding ?x)
    :effect (and (clear ?x) (ontable ?x) (handempty) (not (holding ?x))))
  (:action stack
    :parameters (?x ?y)
    :precondition (and (holding ?x) (clear ?y))
    :effect (and (on ?x ?y) (clear ?x) (handempty) (not (holding ?x)) (not (clear ?y))))
  (:action unstack
    :parameters (?x ?y)
    :precondition (and (on ?x ?y) (clear ?x) (handempty))
    :effect (and (holding ?x) (clear ?y) (not (on ?x ?y)) (not (clear ?x)) (not (handempty)))))
"""

ATOMS = {"on": 2, "ontable": 1, "holding": 1, "clear": 1, "handempty": 0}
"""Predicates with their numbers of blocks."""
_SYNONYMS = {"on-table": "ontable", "arm-empty": "handempty"}


class Pddl(Notation):
    """``(on a b) (clear a) (handempty)``, ``(unstack a b)``. All is lower case; comments and line breaks do not count."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__([name.lower() for name in names])

    def state(self, state: BlocksworldState) -> str:
        """All atoms that hold, in one line."""
        hand = "(handempty)" if state.held is None else f"(holding {self.names[state.held]})"
        clear = (f"(clear {self.names[x]})" for x in state.clear())
        return " ".join((hand, *self._places(enumerate(state.below)), *clear))

    def goal(self, goal: Goal) -> str:
        """The wanted atoms, in one line."""
        return " ".join(self._places(goal.atoms()))

    def action(self, action: Action) -> str:
        """The operator and its blocks in parentheses."""
        return f"({' '.join((action.operator, *(self.names[x] for x in action[1:] if x is not None)))})"

    def parse_state(self, text: str) -> BlocksworldState:
        """The state of a list of atoms."""
        return self._read_state(_read(text))

    def parse_goal(self, text: str) -> Goal:
        """The goal of a list of atoms."""
        return self._read_goal(_read(text))

    def parse_action(self, text: str) -> Action:
        """The action of one line."""
        plan = self.parse_plan(text)
        if len(plan) != 1:
            raise ValueError(f"expected one action, got {text.strip()!r}")
        return plan[0]

    def parse_plan(self, text: str) -> list[Action]:
        """The actions of a plan; comments begin with ``;``."""
        actions = []
        for node in _read(text):
            operator, *names = node.words()
            actions.append(self._make_action(operator, names))
        return actions

    def _places(self, places: Iterable[tuple[int, int]]) -> list[str]:
        return [
            f"(ontable {self.names[x]})" if y == TABLE else f"(on {self.names[x]} {self.names[y]})"
            for x, y in places
            if y != HAND
        ]

    def _read_state(self, nodes: Iterable[_Node]) -> BlocksworldState:
        below, clear, said_empty = [ANYWHERE] * len(self.names), set(), False
        line = 1
        for node in nodes:
            line = node.line
            name, blocks = self._atom(node)
            if name == "handempty":
                said_empty = True
            elif name == "clear":
                clear.add(blocks[0])
            else:
                x, y = blocks[0], {"ontable": TABLE, "holding": HAND}.get(name, blocks[-1])
                if below[x] not in (ANYWHERE, y):
                    raise PddlError(node.line, f"{self.names[x]} is at two places")
                below[x] = y
        if ANYWHERE in below:
            raise PddlError(line, f"nothing says where {self.names[below.index(ANYWHERE)]} is")
        try:
            state = self._make_state(below)
        except ValueError as error:
            raise PddlError(line, str(error)) from None
        if said_empty != (state.held is None):
            raise PddlError(line, "handempty must hold exactly where nothing is held")
        if clear != set(state.clear()):
            wrong = ", ".join(self.names[x] for x in sorted(clear.symmetric_difference(state.clear())))
            raise PddlError(line, f"clear must name the blocks with nothing on them; look at {wrong}")
        return state

    def _read_goal(self, nodes: Iterable[_Node]) -> Goal:
        atoms, line = [], 1
        for node in nodes:
            line = node.line
            name, blocks = self._atom(node)
            if name not in ("on", "ontable"):
                raise PddlError(line, f"a goal of {name!r} is not supported, only on and ontable")
            atoms.append((blocks[0], TABLE if name == "ontable" else blocks[1]))
        try:
            return self._make_goal(atoms)
        except ValueError as error:
            raise PddlError(line, str(error)) from None

    def _atom(self, node: _Node) -> tuple[str, list[int]]:
        name, *blocks = node.words()
        name = _SYNONYMS.get(name, name)
        if ATOMS.get(name) != len(blocks):
            raise PddlError(node.line, f"there is no atom {name!r} of {len(blocks)} blocks")
        try:
            return name, list(map(self.block, blocks))
        except ValueError as error:
            raise PddlError(node.line, str(error)) from None


class PddlError(ValueError):
    """What is wrong with a PDDL text, and in which line (counted from 1)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")


def problem_pddl(problem: BlocksworldProblem) -> str:
    """A problem as the text of a PDDL file for `DOMAIN`. A name that begins with no letter gets ``p-`` before it."""
    world, name = blocksworld_of(problem), re.sub(r"[^A-Za-z0-9_-]", "-", problem.name)
    pddl = Pddl(world.notation.names)
    return (
        f"(define (problem {name if name[:1].isalpha() else f'p-{name}'})\n  (:domain blocksworld-4ops)\n"
        f"  (:objects {' '.join(pddl.names)})\n"
        f"  (:init {pddl.state(problem.start)})\n  (:goal (and {pddl.goal(world.goal)})))\n"
    )


def parse_problem(text: str, *, name: str | None = None, notation: type[Notation] = English) -> BlocksworldProblem:
    """The problem of a PDDL file, written in `notation`; blocks are numbered in the order of ``:objects``.

    `name` defaults to the file's. Raises `PddlError` with the line for anything but a Blocksworld problem whose goal is
    made of ``on`` and ``ontable``.
    """
    nodes = _read(text)
    if len(nodes) != 1 or nodes[0].head() != "define":
        raise PddlError(1, "expected one (define (problem ...) ...)")
    parts: dict[str, _Node] = {}
    for node in nodes[0].children()[1:]:
        if parts.setdefault(node.head(), node) is not node:
            raise PddlError(node.line, f"a second {node.head()}")
    for needed in ("problem", ":objects", ":init", ":goal"):
        if needed not in parts:
            raise PddlError(nodes[0].line, f"the problem has no {needed}")
    objects = " ".join(parts[":objects"].words()[1:])
    try:
        pddl = Pddl(re.sub(r"\s-\s+\S+", " ", f"{objects} ").split())
    except ValueError as error:
        raise PddlError(parts[":objects"].line, str(error)) from None
    state = pddl._read_state(parts[":init"].children()[1:])
    wanted = parts[":goal"].children()[1:]
    if len(wanted) == 1 and wanted[0].head() == "and":
        wanted = wanted[0].children()[1:]
    world = Blocksworld(pddl._read_goal(wanted), notation(pddl.names))
    return Problem(world, state, name or parts["problem"].words()[-1])


# ---------------------------------------------------------------------------------------------- s-expressions


@dataclass(frozen=True)
class _Node:
    """A word or a list of nodes, and the line where it begins."""

    line: int
    content: str | tuple[_Node, ...]

    def children(self) -> tuple[_Node, ...]:
        if isinstance(self.content, str):
            raise PddlError(self.line, f"expected a list in parentheses, got {self.content!r}")
        return self.content

    def words(self) -> list[str]:
        """The words of a list of words, at least one."""
        words = [child.content for child in self.children()]
        plain = [word for word in words if isinstance(word, str)]
        if not words or len(plain) < len(words):
            raise PddlError(self.line, "expected a list of words")
        return plain

    def head(self) -> str:
        """The first word of a list."""
        children = self.children()
        if not children or not isinstance(children[0].content, str):
            raise PddlError(self.line, "expected a list that begins with a word")
        return children[0].content


def _read(text: str) -> list[_Node]:
    """The lists of a text, in lower case."""
    stack: list[tuple[int, list[_Node]]] = [(1, [])]
    for line, content in enumerate(text.lower().splitlines(), 1):
        for token in re.findall(r"[()]|[^\s()]+", content.split(";")[0]):
            if token == "(":
                stack.append((line, []))
            elif token == ")":
                if len(stack) == 1:
                    raise PddlError(line, "a ) without its (")
                start, children = stack.pop()
                stack[-1][1].append(_Node(start, tuple(children)))
            else:
                stack[-1][1].append(_Node(line, token))
    if len(stack) > 1:
        raise PddlError(stack[-1][0], "a ( without its )")
    return stack[0][1]
