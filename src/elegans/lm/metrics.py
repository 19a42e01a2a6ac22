"""Scores that scikit-learn does not give."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def span_f1(gold: Sequence[Iterable[Hashable]], predicted: Sequence[Iterable[Hashable]]) -> float:
    """Micro-averaged F1 of exactly matching spans, such as pairs (span, type), one collection per text.

    A span that stands in a text several times has to be found as often. 1 where there is nothing to find and nothing was
    found. Raises `ValueError` unless both have the same number of texts.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"there are {len(gold)} texts with true spans and {len(predicted)} with predicted ones")
    matched = total = 0
    for truth, guess in zip(map(Counter, gold), map(Counter, predicted), strict=True):
        matched += (truth & guess).total()
        total += truth.total() + guess.total()
    return 2 * matched / total if total else 1.0
