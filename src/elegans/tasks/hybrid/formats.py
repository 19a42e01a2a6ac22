"""Texts, labels and typed words as one line, in any order, with the place of each part.

The formats are those of the mutual reinforcement effect (Gan et al. 2024, arXiv 2403.02902): X is the text, y its label,
W its spans with their types; what stands behind the arrow is to be predicted. Shapes: B lines, T tokens.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from elegans.tasks.base import Batch
from elegans.tasks.hybrid.items import HybridItem
from elegans.tasks.stream import sequences
from elegans.tasks.vocabulary import token_table

FORMATS = ("X->y", "X,W->y", "X->W", "X,y->W", "X->y;W", "X->W;y")
PARTS = ("text", "entity", "copy", "type", "label", "marker")
PREDICTED = ("label", "type", "copy")


@dataclass(frozen=True)
class Markers:
    """The words that part a line; for a pretrained model, words that it knows.

    `label` stands before the label, `words` before the spans, `none` in place of spans, `end` at the end. `type`, between
    a span and its type, and `next`, between two spans, are left out of compact lines. `about` stands before a topic word
    in pretraining.
    """

    label: str = "[LABEL]"
    words: str = "[WORDS]"
    type: str = "[TYPE]"
    next: str = "[NEXT]"
    none: str = "[NONE]"
    end: str = "[END]"
    about: str = "[ABOUT]"

    def __post_init__(self) -> None:
        if any(word.split() != [word] for word in self.all()) or len(set(self.all())) < len(self.all()):
            raise ValueError(f"markers must be different single words, got {' '.join(self.all())!r}")

    def all(self) -> tuple[str, ...]:
        """All markers."""
        return astuple(self)


class Piece(NamedTuple):
    """A part of a line: its kind (one of `PARTS`) and where it starts and ends, in characters."""

    part: str
    start: int
    end: int


class Annotation(NamedTuple):
    """What a line says: its label, None without one, and its spans with their types."""

    label: str | None
    pairs: list[tuple[str, str]]


@dataclass(frozen=True)
class Line:
    """A serialized item.

    Attributes:
        text: of the line; it begins with the item's text as it is.
        pieces: the parts of the line in order. A span, a type and a label is one piece each, however many words.
        prompt_end: in characters; all behind it is to be predicted.
    """

    text: str
    pieces: tuple[Piece, ...]
    prompt_end: int

    @property
    def prompt(self) -> str:
        """What is given."""
        return self.text[: self.prompt_end]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the line, parted by whitespace."""
        return tuple(self.text.split())

    @cached_property
    def n_prompt(self) -> int:
        """How many words are given."""
        return len(self.prompt.split())

    @cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Numbers of words by what they are part of, one group each.

        ================ ==========================================================================================
        text, entity     words of the text outside of spans; those that a span touches
        copy, type       words of the spans and of their types behind the text
        label            words of the label
        marker           words that part these
        predicts_label   the word before the label: the row of a causal model that predicts it
        predicts_type    the word before each type
        predicts_copy    the word before each span behind the text
        ================ ==========================================================================================
        """
        found: dict[str, list[int]] = {name: [] for name in (*PARTS, *(f"predicts_{part}" for part in PREDICTED))}
        words = [(match.start(), match.end()) for match in re.finditer(r"\S+", self.text)]
        touched: list[set[str]] = [set() for _ in words]
        word = 0
        for part, start, end in self.pieces:
            while words[word][1] <= start:
                word += 1
            if part in PREDICTED:
                found[f"predicts_{part}"].append(word - 1)
            place = word
            while place < len(words) and words[place][0] < end:
                touched[place].add(part)
                place += 1
        for place, parts in enumerate(touched):
            found["entity" if "entity" in parts else parts.pop()].append(place)
        return {name: tuple(places) for name, places in found.items()}


@dataclass(frozen=True)
class Serializer:
    """Writes items as lines of a format, and reads lines.

    ========== ==================================================================
    format     a compact line, the prompt up to the bar
    ========== ==================================================================
    X->y       ``X [LABEL] | y [END]``
    X,W->y     ``X [WORDS] span type span type [LABEL] | y [END]``
    X->W       ``X [WORDS] | span type span type [END]``
    X,y->W     ``X [LABEL] y [WORDS] | span type span type [END]``
    X->y;W     ``X [LABEL] | y [WORDS] span type span type [END]``
    X->W;y     ``X [WORDS] | span type span type [LABEL] y [END]``
    ========== ==================================================================

    Lines that are not compact read ``span [TYPE] type [NEXT] span [TYPE] type``.

    Args:
        format: one of `FORMATS`.
        types: all types, for compact lines, where they must be single words and no words of spans.
        markers: the words that part a line.
    """

    format: str
    types: tuple[str, ...] = ()
    markers: Markers = Markers()

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if wrong := [name for name in self.types if name.split() != [name]]:
            raise ValueError(f"compact lines need types of one word, got {wrong[0]!r}")

    @property
    def given(self) -> Literal["", "W", "y"]:
        """The level that is given besides the text."""
        return "W" if self.format == "X,W->y" else "y" if self.format == "X,y->W" else ""

    @property
    def targets(self) -> tuple[str, ...]:
        """The levels to predict, ``y`` and ``W``, in order."""
        return tuple(self.format.split("->")[1].split(";"))

    def line(
        self, item: HybridItem, *, words_of: HybridItem | None = None, label: str | None = None, dropped: bool = False
    ) -> Line:
        """An item as a line.

        Args:
            item: what to write.
            words_of: another item whose spans to write in place of its own (a control).
            label: another label to write in place of its own (a control).
            dropped: without the level that is given, as if the format were X->y or X->W.

        Raises `ValueError` where a text, span or label has a marker as a word, and for a compact line of types unknown.
        """
        parts = self._level(self.given, words_of or item, label or item.label) if self.given and not dropped else []
        n_given = len(parts)
        for target in self.targets:
            parts += self._level(target, words_of or item, label or item.label)
        parts.append(("marker", self.markers.end))
        text, pieces, prompt_end = item.text, _pieces(item), 0
        self._check(text)
        for number, (part, content) in enumerate(parts):
            start, text = len(text) + 1, f"{text} {content}"
            pieces.append(Piece(part, start, len(text)))
            prompt_end = len(text) if number == n_given else prompt_end
        return Line(text, tuple(pieces), prompt_end)

    def read(self, words: Sequence[str]) -> Annotation:
        """What the words of a line, or a prompt and its continuation, say behind the text.

        Words behind `end` do not count, and a span without type or a type without span is no pair.
        """
        sections: dict[str, list[str]] = {self.markers.label: [], self.markers.words: []}
        here: list[str] | None = None
        for word in words:
            if word == self.markers.end:
                break
            if word in sections:
                here = sections[word]
            elif here is not None:
                here.append(word)
        return Annotation(" ".join(sections[self.markers.label]) or None, self._pairs(sections[self.markers.words]))

    def _level(self, level: str, words_of: HybridItem, label: str) -> list[tuple[str, str]]:
        """Parts and contents of a level, its marker first."""
        if level == "y":
            self._check(label)
            return [("marker", self.markers.label), ("label", label)]
        found = [("marker", self.markers.words)]
        for number, (span, kind) in enumerate(words_of.pairs()):
            self._check(span)
            self._check(kind)
            if self.types and (kind not in self.types or not set(self.types).isdisjoint(span.split())):
                raise ValueError(f"compact lines of the types {', '.join(self.types)} cannot hold {span!r} as {kind!r}")
            if number and not self.types:
                found.append(("marker", self.markers.next))
            found.append(("copy", span))
            if not self.types:
                found.append(("marker", self.markers.type))
            found.append(("type", kind))
        return found if words_of.spans else [*found, ("marker", self.markers.none)]

    def _pairs(self, words: Sequence[str]) -> list[tuple[str, str]]:
        if not self.types:
            entries = f" {' '.join(words)} ".split(f" {self.markers.next} ")
            cut = [entry.partition(f" {self.markers.type} ") for entry in entries]
            return [(span.strip(), kind.strip()) for span, _, kind in cut if span.strip() and kind.strip()]
        pairs, span = [], []
        for word in words:
            if word not in self.types:
                span.append(word)
            elif span:
                pairs.append((" ".join(span), word))
                span = []
        return pairs

    def _check(self, content: str) -> None:
        if found := set(self.markers.all()).intersection(content.split()):
            raise ValueError(f"{content!r} has the marker {found.pop()!r} as a word; choose other markers")


def _pieces(item: HybridItem) -> list[Piece]:
    """Spans and what is between them, without the whitespace around."""
    found, place = [], 0
    for span in (*item.spans, None):
        end = span.start if span else len(item.text)
        between = item.text[place:end]
        if between.strip():
            start = place + len(between) - len(between.lstrip())
            found.append(Piece("text", start, start + len(between.strip())))
        if span:
            found.append(Piece("entity", span.start, span.end))
            place = span.end
    return found


def encode(
    lines: Sequence[Line], ids: Mapping[str, int], *, width: int | None = None, pad: int = 0, bos: int | None = None
) -> Batch:
    """Lines as token sequences, padded at the end; scored are the words behind the prompt.

    The last word of a line is a target only. Word i is token i, or i + 1 after `bos`.

    Args:
        lines: B of them.
        ids: the token of each word.
        width: T + 1, by default that of the longest line.
        pad: the token that fills lines up.
        bos: the token that starts each line.

    Raises `ValueError` for a word without token, and for a line that is longer than `width`.
    """
    shift = int(bos is not None)
    longest = max(len(line.words) for line in lines) + shift
    if width is not None and longest > width:
        raise ValueError(f"a line of {longest} tokens does not fit into {width}")
    full = np.full((len(lines), width or longest), pad, dtype=np.int64)
    scored = np.zeros(full.shape, dtype=bool)
    if bos is not None:
        full[:, 0] = bos
    for row, line in enumerate(lines):
        end = len(line.words) + shift
        full[row, shift:end] = token_table(line.words, ids)
        scored[row, line.n_prompt + shift : end] = True
    return sequences(full, scored)


def masks(lines: Sequence[Line], width: int, *, shift: int = 0) -> dict[str, Bool[Tensor, "B T"]]:
    """Where the groups of `Line.groups` are among the first `width` tokens, as `elegans.probes.flow.Edges` takes them.

    `shift` is 1 where lines start with a token of their own (`encode` with `bos`).
    """
    found: dict[str, Bool[Tensor, "B T"]] = {}
    for name in lines[0].groups:
        mask = torch.zeros(len(lines), width, dtype=torch.bool)
        for row, line in enumerate(lines):
            places = [place + shift for place in line.groups[name] if place + shift < width]
            mask[row, places] = True
        found[name] = mask
    return found
