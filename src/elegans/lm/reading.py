"""Sequences that a model has read and that can be continued, of different lengths side by side.

A reading is never changed in place, so one beginning can be continued in several ways. Shapes: B sequences, T new
positions (the longest row's), S slots in the cache, V vocabulary.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from elegans.interop.sites import ANATOMY
from elegans.lm.model import Net, TextModel, library
from elegans.lm.tokens import filled, pad_id

Rows = Sequence[Sequence[int]]

SHARED = 16
"""Prompts with a common beginning of at least this many tokens have it read once."""


class Reading(Protocol):
    """What a model has read of B sequences."""

    def extend(self, rows: Rows, *, last: bool = True) -> tuple[Tensor, "Reading"]:
        """Read at least one more token of each; the logits after the last [B, V], or after each new one [B, T, V]."""
        ...

    def select(self, index: Sequence[int]) -> "Reading":
        """The sequences at `index`, any of them several times."""
        ...


def begin(lm: TextModel, prompts: Sequence[list[int]]) -> tuple[int, Reading]:
    """One sequence with the tokens that all `prompts` begin with, and how many these are.

    At least one token of every prompt is left. Where less than `SHARED` are common or there is one prompt, none is read.
    """
    shared = common_prefix(prompts, min(len(ids) for ids in prompts) - 1) if len(prompts) > 1 else 0
    reading = _Cached.start(lm) if has_plain_cache(lm) else _Again(lm.net, pad_id(lm.tokenizer), [[]])
    if shared < SHARED:
        return 0, reading
    return shared, reading.extend([prompts[0][:shared]])[1]


def common_prefix(rows: Sequence[list[int]], most: int) -> int:
    """How many tokens all rows begin with, at most `most`."""
    first, last = min(rows), max(rows)  # in lexical order, so that these two differ first
    return next((at for at in range(most) if first[at] != last[at]), most)


def has_plain_cache(lm: TextModel) -> bool:
    """Whether the model keeps keys and values of every token, at positions that one can choose."""
    config = lm.bare.config
    full = set(getattr(config, "layer_types", None) or ()) <= {"full_attention"}
    return config.model_type in ANATOMY and full and not getattr(config, "sliding_window", None)


@dataclass(frozen=True)
class _Cached:
    """Keys and values are kept. Rows are padded on the right; later tokens do not see the pads between, and positions count
    real tokens, so each sequence is computed as if it were alone.
    """

    net: Net
    pad: int
    cache: Any
    seen: Bool[Tensor, "B S"]

    @classmethod
    def start(cls, lm: TextModel) -> "_Cached":
        empty = torch.zeros(1, 0, dtype=torch.bool, device=lm.device)
        return cls(lm.net, pad_id(lm.tokenizer), library("transformers").DynamicCache(), empty)

    def extend(self, rows: Rows, *, last: bool = True) -> tuple[Tensor, "_Cached"]:
        device, lengths = self.seen.device, torch.tensor([len(row) for row in rows])
        new = torch.arange(int(lengths.max())) < lengths[:, None]
        within = new.cumsum(1) - 1  # pads repeat the last position, which the model surely has
        seen = torch.cat([self.seen, new.to(device)], dim=1)
        cache = _fork(self.cache)
        logits = _logits(
            self.net,
            filled(rows, self.pad).to(device),
            lengths if last else None,
            attention_mask=seen.long(),
            position_ids=self.seen.sum(1, keepdim=True) + within.to(device),
            past_key_values=cache,
            use_cache=True,
        )
        return logits, _Cached(self.net, self.pad, cache, seen)

    def select(self, index: Sequence[int]) -> "_Cached":
        at, cache = torch.tensor(index, device=self.seen.device), _fork(self.cache)
        for layer in cache.layers:
            layer.batch_select_indices(at)
        return _Cached(self.net, self.pad, cache, self.seen[at])


@dataclass(frozen=True)
class _Again:
    """Every continuation reads everything again, which holds for any causal model."""

    net: Net
    pad: int
    rows: list[list[int]]

    def extend(self, rows: Rows, *, last: bool = True) -> tuple[Tensor, "_Again"]:
        whole = [[*old, *new] for old, new in zip(self.rows, rows, strict=True)]
        device = next(self.net.parameters()).device
        tokens, lengths = filled(whole, self.pad).to(device), torch.tensor([len(row) for row in whole])
        logits = _logits(self.net, tokens, lengths if last else None)
        if not last:
            new = torch.arange(max(len(row) for row in rows))
            at = torch.tensor([len(row) for row in self.rows])[:, None] + new
            logits = logits[torch.arange(len(whole))[:, None], at.clamp(max=logits.shape[1] - 1)]
        return logits, _Again(self.net, self.pad, whole)

    def select(self, index: Sequence[int]) -> "_Again":
        return _Again(self.net, self.pad, [self.rows[i] for i in index])


def _logits(
    net: Net, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, " B"] | None, **options: Any
) -> Float[Tensor, "..."]:
    """All logits, or with `lengths` those after the last token of each row; no others are computed then."""
    if lengths is None:
        return net(tokens, **options)
    keep, column = torch.unique(lengths - 1, return_inverse=True)
    return net(tokens, keep=keep.to(tokens.device), **options)[torch.arange(len(tokens)), column]


def _fork(cache: Any) -> Any:
    """A cache that shares what is in it and goes on by itself: its layers grow by new tensors."""
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    return fork
