"""Formal languages: strings with the class that a finite automaton gives them, and chains of thought over a group.

Shapes: N strings, T symbols (shorter strings end in -1), S states, A symbols of the alphabet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from elegans.ops.rng import numpy_rng

PADDING = -1
"""Stands after the end of a string."""


@dataclass(frozen=True)
class Automaton:
    """A deterministic finite automaton whose states have classes; it starts in state 0.

    `transitions[s][a]` is the state after symbol a in state s, `classes[s]` what a string that ends in s belongs to.
    For a language, class 0 is "in the language" and class 1 is not.
    """

    transitions: tuple[tuple[int, ...], ...]
    classes: tuple[int, ...]

    def __post_init__(self) -> None:
        states = len(self.transitions)
        if not states or len(self.classes) != states or len({len(row) for row in self.transitions}) != 1:
            raise ValueError("an automaton needs one row of transitions of one length and one class per state")
        if any(not 0 <= state < states for row in self.transitions for state in row):
            raise ValueError(f"transitions must lead to states 0 to {states - 1}, got {self.transitions}")

    @property
    def num_symbols(self) -> int:
        """Size of the alphabet."""
        return len(self.transitions[0])

    @property
    def num_classes(self) -> int:
        """Number of classes, 0 to the largest."""
        return max(self.classes) + 1

    def trace(self, words: Int[Tensor, "N T"]) -> Int[Tensor, "N T+1"]:
        """The state before the first symbol and after each one; padding leaves it as it is."""
        table = torch.tensor(self.transitions)
        states = [torch.zeros(len(words), dtype=torch.long)]
        for symbol in words.unbind(1):
            moved = table[states[-1], symbol.clamp(min=0)]
            states.append(torch.where(symbol == PADDING, states[-1], moved))
        return torch.stack(states, dim=1)

    def classify(self, words: Int[Tensor, "N T"]) -> Int[Tensor, " N"]:
        """The class of each string."""
        return torch.tensor(self.classes)[self.trace(words)[:, -1]]


def cyclic(order: int) -> Automaton:
    """The sum of all symbols modulo `order`. With two symbols: parity check, class 0 if the number of b is even."""
    _check_order(order)
    rows = tuple(tuple((state + symbol) % order for symbol in range(order)) for state in range(order))
    return Automaton(rows, tuple(range(order)))


def end_sum(order: int) -> Automaton:
    """First plus last symbol modulo `order`. With two symbols: even pairs, class 0 if "ab" and "ba" occur evenly often.

    The number of changes between neighbors is even exactly if a string ends as it starts. A string of one symbol starts
    and ends with it.
    """
    _check_order(order)
    start = tuple(1 + symbol * order + symbol for symbol in range(order))
    seen = tuple(
        tuple(1 + first * order + symbol for symbol in range(order)) for first in range(order) for _ in range(order)
    )
    classes = tuple((first + current) % order for first in range(order) for current in range(order))
    return Automaton((start, *seen), (0, *classes))


def parity_check() -> Automaton:
    """Class 0 if the number of b (symbol 1) is even."""
    return cyclic(2)


def even_pairs() -> Automaton:
    """Class 0 if "ab" and "ba" together occur evenly often."""
    return end_sum(2)


@dataclass(frozen=True)
class Strings:
    """Labelled strings; `weights` sum to 1 over the strings of each length, so a weighted sum is a sum over lengths."""

    words: Int[Tensor, "*members N T"]
    labels: Int[Tensor, "*members N"]
    weights: Float[Tensor, "*members N"]

    def __len__(self) -> int:
        return self.words.shape[-2]

    def to(self, device: torch.device | str) -> Strings:
        """The same strings on another device."""
        return Strings(self.words.to(device), self.labels.to(device), self.weights.to(device))


class StringTask:
    """Labelled strings in named splits; a batch is drawn length by length with equal chances."""

    def __init__(self, num_symbols: int, num_classes: int, items: dict[str, Strings]) -> None:
        self.vocab_size, self.num_classes = num_symbols, num_classes
        self._items = items
        self.splits: tuple[str, ...] = tuple(items)

    def dataset(self, split: str) -> Strings:
        """All strings of a split, shortest first. Raises `KeyError` with the known splits for another name."""
        if split not in self._items:
            raise KeyError(f"no split {split!r}; this task has {', '.join(self.splits)}")
        return self._items[split]

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Strings:
        """`size` strings drawn with replacement, batch `step` of stream `seed`; the expected loss is the data set's."""
        items = self.dataset(split)
        total = float(items.weights.sum())
        index = torch.from_numpy(
            numpy_rng("strings", split, seed, step).choice(len(items), size, p=items.weights.numpy() / total)
        )
        return Strings(items.words[index], items.labels[index], torch.full((size,), total / size, dtype=torch.double))

    def chance(self, split: str) -> dict[str, float]:
        """Accuracy of the best constant answer, lengths counting alike."""
        items = self.dataset(split)
        share = torch.zeros(self.num_classes, dtype=torch.double).index_add(0, items.labels, items.weights)
        return {"accuracy": float(share.max() / share.sum())}


class FormalLanguage(StringTask):
    """Strings of lengths `min_length` to `max_length` with the classes of an automaton.

    All strings, or `per_length` random ones of each length; then a second draw is the split ``fresh``, on which
    generalization shows once strings are too many to repeat. Every length weighs alike. Source of the set-up: Huang,
    Liang and Yang 2025 (arXiv 2505.00926), lengths 1 to 6.
    """

    def __init__(
        self,
        automaton: Automaton,
        *,
        max_length: int,
        min_length: int = 1,
        per_length: int | None = None,
        seed: int = 0,
    ) -> None:
        if not 1 <= min_length <= max_length:
            raise ValueError(f"lengths need 1 <= min_length <= max_length, got {min_length} and {max_length}")
        if per_length is not None and per_length < 1:
            raise ValueError(f"per_length must be at least 1, got {per_length}")
        self.automaton, self.max_length = automaton, max_length
        lengths = range(min_length, max_length + 1)
        items = {}
        for split in ("train",) if per_length is None else ("train", "fresh"):
            words = [
                all_words(automaton.num_symbols, length)
                if per_length is None
                else random_words(automaton.num_symbols, length, per_length, "formal", split, seed)
                for length in lengths
            ]
            items[split] = labelled(words, [automaton.classify(w) for w in words])
        super().__init__(automaton.num_symbols, automaton.num_classes, items)


class ChainOfThought(StringTask):
    """The sum of `length` symbols modulo `order` (parity check for 2), taught step by step.

    Every input w_1..w_L0 is continued by w_{L0+k} = w_k + w_{L0+k-1}; after L0 - 1 steps the last symbol is the sum of
    the input. Trained is the next symbol after each prefix of L0 to 2 L0 - 2 symbols: a prefix of L symbols has the
    class w_{L-L0+1} + w_L. To this come all strings of up to `short` symbols with the sum of their ends (even pairs for
    order 2), which at most reach up to L0 - 1: longer ones would have two labels. By default they all do.

    Source: Huang, Liang and Yang 2025 (arXiv 2505.00926), training with chains of thought and a regularizer.
    """

    def __init__(self, *, length: int, order: int = 2, short: int | None = None) -> None:
        _check_order(order)
        short = length - 1 if short is None else short
        if length < 2:
            raise ValueError(f"length must be at least 2, got {length}")
        if not 0 <= short < length:
            raise ValueError(f"short must lie between 0 and length - 1 = {length - 1}, got {short}")
        self.length, self.max_length = length, 2 * length - 2
        self.automaton = cyclic(order)
        self.inputs = all_words(order, length)
        chain = self.inputs
        for step in range(length - 1):
            chain = torch.cat([chain, (chain[:, step] + chain[:, -1])[:, None] % order], dim=1)
        self.chains = chain
        words = [all_words(order, size) for size in range(1, short + 1)]
        labels = [end_sum(order).classify(w) for w in words]
        for size in range(length, 2 * length - 1):
            words.append(chain[:, :size])
            labels.append(chain[:, size])
        super().__init__(order, order, {"train": labelled(words, labels)})


def roll_out(
    predict: Callable[[Int[Tensor, "N T"]], Int[Tensor, " N"]], words: Int[Tensor, "N T"], *, steps: int, truncate: bool
) -> Int[Tensor, "N U"]:
    """Append `steps` predicted symbols one by one; with `truncate` each prediction sees the last T symbols only."""
    size = words.shape[1]
    for _ in range(steps):
        window = words[:, -size:] if truncate else words
        words = torch.cat([words, predict(window)[:, None]], dim=1)
    return words


def all_words(num_symbols: int, length: int) -> Int[Tensor, "N T"]:
    """Every string of a length, in lexicographic order."""
    places = num_symbols ** torch.arange(length - 1, -1, -1)
    return torch.arange(num_symbols**length)[:, None] // places % num_symbols


def random_words(num_symbols: int, length: int, count: int, *address: str | int) -> Int[Tensor, "N T"]:
    """`count` random strings of a length; the address names the draw."""
    return torch.from_numpy(numpy_rng(*address, length).integers(0, num_symbols, (count, length)))


def labelled(words: Sequence[Int[Tensor, "_ _"]], labels: Sequence[Int[Tensor, " _"]]) -> Strings:
    """Strings of several lengths, padded, every length with total weight 1."""
    longest = max(w.shape[1] for w in words)
    padded = [torch.nn.functional.pad(w, (0, longest - w.shape[1]), value=PADDING) for w in words]
    weights = [torch.full((len(w),), 1 / len(w), dtype=torch.double) for w in words]
    return Strings(torch.cat(padded), torch.cat(list(labels)), torch.cat(weights))


def _check_order(order: int) -> None:
    if order < 2:
        raise ValueError(f"order must be at least 2, got {order}")
