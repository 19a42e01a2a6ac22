"""Training sequences for one small model that plans, predicts states and judges actions in Blocksworld.

The data of a policy, a world model and a self-evaluation, which Reasoning via Planning (Hao et al. 2023, arXiv
2305.14992) asks one language model for. Shapes: B sequences, T positions, n blocks (the most), V words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from elegans.tasks.base import Batch
from elegans.tasks.blocksworld.classes import MAX_BLOCKS
from elegans.tasks.blocksworld.instances import NAMES
from elegans.tasks.blocksworld.notation import END
from elegans.tasks.blocksworld.sequence_tables import SequenceTables
from elegans.tasks.blocksworld.state import ANYWHERE, OPERATORS, TABLE
from elegans.tasks.blocksworld.words import BAD, GOOD, Words
from elegans.tasks.stream import StreamTask, sequences

KINDS = ("policy", "world_model", "self_evaluation")

_BITS = (np.arange(2**MAX_BLOCKS)[:, None] >> np.arange(MAX_BLOCKS)) & 1
"""[2^n, n] the columns that a bit mask of actions names."""


class BlocksworldSequences(StreamTask):
    """Optimal plans, effects of actions, and judgments of actions, in the forms of `elegans.tasks.blocksworld.words`.

    policy
        Start with an empty hand and goal, uniform over the problems of classes that are not held out. A share
        `advanced` starts in a later hand-empty state of the same plan, unless that problem is of another part. The plan
        is drawn uniformly step by step among optimal actions. A share `mistaken` has a random legal action first, which
        is not scored, and goes on optimally from there. A share `cut` ends after four actions, without ``E``. Scored:
        the other actions, and ``E`` where it stands.
    world_model
        Any state (empty and full hands equally often) and a legal action. Scored: the next state and ``E``.
    self_evaluation
        What a search meets: a hand-empty state on optimal plans from all starts, with a goal; for half of the items one
        action (80 % optimal, else random), shown as in a policy's prompt; and a random legal action. Drawn anew until
        ``good`` (it lowers the distance to the goal) and ``bad`` are equally frequent. Scored: the answer.

    Splits: ``train``, and one of each kind (``policy``, ...) whose problems are of the part ``dev``; a world model has
    no goal, so no problem is held out there.

    Args:
        blocks: the numbers of blocks (3 to 5) with their shares of the items.
        names: a problem of n blocks takes n of these at random, in their order.
        mix: shares of policy, world model and self-evaluation in ``train``.
        advanced: share of policy items that start later in a plan.
        mistaken: share of policy items that begin with a random action.
        cut: share of policy items with at most four actions.
        answer_weight: weight of a self-evaluation's answer in `token_weights`.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples.

    Attributes:
        words: the vocabulary.
        token_weights: [V] weight of each word as a target, 1 but for the answers. The weighted mean over scored tokens
            is ``cross_entropy(logits.flatten(0, 1), targets.flatten(), weight=token_weights, ignore_index=IGNORE)``.
    """

    address = "blocksworld-sequences"
    splits = ("train", *KINDS)

    def __init__(
        self,
        *,
        blocks: Mapping[int, float] = {3: 0.1, 4: 0.3, 5: 0.6},
        names: Sequence[str] = NAMES,
        mix: tuple[float, float, float] = (0.55, 0.15, 0.30),
        advanced: float = 0.3,
        mistaken: float = 0.2,
        cut: float = 0.35,
        answer_weight: float = 4.0,
        n_eval: int = 512,
        seed: int = 0,
    ) -> None:
        for name, share in {"advanced": advanced, "mistaken": mistaken, "cut": cut}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1, got {share}")
        if len(mix) != 3 or min(mix) < 0 or sum(mix) == 0:
            raise ValueError(f"mix must be three shares, got {mix}")
        if not blocks or min(blocks.values()) < 0 or sum(blocks.values()) == 0:
            raise ValueError(f"blocks must be numbers of blocks with their shares, got {dict(blocks)}")
        if max(blocks) > len(names):
            raise ValueError(f"{max(blocks)} blocks need as many names, got {len(names)}")
        self.words = Words(names)
        self.advanced, self.mistaken, self.cut = advanced, mistaken, cut
        self._mix = np.cumsum(mix) / sum(mix)
        self._tables = SequenceTables(sorted(blocks))
        if any((np.diff(items.edges) == 0).any() for items in self._tables.problems):
            raise ValueError("with 2 blocks there are too few problems to hold some out")
        self._sizes = np.cumsum([blocks[n] for n in sorted(blocks)]) / sum(blocks.values())
        self.token_weights: Float[Tensor, " V"] = torch.ones(len(self.words))
        self.token_weights[[self.words.token(GOOD), self.words.token(BAD)]] = answer_weight
        super().__init__(len(self.words), n_eval=n_eval, seed=seed)

    def chance(self, split: str) -> Mapping[str, float]:
        """`nll` of a uniform guess among all words (of two, for self-evaluations); there also `accuracy` of one answer."""
        if split != "self_evaluation":
            return {"nll": self._uniform_nll(split)}
        targets = self.dataset(split).targets
        good = (targets == self.words.token(GOOD)).any(1).double().mean().item()
        return {"nll": math.log(2), "accuracy": max(good, 1 - good)}

    # ------------------------------------------------------------------------------------------------ drawing

    def _draw(self, split: str, size: int, step: int, rng: np.random.Generator) -> Batch:
        kind = (rng.random(size)[:, None] > self._mix[:-1]).sum(1) if split == "train" else KINDS.index(split)
        kind = np.broadcast_to(kind, size)
        sizes = (rng.random(size)[:, None] > self._sizes[:-1]).sum(1)
        tables, part = self._tables, int(split != "train")
        problem = tables.pick(tables.problems[part], sizes, rng)
        names = self._names(tables.n_blocks[sizes], rng)

        grid = np.zeros((size, tables.width), dtype=np.int64)
        scored = np.zeros(grid.shape, dtype=bool)
        writers = (self._write_policies, self._write_transitions, self._write_judgments)
        for number, write in enumerate(writers):
            rows = np.flatnonzero(kind == number)
            if len(rows):
                grid[rows], scored[rows] = write(problem[rows], sizes[rows], names[rows], part, rng)
        order = np.argsort(grid == 0, axis=1, kind="stable")[:, : (grid != 0).sum(1).max()]
        return sequences(np.take_along_axis(grid, order, 1), np.take_along_axis(scored, order, 1))

    def _names(self, n_blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[B, n] tokens of the names of the blocks, ascending, padded."""
        count = len(self.words.names)
        rank = rng.random((len(n_blocks), count)).argsort(1).argsort(1)
        chosen = np.sort(np.where(rank < n_blocks[:, None], np.arange(count), count), axis=1)[:, : self._tables.n]
        return np.where(chosen < count, chosen + self.words.token(self.words.names[0]), 0)

    def _write_policies(
        self, problem: np.ndarray, sizes: np.ndarray, names: np.ndarray, part: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        tables, size = self._tables, len(problem)
        advanced, mistaken, cut, where = rng.random((4, size))
        state, goal = tables.starts[problem], tables.goals[problem]
        later = np.where(
            advanced < self.advanced, 2 + 2 * (where * (tables.length(state, goal) // 2 - 1)).astype(int), 0
        )
        later = np.where(later < tables.length(state, goal), later, 0)
        mistake = np.where(mistaken < self.mistaken, later, -1)

        steps = tables.longest + 2
        lots = rng.random((steps, size, tables.n))
        states, columns = np.empty((steps, size), dtype=np.int64), np.full((steps, size), -1)
        for t in range(steps):
            row = tables.row(state, goal)
            other = (later == t) & (t > 0) & (tables.part[row] != part)
            later, mistake = np.where(other, 0, later), np.where(other, -1, mistake)
            good = tables.good[row]
            masks = np.where(mistake == t, tables.legal[state], good)
            if not masks.any():
                break
            chosen = (lots[t] * _BITS[masks, : tables.n]).argmax(1)
            states[t], columns[t] = state, np.where(masks, chosen, -1)
            state = np.where(masks, tables.successors[state, chosen], state)

        each = np.arange(size)
        time = np.arange(steps)[:, None]
        taken = (columns >= 0) & (time >= later) & ~((cut < self.cut) & (time >= later + 4))
        actions = self._actions(np.where(taken, states, 0), np.where(taken, columns, 0), names) * taken[..., None]
        ends = taken.sum(0) == ((columns >= 0) & (time >= later)).sum(0)
        prompt = self._shown("S", tables.below[states[later, each]], tables.wants[goal], names)
        words = np.column_stack([prompt, self._constant("P", size), actions.transpose(1, 0, 2).reshape(size, -1)])
        scored = np.repeat((taken & (time != mistake)).T, 3, axis=1)
        prompted = np.zeros((size, prompt.shape[1] + 1), dtype=bool)
        end = np.where(ends, self.words.token(END), 0)
        return self._fit(np.column_stack([words, end]), np.column_stack([prompted, scored, ends]))

    def _write_transitions(
        self, problem: np.ndarray, sizes: np.ndarray, names: np.ndarray, part: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        tables, size = self._tables, len(problem)
        full = rng.random(size) < 0.5
        low, high = np.where(full, tables.full[:, sizes], tables.free[:, sizes])
        state = low + (rng.random(size) * (high - low)).astype(int)
        column = (rng.random((size, tables.n)) * _BITS[tables.legal[state], : tables.n]).argmax(1)
        before, after = (self._pairs(tables.below[s], names) for s in (state, tables.successors[state, column]))
        prompt = np.column_stack([
            self._constant("W", size), before, self._constant("A", size),
            self._actions(state, column, names), self._constant("N", size),
        ])  # fmt: skip
        words = np.column_stack([prompt, after, self._constant(END, size)])
        return self._fit(words, np.broadcast_to(np.arange(words.shape[1]) >= prompt.shape[1], words.shape))

    def _write_judgments(
        self, problem: np.ndarray, sizes: np.ndarray, names: np.ndarray, part: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        tables, size = self._tables, len(problem)
        is_good, buffered = rng.random((2, size)) < 0.5
        problem, first, state, column = np.zeros((4, size), dtype=np.int64)
        rows = np.arange(size)
        while len(rows):  # until each item has the answer it should
            problem[rows] = tables.pick(tables.on_plans[part], sizes[rows], rng)
            lots = rng.random((2, len(rows), tables.n))
            start, goal = tables.starts[problem[rows]], tables.goals[problem[rows]]
            masks = np.where(rng.random(len(rows)) < 0.8, tables.good[tables.row(start, goal)], tables.legal[start])
            first[rows] = (lots[0] * _BITS[masks, : tables.n]).argmax(1)
            state[rows] = np.where(buffered[rows], tables.successors[start, first[rows]], start)
            column[rows] = (lots[1] * _BITS[tables.legal[state[rows]], : tables.n]).argmax(1)
            lowers = tables.good[tables.row(state[rows], goal)] >> column[rows] & 1
            rows = rows[lowers != is_good[rows]]
        start, goal = tables.starts[problem], tables.goals[problem]
        prompt = np.column_stack([
            self._shown("Q", tables.below[start], tables.wants[goal], names),
            self._actions(start, first, names) * buffered[:, None], self._constant("A", size),
            self._actions(state, column, names), self._constant("V", size),
        ])  # fmt: skip
        words = np.column_stack([prompt, np.where(is_good, self.words.token(GOOD), self.words.token(BAD))])
        return self._fit(words, np.broadcast_to(np.arange(words.shape[1]) >= prompt.shape[1], words.shape))

    # ------------------------------------------------------------------------------------------------ words

    def _fit(self, words: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Widened to the width of the grid; a padded place is not scored."""
        missing = ((0, 0), (0, self._tables.width - words.shape[1]))
        return np.pad(words, missing), np.pad(scored & (words != 0), missing)

    def _constant(self, word: str, size: int) -> np.ndarray:
        return np.full(size, self.words.token(word))

    def _actions(self, state: np.ndarray, column: np.ndarray, names: np.ndarray) -> np.ndarray:
        """[..., B, 3] tokens of the action of a column, the third padded where it names one block."""
        operator, block, other = np.moveaxis(self._tables.actions[state, column], -1, 0)
        each = np.arange(len(names))
        named = np.stack([names[each, block], np.where(other >= 0, names[each, other], 0)], axis=-1)
        return np.concatenate([operator[..., None] + self.words.token(OPERATORS[0]), named], axis=-1)

    def _pairs(self, below: np.ndarray, names: np.ndarray) -> np.ndarray:
        """[B, 2 n] tokens of a state in compact words."""
        each = np.arange(len(names))[:, None]
        places = np.where(below == TABLE, self.words.token("table"), self.words.token("hand"))
        places = np.where(below >= 0, names[each, below], places) * (names > 0)
        return np.stack([names, places], axis=2).reshape(len(names), -1)

    def _shown(self, word: str, below: np.ndarray, wants: np.ndarray, names: np.ndarray) -> np.ndarray:
        """[B, 1 + n] a word and the relational words of a problem."""
        words, count = self.words, len(self.words.names)
        each, name = np.arange(len(names))[:, None], names - words.token(words.names[0])
        on = np.where(below == TABLE, count, name[each, below])
        wanted = np.where(wants == ANYWHERE, count + 1, np.where(wants == TABLE, count, name[each, wants]))
        tokens = words.n_plain + (name * (count + 1) + on) * (count + 2) + wanted
        return np.column_stack([self._constant(word, len(names)), np.where(names > 0, tokens, 0)])
