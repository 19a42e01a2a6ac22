"""Blocksworld as tokens for small models: compact words, and relational words that each tell all about one block.

The relational word ``a:b:none`` says that a is on b and that the goal says nothing of a. An embedding that is the sum of
one vector for each of the three facts needs few parameters for the many words; `Words.factor_table` says which.

Sequences, with s a state in compact pairs, r relational words in the order of the names, and [b] the buffered action of
a block in the hand, if any:

================ ===========================================
policy           ``S r.. P [b] action action ... E``
world model      ``W s A action N s' E``
self-evaluation  ``Q r.. [b] A action V good`` (or ``bad``)
================ ===========================================

Shapes: V words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

from elegans.tasks.blocksworld.instances import NAMES
from elegans.tasks.blocksworld.notation import END, Compact
from elegans.tasks.blocksworld.state import ANYWHERE, HAND, OPERATORS, TABLE, Action, BlocksworldState, Goal
from elegans.tasks.blocksworld.world import Blocksworld, BufferedState

PAD, GOOD, BAD = "_", "good", "bad"


class Words:
    """The vocabulary over some names of blocks; by default six, with 23 plain and 336 relational words.

    Attributes:
        words: the V words; a token is an index into them. The first is padding.
        n_plain: the plain words come first, they are all that is ever predicted.
        factor_table: [V, 3] the factors that each word is the sum of; 0 stands for nothing (and for padding). A plain
            word is a factor of its own, in the first column. A relational word is the plain word of its block, a factor
            for what the block is on and a factor for what is wanted.
        n_factors: factors are numbered 0 .. `n_factors` - 1.
    """

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self.names = Compact(names).names
        plain = [PAD, END, *"SPWANQV", GOOD, BAD, "table", "hand", *OPERATORS, *self.names]
        if len(set(plain)) < len(plain):
            raise ValueError(f"a block has the name of another word: {', '.join(self.names)}")
        self.n_plain = len(plain)
        supports, wishes = (*self.names, "table"), (*self.names, "table", "none")
        relational = [f"{x}:{on}:{wanted}" for x in self.names for on in supports for wanted in wishes]
        self.words = (*plain, *relational)
        self._index = {word: token for token, word in enumerate(self.words)}
        self.factor_table: Int[np.ndarray, "V 3"] = np.zeros((len(self.words), 3), dtype=np.int64)
        self.factor_table[: self.n_plain, 0] = np.arange(self.n_plain)
        grid = np.indices((len(self.names), len(supports), len(wishes))).reshape(3, -1).T
        first = [self._index[self.names[0]], self.n_plain, self.n_plain + len(supports)]
        self.factor_table[self.n_plain :] = grid + first
        self.n_factors = self.n_plain + len(supports) + len(wishes)

    def __len__(self) -> int:
        return len(self.words)

    def token(self, word: str) -> int:
        """The token of a word. Raises `ValueError` for another word."""
        if word not in self._index:
            raise ValueError(f"{word!r} is not a word of this vocabulary")
        return self._index[word]

    def encode(self, text: str) -> list[int]:
        """The tokens of words with spaces between. Raises `ValueError` for another word."""
        return [self.token(word) for word in text.split()]

    def decode(self, tokens: Iterable[int]) -> str:
        """The words of tokens, without padding."""
        return " ".join(self.words[token] for token in tokens if token != 0)


def relational(state: BlocksworldState, goal: Goal, names: Sequence[str]) -> str:
    """One word per block. Raises `ValueError` for a full hand, which has no such word."""
    if state.held is not None:
        raise ValueError("relational words show states with an empty hand; show the last one and the action since then")
    place = {TABLE: "table", HAND: "hand", ANYWHERE: "none"}
    words = [
        f"{name}:{place.get(on) or names[on]}:{place.get(wanted) or names[wanted]}"
        for name, on, wanted in zip(names, state.below, goal.wants, strict=True)
    ]
    return " ".join(words)


def policy_prompt(world: Blocksworld, state: BufferedState) -> str:
    """What the next action, as `Compact` writes it, or the word ``E`` follows."""
    compact = Compact(world.notation.names)
    shown = relational(state.refreshed, world.goal, compact.names)
    return " ".join(("S", shown, "P", *map(compact.action, state.buffer)))


def self_evaluation_prompt(world: Blocksworld, state: BufferedState, action: Action) -> str:
    """What ``good`` or ``bad`` follows: does the action lower the distance to the goal?"""
    compact = Compact(world.notation.names)
    shown = relational(state.refreshed, world.goal, compact.names)
    return " ".join(("Q", shown, *map(compact.action, state.buffer), "A", compact.action(action), "V"))


def world_model_prompt(world: Blocksworld, state: BlocksworldState, action: Action) -> str:
    """What the next state and the word ``E`` follow; `Compact.parse_state` reads the state."""
    compact = Compact(world.notation.names)
    return f"W {compact.state(state)} A {compact.action(action)} N"
