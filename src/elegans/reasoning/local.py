"""A scorer on a model in this process: shared prefixes are read once, continuations in one batch.

Shapes: K pairs, M tokens of the longest rest, n tokens of a continuation, V vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from elegans.reasoning import decoding
from elegans.reasoning.lm import LanguageModel, Prefix, check_context
from elegans.reasoning.prefixes import Known, PrefixCache, Span, common_length, spans
from elegans.reasoning.scorer import (
    Capabilities,
    Generation,
    PairScorer,
    Scored,
    ScorerError,
    Text,
    Usage,
)
from elegans.reasoning.speculative import SpeculationStats, speculate

MERGED_TOKENS = 64
"""A shared beginning gets a pass of its own where reading it once per continuation would add more tokens than this."""


@runtime_checkable
class Tokenizer(Protocol):
    """Text to tokens and back."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        ...


class LocalScorer(PairScorer):
    """A `Scorer` of a `LanguageModel` and its tokenizer.

    What is cached decides how a score is computed, so its last digits may depend on what was scored before.

    Args:
        model: the language model.
        tokenizer: None where texts are given as tokens.
        ends: tokens that end a generated text.
        draft: a smaller model that guesses ahead when a single text is generated.
        gamma: how many tokens it guesses at a time.
        cached_prefixes: how many read prefixes are kept.
        max_batch: continuations that are read in one pass.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer | None,
        *,
        ends: Sequence[int] = (),
        draft: LanguageModel | None = None,
        gamma: int = 4,
        cached_prefixes: int = 8,
        max_batch: int = 32,
    ) -> None:
        if draft is not None and draft.vocab_size != model.vocab_size:
            raise ValueError(f"a draft needs the model's {model.vocab_size} tokens, this one has {draft.vocab_size}")
        self.model, self.tokenizer, self.ends = model, tokenizer, tuple(ends)
        self.draft, self.gamma, self.max_batch = draft, gamma, max_batch
        self.capabilities = Capabilities(cached_prefixes=cached_prefixes > 0)
        self.speculation = SpeculationStats()
        """How all speculative generation of this scorer went."""
        self._prefixes = PrefixCache(model, cached_prefixes)

    @property
    def usage(self) -> Usage:
        """What the model was asked; a draft has a counter of its own."""
        return self.model.usage

    def tokenize(self, text: str) -> list[int]:
        """See `Scorer.tokenize`. Raises `ScorerError` without a tokenizer."""
        return self._tokens(text)

    def _tokens(self, text: Text) -> list[int]:
        if not isinstance(text, str):
            return list(text)
        if self.tokenizer is None:
            raise ScorerError("this scorer has no tokenizer; give it tokens in place of text")
        return self.tokenizer.encode(text)

    # ------------------------------------------------------------------------------------------------------ scoring

    def score(self, pairs: Sequence[tuple[Text, Text]], *, distributions: bool = False) -> list[Scored]:
        """See `Scorer.score`. Raises `ValueError` for an empty continuation or one too long for the model's context."""
        todo = spans(self._tokens, pairs)
        for span in todo:
            check_context(self.model, len(span.tokens))
        scored = []
        for first in range(0, len(todo), self.max_batch):
            scored += self._score(todo[first : first + self.max_batch], distributions)
        return scored

    def _score(self, batch: list[Span], distributions: bool) -> list[Scored]:
        start = min(span.start for span in batch)
        shared = batch[0].tokens[:start]
        for span in batch[1:]:
            shared = shared[: common_length(shared, span.tokens)]
        single = all(len(span.tokens) == len(shared) + 1 for span in batch)
        known = self._base(shared, len(batch), single)

        base = known.length
        lengths = [len(span.tokens) - 1 - base for span in batch]
        longest = max(lengths)
        first = max(0, min(span.start for span in batch) - 1 - base)  # of the rest, whose logits are needed
        logits: Tensor | None = None
        if longest:
            rest = [[*span.tokens[base:-1], *[0] * (longest - n)] for span, n in zip(batch, lengths, strict=True)]
            tokens = torch.tensor(rest, dtype=torch.long, device=self.model.device)
            state = known.state
            if state is not None and len(batch) > 1:
                state = self.model.select(state, tokens.new_zeros(len(batch)))
            logits, state = self.model.extend(tokens, state, longest - first)
            self.model.usage.read_tokens -= sum(longest - n for n in lengths)  # padding
            if base < len(shared) and self.model.croppable and self._prefixes.size:
                self._keep(shared, base + first, logits, state, tokens)
        return [
            _scored(span, self._rows(span, k, base, first, known, logits), distributions)
            for k, span in enumerate(batch)
        ]

    def _base(self, shared: tuple[int, ...], rows: int, single: bool) -> Known:
        """What to start the batch from: the shared tokens if they are worth a pass, else what is known of them."""
        known = self._prefixes.longest(shared)
        missing = len(shared) - known.length
        if single or (rows - 1) * missing > MERGED_TOKENS:
            prefix = self._prefixes.read(shared)
            return Known(len(shared), prefix.state, prefix.logits)
        return self._prefixes.shorter(known) if shared and not missing and known.logits is None else known

    def _keep(self, shared: tuple[int, ...], offset: int, logits: Tensor, state: object, tokens: Tensor) -> None:
        """Remember the shared tokens, read within a batch: its first row, cut."""
        if len(shared) - 1 >= offset:
            one = self.model.crop(self.model.select(state, tokens.new_zeros(1)), len(shared))
            self._prefixes.add(Prefix(shared, logits[0, len(shared) - 1 - offset].clone(), one))

    def _rows(
        self, span: Span, k: int, base: int, first: int, known: Known, logits: Tensor | None
    ) -> Float[Tensor, "n V"]:
        """The logits that predict the scored tokens of pair k."""
        if span.start > base:
            assert logits is not None
            return logits[k, span.start - 1 - base - first : len(span.tokens) - 1 - base - first]
        assert known.logits is not None
        head = known.logits[None]
        return head if logits is None else torch.cat([head, logits[k, : len(span.tokens) - 1 - base]])

    # --------------------------------------------------------------------------------------------------- generation

    def generate(
        self,
        prompt: Text,
        *,
        max_tokens: int,
        num: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Generation]:
        """See `Scorer.generate`. With a draft, a single text is generated speculatively."""
        tokens = self._tokens(prompt)
        if not tokens:
            raise ValueError("a prompt needs at least one token")
        check_context(self.model, len(tokens) + max_tokens - 1)

        def stopped(new: list[int]) -> bool:
            return bool(stop) and self._cut(new, stop) is not None

        sampling = {"temperature": temperature, "top_p": top_p, "seed": seed}
        limits = {"max_tokens": max_tokens, "ends": self.ends, "stopped": stopped}
        if self.draft is not None and num == 1:
            made = speculate(self.model, self.draft, tokens, gamma=self.gamma, **limits, **sampling)
            self.speculation += made.stats
            texts = [(made.tokens, made.log_probs)]
        else:
            prefix = self._prefixes.read(tokens)
            texts = decoding.sample(self.model, prefix, num=num, **limits, **sampling)
        self.usage.generated_tokens += sum(len(new) for new, _ in texts)
        return [self._generation(new, log_probs, stop) for new, log_probs in texts]

    def _cut(self, new: Sequence[int], stop: Sequence[str]) -> str | None:
        """The text before the first stop text; None if there is none."""
        text = self._decode(new)
        places = [text.find(word) for word in stop if word in text]
        return text[: min(places)] if places else None

    def _decode(self, new: Sequence[int]) -> str:
        return "" if self.tokenizer is None else self.tokenizer.decode(new)

    def _generation(self, new: Sequence[int], log_probs: Sequence[float], stop: Sequence[str]) -> Generation:
        ended = bool(new) and new[-1] in self.ends
        cut = self._cut(new[:-1] if ended else new, stop) if stop else None
        text = self._decode(new[:-1] if ended else new) if cut is None else cut
        return Generation(text, tuple(new), tuple(log_probs), "stop" if ended or cut is not None else "length")


def _scored(span: Span, logits: Float[Tensor, "n V"], distributions: bool) -> Scored:
    """Raises `ScorerError` if a log-probability is not a finite number."""
    tokens = span.tokens[span.start :]
    log_probs = logits.log_softmax(-1)
    chosen = log_probs.gather(-1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0]
    if not chosen.isfinite().all():
        raise ScorerError("the model gave a log-probability that is not a finite number")
    return Scored(tokens, chosen.double().cpu().numpy(), log_probs if distributions else None)
