"""Sets of problems to test on: which sizes, lengths and classes, drawn once and for all by a seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from elegans.ops.rng import numpy_rng
from elegans.tasks.blocksworld.classes import MAX_BLOCKS, Part, canonical, part_of, problem_table
from elegans.tasks.blocksworld.notation import Compact, Notation
from elegans.tasks.blocksworld.oracle import Oracle
from elegans.tasks.blocksworld.space import state_space
from elegans.tasks.blocksworld.state import BlocksworldState, Goal, from_stacks, goal_of
from elegans.tasks.blocksworld.world import Blocksworld, BlocksworldProblem
from elegans.tasks.planning import Problem

NAMES = ("a", "b", "c", "d", "e", "f")
"""Names that problems choose from, so that four blocks are not always the same four."""


@dataclass(frozen=True)
class Mix:
    """Which problems a set is made of. Starts have an empty hand; goals are all on-atoms of a state.

    Attributes:
        counts: pairs of a number of blocks and how many problems have it.
        lengths: shortest plans have at least and at most so many actions.
        by: ``problem`` draws start and goal uniformly, ``length`` takes the lengths that exist in equal numbers.
        distinct: at most one problem of each class (up to renaming of blocks).
    """

    counts: tuple[tuple[int, int], ...] = ((4, 18), (5, 132))
    lengths: tuple[int, int] = (4, 99)
    by: Literal["problem", "length"] = "problem"
    distinct: bool = True


@dataclass(frozen=True)
class _Drawn:
    """A problem before it is named."""

    start: BlocksworldState
    goal: Goal
    length: int
    kind: object = field(compare=False)


MIXES: dict[str, Mix] = {
    "standard": Mix(),
    "by-length": Mix(counts=((4, 18), (5, 132)), lengths=(2, 12), by="length"),
    "hard": Mix(counts=((5, 100),), lengths=(10, 99)),
    "six-blocks": Mix(counts=((6, 100),)),
    "eight-blocks": Mix(counts=((8, 50),)),
}
"""Sets by name. Training has at most 5 blocks: the last two ask for more than was ever seen."""


def draw_problems(
    mix: Mix | str = "standard",
    *,
    part: Part = "test",
    notation: Callable[[Sequence[str]], Notation] = Compact,
    names: Sequence[str] = NAMES,
    seed: int = 0,
) -> list[BlocksworldProblem]:
    """The problems of a mix, those with fewest blocks first, each with its optimal length.

    A problem of n blocks takes n of `names` at random, in their order. `part` says whether classes are met in training
    (see `part_of`); it is a property of the class, so sets of different seeds share classes.

    Raises:
        ValueError: an unknown mix, too few names, or too few problems of a size and length in this part.
    """
    if isinstance(mix, str):
        if mix not in MIXES:
            raise ValueError(f"there is no mix {mix!r}; there are {', '.join(MIXES)}")
        mix = MIXES[mix]
    problems = []
    for n_blocks, count in mix.counts:
        if n_blocks > len(names):
            raise ValueError(f"{n_blocks} blocks need as many names, got {len(names)}")
        rng = numpy_rng("blocksworld-problems", part, n_blocks, seed)
        found = list(itertools.islice(_spread(_distinct(_stream(n_blocks, part, mix, rng), mix), mix, count), count))
        if len(found) < count:
            raise ValueError(f"part {part!r} has only {len(found)} of {count} such problems with {n_blocks} blocks")
        for number, drawn in enumerate(found):
            chosen = sorted(rng.choice(len(names), n_blocks, replace=False))
            world = Blocksworld(drawn.goal, notation([names[int(i)] for i in chosen]))
            problems.append(Problem(world, drawn.start, f"{n_blocks}-blocks-{number:03}", drawn.length))
    return problems


def random_state(n_blocks: int, rng: np.random.Generator) -> BlocksworldState:
    """A state with an empty hand, uniform over all of them, for any number of blocks.

    With k stacks there are n! / k! C(n - 1, k - 1) of them: orders of the blocks cut into k pieces.
    """
    ways = [math.comb(n_blocks - 1, k - 1) / math.factorial(k) for k in range(1, n_blocks + 1)]
    k = 1 + rng.choice(n_blocks, p=np.array(ways) / sum(ways))
    cuts = 1 + np.sort(rng.choice(n_blocks - 1, k - 1, replace=False)) if k > 1 else []
    return from_stacks([stack.tolist() for stack in np.split(rng.permutation(n_blocks), cuts)])


def _stream(n_blocks: int, part: Part, mix: Mix, rng: np.random.Generator) -> Iterator[_Drawn]:
    """Problems of a size, part and range of lengths, uniformly: without replacement where they are tabulated."""
    low, high = mix.lengths
    if n_blocks <= MAX_BLOCKS:
        table, space = problem_table(n_blocks), state_space(n_blocks)
        rows = np.argwhere(table.in_part(part) & (table.lengths >= low) & (table.lengths <= high))
        for start, goal in rng.permutation(rows):
            length, kind = int(table.lengths[start, goal]), int(table.classes[start, goal])
            yield _Drawn(space.state(start), table.goal(goal), length, kind)
        return
    for _ in range(100_000):
        start, goal = random_state(n_blocks, rng), goal_of(random_state(n_blocks, rng))
        if goal.atoms() and part_of(start, goal) == part and low <= (length := Oracle(goal).distance(start)) <= high:
            yield _Drawn(start, goal, length, canonical(start, goal))


def _distinct(stream: Iterator[_Drawn], mix: Mix) -> Iterator[_Drawn]:
    """The first of each class."""
    seen = set()
    for drawn in stream:
        if not (mix.distinct and drawn.kind in seen):
            seen.add(drawn.kind)
            yield drawn


def _spread(stream: Iterator[_Drawn], mix: Mix, count: int) -> Iterator[_Drawn]:
    """In turn one of each length, as long as there are any, of the first problems (at most 50 times `count`)."""
    if mix.by == "problem":
        yield from stream
        return
    by_length: dict[int, list[_Drawn]] = {}
    for drawn in itertools.islice(stream, 50 * count):
        by_length.setdefault(drawn.length, []).append(drawn)
    for row in itertools.zip_longest(*(by_length[length] for length in sorted(by_length))):
        yield from (drawn for drawn in row if drawn is not None)
