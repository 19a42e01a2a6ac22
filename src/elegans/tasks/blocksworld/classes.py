"""Problems up to renaming of blocks, and a division of these classes that keeps whole classes out of training.

A model that has seen every class of start and goal under other names would only have to rename.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from elegans.tasks.blocksworld.space import hand_empty, state_space
from elegans.tasks.blocksworld.state import ANYWHERE, BlocksworldState, Goal
from elegans.tasks.words import check_range

Part = Literal["train", "dev", "test"]
PARTS: tuple[Part, ...] = ("train", "dev", "test")

TEST_SHARE, DEV_SHARE = 0.1, 0.1
"""Of the classes: what is reported on, and what settings may be chosen on. Neither is trained on."""

MAX_BLOCKS = 5
"""Classes of all problems are tabulated up to so many blocks (250500 problems); any one problem's, for more."""


def canonical(start: BlocksworldState, goal: Goal) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What all renamings of a problem have in common: the heights of the stacks and the least goal among renamings.

    Blocks are numbered from the bottom of the highest stack up, then on to the next; where stacks are equally high,
    every order is tried. Raises `ValueError` unless the hand is empty.
    """
    if start.held is not None:
        raise ValueError("a class is defined for starts with an empty hand")
    stacks = sorted(start.stacks(), key=len, reverse=True)
    groups = [list(group) for _, group in itertools.groupby(stacks, key=len)]
    least = None
    for orders in itertools.product(*map(itertools.permutations, groups)):
        blocks = [block for order in orders for stack in order for block in stack]
        number = {block: new for new, block in enumerate(blocks)}
        wants = tuple(number.get(goal.wants[block], goal.wants[block]) for block in blocks)
        least = wants if least is None else min(least, wants)
    assert least is not None
    return tuple(map(len, stacks)), least


def place(start: BlocksworldState, goal: Goal) -> float:
    """A number in [0, 1) that depends on the class alone, by a hash; uniform over classes."""
    digest = hashlib.blake2b(repr(canonical(start, goal)).encode(), digest_size=8, person=b"deal").digest()
    return int.from_bytes(digest, "little") / 2**64


def part_of(start: BlocksworldState, goal: Goal) -> Part:
    """The part that a problem's class belongs to."""
    return PARTS[int(_part_index(np.array(place(start, goal))))]


@dataclass(frozen=True, eq=False)
class ProblemTable:
    """Every problem of n blocks: F starts with an empty hand, G goals, that is each state's on-atoms, if it has any.

    Attributes:
        wants: [G, n] as in `Goal`.
        lengths: [F, G] of the shortest plans, 0 where the goal holds at the start.
        classes: [F, G] number of the class; problems of one class differ by the names of the blocks.
        places: [C] of each class, see `place`.
    """

    wants: Int[np.ndarray, "G n"]
    lengths: Int[np.ndarray, "F G"]
    classes: Int[np.ndarray, "F G"]
    places: Float[np.ndarray, " C"]

    def goal(self, column: int | np.integer) -> Goal:
        """The goal of a column."""
        return Goal(tuple(self.wants[column].tolist()))

    def in_part(self, part: Part) -> Bool[np.ndarray, "F G"]:
        """Which problems with something to do belong to a part."""
        return (_part_index(self.places) == PARTS.index(part))[self.classes] & (self.lengths > 0)


@functools.cache
def problem_table(n_blocks: int) -> ProblemTable:
    """The problems of 2 to 5 blocks, built once (0.2 s for 5)."""
    check_range("n_blocks", n_blocks, 2, MAX_BLOCKS, "the largest table of classes")
    space, free = state_space(n_blocks), hand_empty(n_blocks).astype(np.int64)
    goals = np.flatnonzero((free >= 0).any(1))
    wants = np.where(free >= 0, free, ANYWHERE)[goals]
    lengths = space.distances(wants)[: space.n_free].astype(np.int64)

    least = np.full(lengths.shape, len(free) ** 2)
    for names in itertools.permutations(range(n_blocks)):
        renamed = np.empty_like(free)
        renamed[:, names] = np.where(free >= 0, np.array(names)[free], free)
        rows = space.rows(renamed)
        np.minimum(least, rows[:, None] * len(free) + rows[goals], out=least)
    keys, classes = np.unique(least, return_inverse=True)
    starts, wanted = np.divmod(keys, len(free))
    places = [
        place(space.state(start), Goal(tuple(np.where(free[goal] >= 0, free[goal], ANYWHERE).tolist())))
        for start, goal in zip(starts, wanted, strict=True)
    ]
    return ProblemTable(wants, lengths, classes.reshape(lengths.shape), np.array(places))


def _part_index(places: np.ndarray) -> np.ndarray:
    return np.where(places < TEST_SHARE, 2, np.where(places < TEST_SHARE + DEV_SHARE, 1, 0))
