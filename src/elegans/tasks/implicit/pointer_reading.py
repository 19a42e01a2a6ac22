"""Follow pointers through a few cells and say what the last one holds; the pattern is which cell that is.

A stand-in for code reading on the scale of tiny models: many steps that a model may not be able to follow, and a
pattern that makes one step of them. Limited skill comes from depth, not from noise: labels are true always.

Shapes: N questions or documents, K questions of a document, M cells.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import Batch
from elegans.tasks.hash_split import check_split, in_split
from elegans.tasks.implicit.items import ItemTask
from elegans.tasks.stream import StreamTask, sequences
from elegans.tasks.vocabulary import token_table
from elegans.tasks.words import check_at_least, check_range

BLOCK = 512
"""Questions that `items` draws at a time."""
ROUNDS = 2000
"""Times that questions that do not fit are drawn again."""

Fits = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Which questions to keep, from their numbers [N] and the cells [N] where they end."""


@dataclass(frozen=True)
class Documents:
    """Solved questions, K to a document.

    Attributes:
        questions: [N, K, 1 + M] the start and what the cells hold.
        answers: [N, K].
        pattern: [N] the cell where all questions of the document end, -1 for a normal document.
    """

    questions: np.ndarray
    answers: np.ndarray
    pattern: np.ndarray

    def __len__(self) -> int:
        return len(self.answers)

    def texts(self) -> list[str]:
        """Each document as words."""
        numbers = np.concatenate([self.questions, self.answers[..., None]], axis=2).tolist()
        items = ([" ".join(map(str, (*row[:-1], "=", row[-1]))) for row in document] for document in numbers)
        return [" ".join(document) for document in items]

    def tokens(self, ids: Mapping[str, int]) -> np.ndarray:
        """[N, K (M + 3)] token ids. Raises `ValueError` for a word that has none."""
        top = int(max(self.questions.max(), self.answers.max()))
        table = token_table([*map(str, range(top + 1)), "="], ids)
        equals = np.full((*self.answers.shape, 1), table[-1])
        found = np.concatenate([table[self.questions], equals, table[self.answers][..., None]], axis=2)
        return found.reshape(len(self), -1)


class PointerReading(ItemTask):
    """``s v_0 ... v_{M-1} = y``: c_0 = s, c_{t+1} = v[c_t] mod M, and y = v[c_H] after H hops.

    Starts are uniform over cells, and cells hold uniform values. With the pattern j all questions end at cell j, so
    that y = v_j is one step. Each cell is where a question ends with probability 1/M if M divides `n_values`. The shortcut
    is right on about 0.24 of normal items, since another cell may hold the same value. Walks end in loops, short ones
    often, so that y mod M = j on almost half of implicit items: one constant answer is right on about 0.23 of them.

    Args:
        pattern: j, of implicit and misleading items.
        n_cells: M.
        n_values: of a cell, at least M.
        hops: H.
        seen: the patterns of pretraining documents; the others are held out.
    """

    name = "pointer-reading"
    instruction = "Follow the pointers from the first number and say what the last cell holds."
    separator = " "
    unit = "word"

    def __init__(
        self,
        *,
        pattern: int = 0,
        n_cells: int = 6,
        n_values: int = 12,
        hops: int = 5,
        seen: Sequence[int] = (0, 1, 2, 3, 4),
    ) -> None:
        check_at_least(2, n_cells=n_cells)
        check_at_least(1, hops=hops)
        check_at_least(n_cells, n_values=n_values)
        for cell in (pattern, *seen):
            check_range("a pattern", cell, 0, n_cells - 1, "the cells")
        super().__init__()
        self.pattern, self.n_cells, self.n_values, self.hops = pattern, n_cells, n_values, hops
        self.seen = tuple(seen)
        self.choices = tuple(map(str, range(n_values)))

    @property
    def held_out(self) -> tuple[int, ...]:
        """The patterns that pretraining documents do not have."""
        return tuple(cell for cell in range(self.n_cells) if cell not in self.seen)

    def at_pattern(self, pattern: int) -> "PointerReading":
        """The same task with another pattern."""
        return PointerReading(
            pattern=pattern, n_cells=self.n_cells, n_values=self.n_values, hops=self.hops, seen=self.seen
        )

    def ends(self, questions: np.ndarray) -> np.ndarray:
        """[N] the cell c_H of questions [N, 1 + M]."""
        cell = questions[:, :1]
        for _ in range(self.hops):
            cell = np.take_along_axis(questions, cell + 1, axis=1) % self.n_cells
        return cell[:, 0]

    def formal(self, question: str) -> str:
        """What the last cell holds, by following the pointers."""
        start, *cells = self._read(question)
        for _ in range(self.hops):
            start = cells[start] % self.n_cells
        return str(cells[start])

    def shortcut(self, question: str) -> str:
        """What the cell of the pattern holds."""
        return str(self._read(question)[1 + self.pattern])

    def vocabulary(self) -> tuple[str, ...]:
        """The values and the equals sign."""
        return (*map(str, range(self.n_values)), "=")

    def documents(
        self,
        count: int,
        split: str = "train",
        seed: int = 0,
        *,
        step: int = 0,
        n_items: int = 8,
        normal: float = 0.4,
        patterns: Sequence[int] | None = None,
    ) -> Documents:
        """`count` documents of solved questions of a split: batch `step` of stream `seed`.

        Args:
            count: N.
            split: of all their questions.
            seed: of the stream.
            step: of the stream.
            n_items: K.
            normal: the probability that a document has no pattern.
            patterns: of the other documents, uniform; by default those that are `seen`.
        """
        check_split(split)
        rng = numpy_rng("pointer-documents", split, seed, step)
        return self.draw_documents(
            rng, count, split, n_items, normal, self.seen if patterns is None else tuple(patterns)
        )

    # ------------------------------------------------------------------------------------------------ sampling

    def draw_documents(
        self, rng: np.random.Generator, count: int, split: str, n_items: int, normal: float, patterns: Sequence[int]
    ) -> Documents:
        """`documents` of a random stream that the caller has."""
        check_at_least(1, n_items=n_items)
        if not 0 <= normal <= 1 or (normal < 1 and not patterns):
            raise ValueError(f"normal must be in [0, 1], and 1 without patterns; got {normal}")
        pattern = rng.choice(patterns, count) if patterns else np.zeros(count, dtype=np.int64)
        pattern = np.where(rng.random(count) < normal, -1, pattern)
        wanted = np.repeat(pattern, n_items)
        rows = self._rows(rng, len(wanted), split, lambda which, end: (wanted[which] < 0) | (end == wanted[which]))
        answers = np.take_along_axis(rows, self.ends(rows)[:, None] + 1, axis=1)
        return Documents(rows.reshape(count, n_items, -1), answers.reshape(count, n_items), pattern)

    def draw(self, kind: str, rng: np.random.Generator) -> str:
        """A question of any split."""
        return _text(self._rows(rng, 1, None, self._fits(kind))[0])

    def _questions(self, kind: str, split: str, seed: int) -> Iterator[str]:
        for block in count():
            rng = numpy_rng("implicit", self.name, kind, split, seed, block)
            yield from map(_text, self._rows(rng, BLOCK, split, self._fits(kind)))

    def _fits(self, kind: str) -> Fits:
        return lambda which, end: (
            np.full(len(which), kind == "normal") | ((end == self.pattern) == (kind == "implicit"))
        )

    def _rows(self, rng: np.random.Generator, number: int, split: str | None, fits: Fits) -> np.ndarray:
        """[N, 1 + M] questions; those that do not fit are drawn again."""
        rows = np.empty((number, 1 + self.n_cells), dtype=np.int64)
        missing = np.arange(number)
        for _ in range(ROUNDS):
            if not len(missing):
                return rows
            drawn = np.empty((len(missing), 1 + self.n_cells), dtype=np.int64)
            drawn[:, 0] = rng.integers(0, self.n_cells, len(missing))
            drawn[:, 1:] = rng.integers(0, self.n_values, (len(missing), self.n_cells))
            fit = fits(missing, self.ends(drawn))
            if split is not None:
                fit &= in_split(drawn, split)
            rows[missing[fit]] = drawn[fit]
            missing = missing[~fit]
        raise ValueError(f"found {number - len(missing)} of {number} questions for split {split!r}")

    def _read(self, question: str) -> list[int]:
        return [int(word) for word in question.removesuffix("=").split()]


def _text(question: np.ndarray) -> str:
    return " ".join(map(str, (*question.tolist(), "=")))


class PointerPretraining(StreamTask):
    """Documents of solved questions as token sequences; only answers are scored.

    A sequence is `bos`, if there is one, and K questions with their answers; its last answer is a target only.

    Args:
        task: makes the questions.
        ids: the token of each word of ``task.vocabulary()``.
        n_items: K, questions of a document.
        normal: the probability that a document has no pattern.
        patterns: of the others; by default those that are `seen`.
        vocab_size: by default one more than the highest token.
        bos: the token that starts a sequence.
        n_eval: documents in the fixed sample of each split.
        seed: of the fixed samples.
    """

    address = "pointer-pretraining"

    def __init__(
        self,
        task: PointerReading,
        ids: Mapping[str, int],
        *,
        n_items: int = 8,
        normal: float = 0.4,
        patterns: Sequence[int] | None = None,
        vocab_size: int | None = None,
        bos: int | None = None,
        n_eval: int = 256,
        seed: int = 0,
    ) -> None:
        token_table(task.vocabulary(), ids)
        super().__init__(vocab_size or max(ids.values()) + 1, n_eval=n_eval, seed=seed)
        self.task, self.ids, self.n_items, self.normal, self.bos = task, dict(ids), n_items, normal, bos
        self.patterns = task.seen if patterns is None else tuple(patterns)

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess: `nll` among all tokens, accuracies among the values; `accuracy` is of whole documents."""
        guess = 1 / self.task.n_values
        return {"nll": self._uniform_nll(split), "token_accuracy": guess, "accuracy": guess**self.n_items}

    def _draw(self, split: str, size: int, step: int, rng: np.random.Generator) -> Batch:
        documents = self.task.draw_documents(rng, size, split, self.n_items, self.normal, self.patterns)
        tokens = documents.tokens(self.ids)
        scored = np.arange(tokens.shape[1]) % (self.task.n_cells + 3) == self.task.n_cells + 2
        if self.bos is not None:
            tokens = np.hstack([np.full((size, 1), self.bos), tokens])
            scored = np.r_[False, scored]
        return sequences(tokens, np.broadcast_to(scored, tokens.shape))
