"""Copying strings: the task on which models with a state of fixed size must fail at some length.

Source: Jelassi et al. 2024 (arXiv 2402.01032). Shapes: B batch, T positions, N examples, L characters of a string,
P tokens of a prompt, A of an answer.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from elegans.tasks.base import Batch
from elegans.tasks.stream import StreamTask, concatenate, constant, sequences
from elegans.tasks.words import check_at_least, check_range

if TYPE_CHECKING:
    import xarray as xr

Variant = Literal["copy", "prefix_ngram", "suffix_ngram"]
Layout = Literal["rows", "packed"]


class StringCopy(StreamTask):
    """A random string and its copy, ``$w|w.``, or what follows an n-gram in it.

    ============== ============= =====================================================================================
    variant        example       the answer is
    ============== ============= =====================================================================================
    copy           ``$w|w.``     the string w
    prefix_ngram   ``$g|w|a.``   all that follows the first occurrence of g in w; g stands in front of w
    suffix_ngram   ``$w|ga.``    the same; g follows the separator
    ============== ============= =====================================================================================

    The length of w is uniform from `min_length` to `max_length`, its characters uniform over the alphabet, and g one of
    the n-grams of w that something follows. Scored are the answer and the final ``.``. Tokens: the characters, then
    ``$``, ``|``, ``.`` and padding.

    In the layout ``rows`` a sequence is one example, padded at the end to the longest possible. In ``packed`` a training
    sequence is `context_length` input tokens of examples one after the other, of which a last truncated one is not
    scored; other splits are in rows always.

    ============= =================================================================================================
    split         items
    ============= =================================================================================================
    train         fresh examples
    select, test  fresh examples of the same distribution; strings are independent, so short ones may recur
    duplicate     strings with one n-gram at two places, for ``copy`` where 2 `ngram` <= `max_length`: a model that
                  looks up n-grams cannot know which of the two places it copies
    ============= =================================================================================================

    With `shuffled`, the control, the answer is made from another string of the same length. Nothing but the place of
    the ``.`` can then be learnt: characters stay at chance.

    Args:
        alphabet: number of characters.
        min_length: of w, at least 1; in the n-gram variants at least `ngram` + 1.
        max_length: of w.
        variant: see above.
        ngram: n, of the n-gram variants and of the split ``duplicate``.
        layout: of ``train``.
        context_length: input tokens of a packed sequence.
        shuffled: whether answers are of other strings.
        n_eval: items in the fixed sample of each split.
        seed: of the fixed samples.
    """

    address = "string-copy"

    def __init__(
        self,
        *,
        alphabet: int = 26,
        min_length: int = 4,
        max_length: int = 16,
        variant: Variant = "copy",
        ngram: int = 3,
        layout: Layout = "rows",
        context_length: int = 220,
        shuffled: bool = False,
        n_eval: int = 512,
        seed: int = 0,
    ) -> None:
        for name, value, kinds in (("variant", variant, Variant), ("layout", layout, Layout)):
            if value not in get_args(kinds):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kinds))}, got {value!r}")
        check_at_least(1, alphabet=alphabet, ngram=ngram)
        check_range("min_length", min_length, 1 if variant == "copy" else ngram + 1, max_length, "max_length")
        self.alphabet, self.min_length, self.max_length = alphabet, min_length, max_length
        self.variant: Variant = variant
        self.ngram, self.layout, self.context_length, self.shuffled = ngram, layout, context_length, shuffled
        self.bos, self.separator, self.eos, self.pad = range(alphabet, alphabet + 4)
        self._extra = {"copy": 0, "prefix_ngram": ngram + 1, "suffix_ngram": ngram}[variant]  # tokens of g and its |
        if layout == "packed":
            check_at_least(self._longest(max_length) - 1, context_length=context_length)
        if variant == "copy" and 2 * ngram <= max_length:
            self.splits = (*StreamTask.splits, "duplicate")
        super().__init__(alphabet + 4, n_eval=n_eval, seed=seed)

    def at_length(self, length: int) -> "StringCopy":
        """The same task with strings of exactly this length, in rows; it may lie beyond the range of this one."""
        return StringCopy(
            alphabet=self.alphabet,
            min_length=length,
            max_length=length,
            variant=self.variant,
            ngram=self.ngram,
            shuffled=self.shuffled,
            n_eval=self.n_eval,
            seed=self.seed,
        )

    def prompts(self, split: str, n: int) -> Int[Tensor, "N P"]:
        """The first `n` items of `dataset(split)` up to where the answer starts, for free-running decoding.

        Raises `ValueError` unless all strings have one length: see `at_length`.
        """
        if self.min_length != self.max_length:
            raise ValueError("prompts of one length need strings of one length: at_length(n).prompts(...)")
        check_range("n", n, 1, self.n_eval, "n_eval")
        return self.dataset(split).tokens[:n, : self.max_length + 2 + self._extra]

    def oracle(self, prompts: Int[Tensor, "N P"]) -> Int[Tensor, "N A"]:
        """The answers with their final ``.``, padded at the end; of a shuffled task the ones before shuffling."""
        tokens, n = prompts.cpu().numpy(), self.ngram
        end = tokens.shape[1]
        if self.variant == "copy":
            answers, lengths = tokens[:, 1 : end - 1], np.full(len(tokens), end - 2)
        elif self.variant == "prefix_ngram":
            answers, lengths = _after(tokens[:, n + 2 : end - 1], tokens[:, 1 : n + 1])
        else:
            answers, lengths = _after(tokens[:, 1 : end - n - 1], tokens[:, end - n :])
        pieces = [(answers, lengths), (constant(len(tokens), self.eos), 1)]
        return torch.from_numpy(concatenate(pieces, width=answers.shape[1] + 1, fill=self.pad))

    def verify(self, prompts: Int[Tensor, "N P"], generated: Int[Tensor, "N A"]) -> "xr.Dataset":
        """Scores of free-running answers to `prompts`, per item.

        `char_accuracy_free` is the share of the answer's characters that stand at their place, `string_accuracy` 1 if
        all do and ``.`` follows. After one mistake the model goes on from its own text, so `char_accuracy_free` is not
        the teacher-forced `char_accuracy` of `evaluate`; `string_accuracy` is the same in both.
        """
        import xarray as xr

        truth = self.oracle(prompts)
        given = torch.full_like(truth, self.pad)
        width = min(truth.shape[1], generated.shape[1])
        given[:, :width] = generated[:, :width].cpu()
        right, chars = given == truth, truth < self.alphabet
        found = {
            "char_accuracy_free": (right & chars).sum(1).double() / chars.sum(1),
            "string_accuracy": (right | (truth == self.pad)).all(1).double(),
        }
        return xr.Dataset({name: ("item", value.numpy()) for name, value in found.items()})

    def evaluate(self, model: nn.Module, split: str) -> "xr.Dataset":
        """Teacher-forced scores per item: `nll`, `char_accuracy` (without the ``.``), `string_accuracy` (with it).

        `string_accuracy` is exact match under greedy decoding; `char_accuracy` is not that of free-running text.
        """
        found = super().evaluate(model, split)
        return found.rename(token_accuracy="char_accuracy", accuracy="string_accuracy")

    def chance(self, split: str) -> Mapping[str, float]:
        """`nll` of a uniform guess among all tokens; accuracies of one among the characters that knows the length."""
        lengths = self._counted(self.dataset(split).targets).sum(1).double()
        return {
            "nll": self._uniform_nll(split),
            "char_accuracy": 1 / self.alphabet,
            "string_accuracy": (self.alphabet**-lengths).mean().item(),
        }

    def _counted(self, targets: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
        return (targets >= 0) & (targets < self.alphabet)

    # ------------------------------------------------------------------------------------------------ sampling

    def _longest(self, length: int) -> int:
        """Tokens of the longest example with a string of this length."""
        answer = length if self.variant == "copy" else length - self.ngram
        return 3 + length + answer + self._extra

    def _draw(self, split: str, size: int, step: int, rng: np.random.Generator) -> Batch:
        if split == "train" and self.layout == "packed":
            return self._packed(size, rng)
        full, starts, ends = self._examples(size, rng, duplicate=split == "duplicate")
        place = np.arange(full.shape[1])
        return sequences(full, (place >= starts[:, None]) & (place < ends[:, None]))

    def _packed(self, size: int, rng: np.random.Generator) -> Batch:
        width = self.context_length + 1
        shortest = self._longest(self.min_length) if self.variant == "copy" else self.min_length + self.ngram + 4
        count = math.ceil(width / shortest)
        full, starts, ends = (each.reshape(size, count, -1) for each in self._examples(size * count, rng))
        offset = np.cumsum(ends, axis=1) - ends  # [B, count, 1]
        packed = concatenate([(full[:, i], ends[:, i, 0]) for i in range(count)], width=width, fill=self.pad)
        place = np.arange(width)
        inside = (place >= offset + starts) & (place < offset + ends) & (offset + ends <= width)
        return sequences(packed, np.any(inside, axis=1))

    def _examples(
        self, size: int, rng: np.random.Generator, *, duplicate: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whole examples [N, T] with the place where the answer starts and where the example ends, each [N]."""
        n, longest = self.ngram, self.max_length
        shortest = max(self.min_length, 2 * n) if duplicate else self.min_length
        lengths = rng.integers(shortest, longest + 1, size)
        strings = rng.integers(0, self.alphabet, (size, longest))
        bar, stop = constant(size, self.separator), constant(size, self.eos)
        if duplicate:
            strings = _repeat_ngram(strings, lengths, n, rng)
        source = rng.integers(0, self.alphabet, (size, longest)) if self.shuffled else strings
        question = [(constant(size, self.bos), 1), (strings, lengths), (bar, 1)]
        if self.variant == "copy":
            answer, answer_lengths = source, lengths
        else:
            places = rng.integers(0, lengths - n)
            ngrams = strings[np.arange(size)[:, None], places[:, None] + np.arange(n)]
            first = _first(strings, ngrams)
            answer_lengths = lengths - first - n
            answer = _shift(source, first + n)
            if self.variant == "prefix_ngram":
                question = [question[0], (ngrams, n), (bar, 1), *question[1:]]
            else:
                question.append((ngrams, n))
        starts = lengths + 2 + self._extra
        full = concatenate(
            [*question, (answer, answer_lengths), (stop, 1)], width=self._longest(longest), fill=self.pad
        )
        return full, starts, starts + answer_lengths + 1


def _first(strings: np.ndarray, ngrams: np.ndarray) -> np.ndarray:
    """[N] where each n-gram [N, n] first occurs in its string [N, L]."""
    windows = np.lib.stride_tricks.sliding_window_view(strings, ngrams.shape[1], axis=1)
    return (windows == ngrams[:, None]).all(2).argmax(1)


def _shift(strings: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Strings [N, L] from place `by` on; what lies beyond their end is arbitrary."""
    place = by[:, None] + np.arange(strings.shape[1])
    return np.take_along_axis(strings, np.minimum(place, strings.shape[1] - 1), axis=1)


def _after(strings: np.ndarray, ngrams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What follows the first occurrence of each n-gram: values [N, L] and their lengths [N]."""
    start = _first(strings, ngrams) + ngrams.shape[1]
    return _shift(strings, start), strings.shape[1] - start


def _repeat_ngram(strings: np.ndarray, lengths: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """The n-gram at one place written again at a later one; both do not overlap and are uniform over such pairs."""
    spare = lengths - 2 * n + 1  # places of the first if the second came right after it
    one, other = rng.integers(0, spare + 1), rng.integers(0, spare)
    other += other >= one
    early, late = np.minimum(one, other), np.maximum(one, other) - 1 + n
    row = np.arange(len(strings))[:, None]
    repeated = strings.copy()
    repeated[row, late[:, None] + np.arange(n)] = strings[row, early[:, None] + np.arange(n)]
    return repeated
