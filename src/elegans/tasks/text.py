"""Language modeling of real or generated text, by characters or bytes.

Shapes: B windows, T positions, n text length.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE, Batch
from elegans.tasks.language import next_tokens, scores_by_position
from elegans.tasks.stories import story
from elegans.tasks.words import check_at_least

if TYPE_CHECKING:
    import xarray as xr

Level = Literal["character", "byte"]
SPLITS: tuple[str, ...] = ("train", "select", "test")
GAP = "\n\n"
"""What stands between two documents of a split."""


class TextLM:
    """Predict the next character (or byte) of a text.

    =============== ==================================================================================================
    `source`        text
    =============== ==================================================================================================
    ``generated``   `n_stories` small stories from a grammar (`elegans.tasks.stories`), the same everywhere
    ``python-help`` the help texts of the running Python, each paragraph once; they differ between Python versions
    a path          a text file, UTF-8 unless read by bytes
    =============== ==================================================================================================

    A file is cut into three: the first part is ``train``, then come ``select`` and ``test``. The built-in sources are
    split by document: in random order, a document goes to ``test`` if it still fits into its share, else to
    ``select`` if it fits, else to ``train``. The vocabulary is that of the whole text, or the 256 bytes.

    Attributes:
        text: [n] tokens by split; documents are joined by an empty line.
        symbols: the characters by token; empty for bytes.
        content_hash: SHA-256 of the source's text, to tell whether two runs saw the same.
        documents: the names of the built-in source's documents by split; empty for a file.

    Raises `ValueError` for a file that is missing, empty, or not UTF-8, and where a split is too short for `context`.
    """

    def __init__(
        self,
        source: str | Path = "generated",
        *,
        level: Level = "character",
        context: int = 64,
        select_share: float = 0.05,
        test_share: float = 0.05,
        n_stories: int = 800,
        seed: int = 0,
    ) -> None:
        check_at_least(1, context=context, n_stories=n_stories)
        shares = (1 - select_share - test_share, select_share, test_share)
        if min(shares) <= 0:
            raise ValueError(f"the shares of the splits must be above 0, got {select_share} and {test_share} for tests")
        if level not in ("character", "byte"):
            raise ValueError(f"level must be 'character' or 'byte', got {level!r}")
        self.source, self.level, self.context, self.splits = str(source), level, context, SPLITS
        self.documents: dict[str, tuple[str, ...]] = {}
        if source in ("generated", "python-help"):
            found = _stories(n_stories, seed) if source == "generated" else _python_help()
            self.documents = _split_documents(found, shares, numpy_rng("text-lm", seed, "split"))
            content = GAP.join(found.values())
            parts = [GAP.join(found[name] for name in self.documents[split]) for split in SPLITS]
        else:
            content = _read(Path(source), level)
            cuts = np.rint(np.cumsum((0, *shares)) * len(content)).astype(int)
            parts = [content[a:b] for a, b in pairwise(cuts)]

        data = content if isinstance(content, bytes) else content.encode()
        self.content_hash = hashlib.sha256(data).hexdigest()
        self.symbols = "" if level == "byte" else "".join(sorted(set(data.decode())))
        self.vocab_size = len(self.symbols) or 256
        self.text = {split: self.encode(part) for split, part in zip(SPLITS, parts, strict=True)}
        for split in SPLITS:
            self._check_length(split, context + 1, f"a context of {context}")

    # ------------------------------------------------------------------------------------------------ tokens

    def encode(self, text: str | bytes) -> Int[Tensor, " n"]:
        """The tokens of a text. Raises `ValueError` for a character that the source does not have."""
        if not self.symbols:
            data = text.encode() if isinstance(text, str) else text
            return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).astype(np.int64))
        text = text if isinstance(text, str) else text.decode()
        codes, known = (np.frombuffer(part.encode("utf-32-le"), dtype=np.uint32) for part in (text, self.symbols))
        tokens = np.searchsorted(known, codes).clip(max=len(known) - 1)
        if (strange := known[tokens] != codes).any():
            raise ValueError(f"the vocabulary of {self.source} has no character {chr(codes[strange][0])!r}")
        return torch.from_numpy(tokens)

    def decode(self, tokens: Int[Tensor, " n"]) -> str:
        """The text of tokens; bytes that are not UTF-8 become replacement characters."""
        if not self.symbols:
            return bytes(tokens.tolist()).decode(errors="replace")
        return "".join(self.symbols[token] for token in tokens.tolist())

    # ------------------------------------------------------------------------------------------------ windows

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """`size` windows of `context` targets that start anywhere; batch `step` of stream `seed`."""
        text = self._text(split)
        starts = numpy_rng("text-lm", "batch", split, seed, step).integers(0, len(text) - self.context, size)
        return next_tokens(text[torch.from_numpy(starts)[:, None] + torch.arange(self.context + 1)])

    def dataset(self, split: str) -> Batch:
        """The whole split in windows of `context` targets side by side; an incomplete last window is left out."""
        return next_tokens(self._text(split).unfold(0, self.context + 1, self.context))

    def windows(self, split: str, context: int, *, longest: int = 1024, num: int | None = None) -> Batch:
        """Windows that score the same characters whatever the `context`, so that contexts can be compared.

        The scored stretch begins at target number ``longest / 2`` and is a multiple of ``longest / 2`` long. Windows of
        `context` targets advance by half of it, and each scores its second half: every character of the stretch once,
        given more than ``context / 2`` and at most `context` characters before it. `num` bounds the stretch to that many
        windows of the longest context.

        Raises `ValueError` unless `context` is even and divides `longest`, and where the split is too short.
        """
        check_at_least(2, context=context)
        if context % 2 or longest % context:
            raise ValueError(f"context must be even and divide the longest, got {context} and {longest}")
        self._check_length(split, longest + 1, f"windows of {longest}")
        text, half, most = self._text(split), context // 2, longest // 2
        count = (len(text) - 1) // most - 1
        stretch = most * (count if num is None else min(count, num))
        found = next_tokens(text[most - half : most + stretch + 1].unfold(0, context + 1, half))
        targets = found.targets.clone()
        targets[:, :half] = IGNORE
        return Batch(found.tokens, targets)

    def evaluate(
        self, model: torch.nn.Module, split: str, *, context: int | None = None, longest: int = 1024
    ) -> "xr.Dataset":
        """`nll` (nats) and `accuracy` of every target of `dataset` or, with a `context`, of `windows`."""
        items = self.dataset(split) if context is None else self.windows(split, context, longest=longest)
        levels = {f"chance_{name}": level for name, level in self.chance(split).items()}
        return scores_by_position(model, items).assign_attrs(levels)

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess (`nll` in nats, `accuracy`), and `nll_unigram` of the frequencies in ``train``.

        Frequencies count every symbol once more than it was seen.
        """
        counts = self.text["train"].bincount(minlength=self.vocab_size).double() + 1
        unigram = -(counts / counts.sum()).log()[self._text(split)].mean()
        return {"nll": math.log(self.vocab_size), "accuracy": 1 / self.vocab_size, "nll_unigram": float(unigram)}

    def _text(self, split: str) -> Int[Tensor, " n"]:
        if split not in self.text:
            raise KeyError(f"no split {split!r}; this task has {', '.join(SPLITS)}")
        return self.text[split]

    def _check_length(self, split: str, needed: int, purpose: str) -> None:
        if (length := len(self._text(split))) < needed:
            raise ValueError(f"split {split!r} of {self.source} has {length} tokens, {purpose} needs {needed}")


# ---------------------------------------------------------------------------------------------------- sources


def _read(path: Path, level: Level) -> str | bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    if not data:
        raise ValueError(f"{path} is empty")
    if level == "byte":
        return data
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); level 'byte' reads any file") from error


def _stories(count: int, seed: int) -> dict[str, str]:
    return {f"story-{number}": story(seed, number) for number in range(count)}


def _python_help() -> dict[str, str]:
    """The help texts by topic, without the paragraphs that a topic shares with one before it in the alphabet."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ValueError("this Python comes without its help texts (pydoc_data.topics)") from error
    seen: set[str] = set()
    found = {}
    for name in sorted(topics):
        paragraphs = [p.strip("\n") for p in re.split(r"\n\s*\n", topics[name])]
        fresh = [p for p in dict.fromkeys(paragraphs) if p.split() and " ".join(p.split()) not in seen]
        seen.update(" ".join(p.split()) for p in fresh)
        if fresh:
            found[name] = GAP.join(fresh)
    return found


def _split_documents(
    documents: Mapping[str, str], shares: Sequence[float], rng: np.random.Generator
) -> dict[str, tuple[str, ...]]:
    """Names by split, each in the order of `documents`; `shares` of train, select, test."""
    total = sum(len(text) for text in documents.values())
    room = {"test": shares[2] * total, "select": shares[1] * total, "train": math.inf}
    chosen: dict[str, str] = {}
    for name in rng.permutation(list(documents)).tolist():
        split = next(split for split in room if len(documents[name]) <= room[split])
        room[split] -= len(documents[name])
        chosen[name] = split
    return {split: tuple(name for name in documents if chosen[name] == split) for split in SPLITS}
