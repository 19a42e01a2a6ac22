"""How a pair (prefix, continuation) becomes one sequence of tokens, and which prefixes were read already."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elegans.reasoning.lm import LanguageModel, Prefix
from elegans.reasoning.scorer import ScorerError, Text


class Span(NamedTuple):
    """A sequence whose tokens from `start` on are scored."""

    tokens: tuple[int, ...]
    start: int


def spans(encode: Callable[[Text], list[int]], pairs: Sequence[tuple[Text, Text]]) -> list[Span]:
    """The tokens of each pair and where its continuation begins (see `Scorer.score`).

    Text is encoded as a whole, never in parts: a boundary inside a token moves to the left, for all continuations of one
    prefix alike. Raises `ValueError` for an empty continuation and `ScorerError` where nothing of a prefix is left.
    """
    starts: dict[Text, int] = {}
    wholes: list[tuple[int, ...]] = []
    for prefix, continuation in pairs:
        if isinstance(prefix, str) and isinstance(continuation, str):
            head, whole = encode(prefix) if prefix else [], encode(prefix + continuation)
            start = common_length(head, whole) if prefix else common_length(encode(""), whole)
        elif isinstance(continuation, str):
            raise ValueError("a prefix and its continuation must be two texts or two sequences of tokens")
        else:
            head, whole = list(_as_tokens(prefix)), [*_as_tokens(prefix), *continuation]
            start = len(head)
        if not len(continuation) or len(whole) <= start:
            raise ValueError(f"the continuation {continuation!r} has no token")
        wholes.append(tuple(whole))
        key = prefix if isinstance(prefix, str) else tuple(prefix)
        starts[key] = min(starts.get(key, start), start)
    made = []
    for (prefix, _), whole in zip(pairs, wholes, strict=True):
        start = starts[prefix if isinstance(prefix, str) else tuple(prefix)]
        if start == 0 and len(prefix):
            raise ScorerError(f"no token of the prefix {prefix!r} is left when it is continued")
        if start == 0 and len(whole) == 1:
            raise ValueError("a single token without a prefix has no probability")
        made.append(Span(whole, max(1, start)))
    return made


def _as_tokens(prefix: Text) -> Sequence[int]:
    if isinstance(prefix, str) and prefix:
        raise ValueError("a prefix and its continuation must be two texts or two sequences of tokens")
    return () if isinstance(prefix, str) else prefix


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences have in common from their beginning."""
    if first == second:
        return len(first)
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))


class Known(NamedTuple):
    """A beginning of a sequence that need not be read: its length, state, and logits [V] where they are known."""

    length: int
    state: Any
    logits: Tensor | None


class PrefixCache:
    """The sequences read last, to start others from.

    A croppable state serves every sequence with a common beginning, any other only its own continuations.
    """

    def __init__(self, model: LanguageModel, size: int) -> None:
        self.model, self.size = model, size
        self._read: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def longest(self, tokens: Sequence[int]) -> Known:
        """The longest known beginning of `tokens`; the empty one where none is known."""
        best, length = None, 0
        for key in self._read:
            common = common_length(key, tokens)
            if common > length and (common == len(key) or self.model.croppable):
                best, length = key, common
        if best is None:
            return Known(0, None, None)
        self._read.move_to_end(best)
        prefix = self._read[best]
        if length == len(best):
            return Known(length, prefix.state, prefix.logits)
        return Known(length, self.model.crop(prefix.state, length), None)

    def add(self, prefix: Prefix) -> None:
        """Remember a sequence, and forget the one that was not used for longest where there is no more room."""
        self._read[prefix.tokens] = prefix
        self._read.move_to_end(prefix.tokens)
        while len(self._read) > self.size:
            self._read.popitem(last=False)

    def read(self, tokens: Sequence[int]) -> Prefix:
        """`lm.read`, from what is known."""
        known = self.longest(tokens)
        if known.length == len(tokens) and known.logits is not None:
            return Prefix(tuple(tokens), known.logits, known.state)
        if known.length == len(tokens):
            known = self.shorter(known)
        new = torch.tensor([tokens[known.length :]], dtype=torch.long, device=self.model.device)
        logits, state = self.model.extend(new, known.state, 1)
        prefix = Prefix(tuple(tokens), logits[0, -1], state)
        self.add(prefix)
        return prefix

    def shorter(self, known: Known) -> Known:
        """One token less, so that the logits after it are read anew."""
        length = known.length - 1
        return Known(length, self.model.crop(known.state, length) if length else None, None)
