"""Texts that carry a label as a whole and labels on some of their words."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A piece of a text with its type; `start` and `end` count characters, `end` being the first one behind it."""

    text: str
    type: str
    start: int
    end: int


@dataclass(frozen=True)
class HybridItem:
    """A text, its label, and its spans in the order in which they stand; spans do not overlap."""

    text: str
    label: str
    spans: tuple[Span, ...]

    def words(self) -> list[tuple[str, int, int]]:
        """The words (parted by whitespace) with their start and end in characters."""
        return [(found[0], found.start(), found.end()) for found in re.finditer(r"\S+", self.text)]

    def span_words(self) -> list[tuple[int, int]]:
        """For each span the first word that it touches and the first one behind it."""
        words = self.words()
        touched = [
            [place for place, (_, start, end) in enumerate(words) if start < span.end and span.start < end]
            for span in self.spans
        ]
        return [(places[0], places[-1] + 1) for places in touched]

    def pairs(self) -> list[tuple[str, str]]:
        """Text and type of each span, whitespace within the text as single spaces."""
        return [(" ".join(span.text.split()), span.type) for span in self.spans]
