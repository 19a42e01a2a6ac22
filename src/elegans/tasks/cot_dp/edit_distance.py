"""The edit distance of two strings.

Source: Feng et al. 2023 (arXiv 2305.15408). Shapes: N problems, P tokens of a prompt, L letters of a string.
"""

import numpy as np

from elegans.tasks.cot_dp.base import FIRST, PAD, SEP, DynamicProgram, Problems, View
from elegans.tasks.stream import concatenate, constant
from elegans.tasks.words import check_at_least, check_range

SUBSTITUTE, SHIFT = 3, 2
"""Costs of replacing a letter, and of inserting or deleting one inside the table. At its border each costs 1."""


class EditDistance(DynamicProgram):
    """``a | b = M_11 .. M_1m , M_21 .. M_2m , .. = M_nm``: the table of edit distances row by row, then its last cell.

    M_ij = min(M_{i-1,j} + 2, M_{i,j-1} + 2, M_{i-1,j-1} + 3 [a_i != b_j]), but M_i0 = i and M_0j = j: the source's border
    costs 1. Each problem uses a random subset of the letters, of uniform size in `letters_used`.

    Lengths as in the source: one string has n letters. With probability `p_related` the other is a copy after 1 to n
    random edits (delete, replace, insert), else independent of length n - 3 to n + 2; equal strings, and lengths outside
    these, are drawn again. The shorter one stands first. With `equal_length` both have n letters: with probability
    `p_related` b is a with each letter redrawn with probability `p_redraw`, else independent. Tables then have one size.

    A cell reads two letters of the question, so the problem is not local: `locality` = (|a| + 1) (|b| + 1) at most.

    Args:
        n: letters, at least 4 unless `equal_length`.
        n_letters: size of the alphabet.
        letters_used: least and greatest number of letters in one problem.
        equal_length: see above.
        p_related: see above.
        p_redraw: see above; only with `equal_length`.
        view: with the chain or the answer only, see `DynamicProgram`.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples and of the division into splits.
    """

    address = "edit-distance"

    def __init__(
        self,
        *,
        n: int = 12,
        n_letters: int = 26,
        letters_used: tuple[int, int] = (3, 10),
        equal_length: bool = False,
        p_related: float = 0.6,
        p_redraw: float = 0.4,
        view: View = "cot",
        n_eval: int = 512,
        seed: int = 0,
    ) -> None:
        check_at_least(1 if equal_length else 4, n=n)
        low, high = letters_used
        check_range("letters_used", low, 2, high, "its greatest number")
        check_range("letters_used", high, low, n_letters, "n_letters")
        for name, p in (("p_related", p_related), ("p_redraw", p_redraw)):
            if not 0 <= p <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {p}")
        self.n, self.n_letters, self.letters_used, self.equal_length = n, n_letters, letters_used, equal_length
        self.p_related, self.p_redraw = p_related, p_redraw
        self._longest = n if equal_length else n + 2
        self.bar, self.comma, self._zero = FIRST + n_letters, FIRST + n_letters + 1, FIRST + n_letters + 2
        # No cell exceeds 3 |a| + (|b| - |a|): replace along the diagonal, then walk the border.
        super().__init__(
            self._zero + SUBSTITUTE * n + self._longest - n + 1,
            prompt_length=n + self._longest + 2,
            chain_length=n * (self._longest + 1) + 1,
            view=view,
            n_eval=n_eval,
            seed=seed,
        )

    @property
    def locality(self) -> int:
        """From the last cell back to the last letter of a."""
        return (self.n + 1) * (self._longest + 1)

    def sample(self, rng: np.random.Generator, size: int) -> Problems:
        """Pairs of related and unrelated strings."""
        low, high = self.letters_used
        used = rng.integers(low, high + 1, size)[:, None]
        letters = rng.permuted(np.tile(np.arange(self.n_letters), (size, 1)), axis=1)
        if self.equal_length:
            a, b = self._equal_pairs(used, rng)
            a_lengths = b_lengths = np.full(size, self.n)
        else:
            a, a_lengths, b, b_lengths = self._pairs(used, rng)
        a, b = (np.take_along_axis(letters, each, axis=1) + FIRST for each in (a, b))
        pieces = [(a, a_lengths), (constant(size, self.bar), 1), (b, b_lengths), (constant(size, SEP), 1)]
        front = (constant(size, PAD).repeat(self.prompt_length, axis=1), self.prompt_length - a_lengths - b_lengths - 2)
        return self.solve(concatenate([front, *pieces], width=self.prompt_length, fill=PAD))

    def solve(self, prompts: np.ndarray) -> Problems:
        """The table by its definition."""
        row, size = np.arange(len(prompts)), len(prompts)
        begin, bar = (prompts != PAD).argmax(1), (prompts == self.bar).argmax(1)
        rows, columns = bar - begin, self.prompt_length - 2 - bar

        def letter(start: np.ndarray, place: int) -> np.ndarray:
            return prompts[row, np.minimum(start + place, self.prompt_length - 1)]

        above = np.tile(np.arange(self._longest + 1), (size, 1))
        answers, pieces = np.zeros(size, dtype=np.int64), []
        for i in range(1, rows.max(initial=0) + 1):
            cells = [np.full(size, i)]
            for j in range(1, self._longest + 1):
                unequal = letter(begin, i - 1) != letter(bar + 1, j - 1)
                shift = np.minimum(above[:, j], cells[-1]) + SHIFT
                cells.append(np.minimum(shift, above[:, j - 1] + SUBSTITUTE * unequal))
            above = np.stack(cells, axis=1)
            answers = np.where(rows == i, above[row, columns], answers)
            pieces += [(above[:, 1:] + self._zero, columns * (i <= rows)), (constant(size, self.comma), i <= rows)]
        pieces.append((constant(size, SEP), 1))
        chains = concatenate(pieces, width=self.n * (self._longest + 1) + 1, fill=PAD)
        return Problems(prompts, chains, answers[:, None] + self._zero)

    def _equal_pairs(self, used: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        size = len(used)
        a, b = (rng.integers(0, used, (size, self.n)) for _ in range(2))
        kept = (rng.random((size, 1)) < self.p_related) & (rng.random((size, self.n)) >= self.p_redraw)
        return a, np.where(kept, a, b)

    def _pairs(self, used: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """The shorter strings [N, L] with their lengths [N], then the longer ones."""
        size, width = len(used), 2 * self.n
        edits = rng.integers(1, self.n + 1, size)
        a, b = np.zeros((2, size, width), dtype=np.int64)
        lengths = np.zeros(size, dtype=np.int64)
        redo = np.arange(size)
        while len(redo):
            a[redo, : self.n] = rng.integers(0, used[redo], (len(redo), self.n))
            b[redo], lengths[redo] = self._partners(a[redo], edits[redo], used[redo], rng)
            same = (lengths[redo] == self.n) & (a[redo] == b[redo])[:, : self.n].all(1)
            redo = redo[same | (lengths[redo] < self.n - 3) | (lengths[redo] >= self.n + 3)]
        swap = lengths < self.n
        shorter, longer = (np.where(swap[:, None], *pair)[:, : self._longest] for pair in ((b, a), (a, b)))
        return shorter, np.minimum(lengths, self.n), longer, np.maximum(lengths, self.n)

    def _partners(
        self, a: np.ndarray, edits: np.ndarray, used: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        size, width = a.shape
        related = rng.random(size) < self.p_related
        lengths = np.where(related, self.n, rng.integers(self.n - 3, self.n + 3, size))
        b = np.where(related[:, None], a, rng.integers(0, used, (size, width)))
        column = np.arange(width)
        for done in range(self.n):
            kind = rng.integers(0, 3, size)
            delete, insert = (kind == 0) & (lengths > 2), (kind == 2) | ((kind == 0) & (lengths <= 2))
            place = rng.integers(0, lengths + insert)[:, None]
            letter = rng.integers(0, used[:, 0])
            source = column + (delete[:, None] & (column >= place)) - (insert[:, None] & (column > place))
            edited = np.take_along_axis(b, np.minimum(source, width - 1), axis=1)
            edited = np.where((column == place) & ~delete[:, None], letter[:, None], edited)
            active = related & (done < edits)
            b = np.where(active[:, None], edited, b)
            lengths = np.where(active, lengths + insert - delete.astype(int), lengths)
        return b, lengths
