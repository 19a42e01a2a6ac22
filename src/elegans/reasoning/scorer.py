"""What a language model must be able to do for decoding and search, whoever runs it.

Shapes: n tokens of a continuation, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

Text = str | Sequence[int]
"""Text, or tokens where the caller has them."""


class ScorerError(RuntimeError):
    """A scorer could not answer, or answered something that cannot be used; the message is one line for a person."""


class ContextError(ScorerError, ValueError):
    """A text is longer than what the model can read."""


@dataclass(frozen=True)
class Capabilities:
    """What a scorer can do."""

    log_probs: bool = True
    """Log-probabilities of given continuations."""
    distributions: bool = True
    """Whole next-token distributions, which divergences of two models need."""
    generation: bool = True
    """Free text."""
    cached_prefixes: bool = True
    """A prefix that was read is not read again."""


@dataclass
class Usage:
    """What a model was asked so far; differences of two of them compare methods at equal cost."""

    passes: int = 0
    """Forward passes. A batch is one pass. For a server: requests."""
    read_tokens: int = 0
    """Tokens fed to the model, over all sequences of all passes; those that a cache holds are not fed again."""
    generated_tokens: int = 0
    """Tokens sampled or decoded."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.passes + other.passes,
            self.read_tokens + other.read_tokens,
            self.generated_tokens + other.generated_tokens,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return self + Usage(-other.passes, -other.read_tokens, -other.generated_tokens)


@dataclass(frozen=True, eq=False)
class Scored:
    """A continuation as a model sees it.

    `log_probs` [n] in nats, of each token given all before it. `distributions` [n V] are the log-probabilities of every
    token in its place, None unless they were asked for. `tokens` are the scorer's own, or empty where it has none.
    """

    tokens: tuple[int, ...]
    log_probs: Float[np.ndarray, " n"]
    distributions: Float[Tensor, "n V"] | None = None


@dataclass(frozen=True)
class Generation:
    """A text that a model wrote after a prompt.

    `log_probs` are those of its tokens under the model itself, before temperature and `top_p`. `ended` says what ended
    it: its end token or a stop text (neither is part of `text`), or the limit of tokens.
    """

    text: str
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    ended: Literal["stop", "length"]

    @property
    def log_prob(self) -> float:
        """Of the whole text, in nats."""
        return sum(self.log_probs)


@runtime_checkable
class Scorer(Protocol):
    """A language model that scores and writes.

    Texts are split into tokens by the scorer itself. Methods raise `ScorerError` for what the scorer cannot do, and for
    an answer that is missing, late, not a number, or about other tokens than those that were asked for.
    """

    capabilities: Capabilities
    usage: Usage

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text by itself, with whatever the model wants at its start."""
        ...

    def score(self, pairs: Sequence[tuple[Text, Text]], *, distributions: bool = False) -> list[Scored]:
        """Each second text as the continuation of the first; what the pairs share is read once.

        With an empty prefix the continuation is scored from its first token that has one before it. Where a token of the
        text reaches over the end of the prefix, the span begins earlier, at the last boundary that all continuations of
        this prefix have in common, so that their sums stay comparable.
        """
        ...

    def log_probs(self, prefix: Text, continuations: Sequence[Text]) -> list[Float[np.ndarray, " _"]]:
        """Log-probabilities, in nats, of each continuation's tokens: `score` for one prefix."""
        ...

    def distributions(self, prefix: Text, continuations: Sequence[Text]) -> list[Float[Tensor, "_ V"]]:
        """Log-probabilities of every token at each place of each continuation."""
        ...

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
        """`num` texts after the prompt; at temperature 0 the greedy one. Text `i` of a seed does not depend on `num`."""
        ...


class PairScorer:
    """The methods of a `Scorer` that follow from `score`."""

    def score(self, pairs: Sequence[tuple[Text, Text]], *, distributions: bool = False) -> list[Scored]:
        """See `Scorer.score`."""
        raise NotImplementedError

    def log_probs(self, prefix: Text, continuations: Sequence[Text]) -> list[Float[np.ndarray, " _"]]:
        """See `Scorer.log_probs`."""
        return [scored.log_probs for scored in self.score([(prefix, text) for text in continuations])]

    def distributions(self, prefix: Text, continuations: Sequence[Text]) -> list[Float[Tensor, "_ V"]]:
        """See `Scorer.distributions`."""
        scores = self.score([(prefix, text) for text in continuations], distributions=True)
        return [scored.distributions for scored in scores if scored.distributions is not None]
