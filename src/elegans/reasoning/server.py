"""OpenAI-compatible completion servers (vLLM, SGLang, ...) as scorers."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from elegans.reasoning.http import JsonClient, is_log_prob
from elegans.reasoning.scorer import Capabilities, Generation, PairScorer, Scored, ScorerError, Text, Usage

PROBE = "The capital of France is Paris."


class _Echo(NamedTuple):
    """The tokens of a prompt: where each begins in it, at last its end; log-probabilities, None where none is given."""

    bounds: list[int]
    log_probs: list[float | None]


class ServerScorer(PairScorer):
    """A model behind ``/completions`` with `echo` and `logprobs`.

    At the start a known text is scored: a server that returns the log-probabilities of generated tokens only is refused
    with `ScorerError`, as its answers would be about other tokens than those asked for. Distributions are not available.

    Args:
        base_url: up to and with ``/v1``.
        model: the name that the server gives it.
        key_variable: environment variable with the key; see `JsonClient`, also for the next three.
        timeout: seconds for one whole request.
        retries: further attempts.
        backoff: seconds before the first of them.
        scoring: False for a server that is only to generate; nothing is asked at the start.
        max_batch: prompts per request.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_variable: str | None = "OPENAI_API_KEY",
        timeout: float = 60.0,
        retries: int = 3,
        backoff: float = 0.5,
        scoring: bool = True,
        max_batch: int = 32,
    ) -> None:
        self.client = JsonClient(base_url, key_variable, timeout, retries, backoff)
        self.model, self.max_batch = model, max_batch
        self.capabilities = Capabilities(log_probs=scoring, distributions=False, cached_prefixes=False)
        self.usage = Usage()
        if scoring:
            try:
                (echo,) = self._echoes([PROBE])
                if not any(echo.log_probs):
                    raise ScorerError(f"{model} is not usable: all log-probabilities of a known text are 0")
            except ScorerError:
                self.client.close()
                raise

    def __repr__(self) -> str:
        return f"ServerScorer({self.client.base_url!r}, {self.model!r})"

    def tokenize(self, text: str) -> list[int]:
        """Not available."""
        raise ScorerError("a completions server does not say which tokens a text has")

    def score(self, pairs: Sequence[tuple[Text, Text]], *, distributions: bool = False) -> list[Scored]:
        """See `Scorer.score`. Raises `ScorerError` for distributions, and where `scoring` is off."""
        if not self.capabilities.log_probs or distributions:
            raise ScorerError(f"{self.model} behind a server gives no {'distributions' if distributions else 'scores'}")
        prefixes, texts = [], []
        for prefix, continuation in pairs:
            if not isinstance(prefix, str) or not isinstance(continuation, str):
                raise ValueError("a server is asked in text, not in tokens")
            if not continuation:
                raise ValueError("the continuation '' has no token")
            prefixes.append(prefix)
            texts.append(prefix + continuation)
        echoes: list[_Echo] = []
        for first in range(0, len(texts), self.max_batch):
            echoes += self._echoes(texts[first : first + self.max_batch])
        starts: dict[str, int] = {}
        for prefix, echo in zip(prefixes, echoes, strict=True):
            begin = next(begin for begin, end in pairwise(echo.bounds) if end > len(prefix))
            starts[prefix] = min(starts.get(prefix, begin), begin)
        return [self._scored(echo, starts[prefix], prefix) for prefix, echo in zip(prefixes, echoes, strict=True)]

    def _scored(self, echo: _Echo, start: int, prefix: str) -> Scored:
        values = [value for begin, value in zip(echo.bounds, echo.log_probs, strict=False) if begin >= start]
        if not prefix and values[0] is None:
            values = values[1:]
        if start not in echo.bounds or not values or None in values:
            raise ScorerError(
                f"{self.model} answers with tokens that do not meet the end of the prefix {prefix[-40:]!r}"
            )
        return Scored((), np.array(values, dtype=np.float64))

    def _echoes(self, texts: Sequence[str]) -> list[_Echo]:
        body = {"prompt": list(texts), "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}
        choices = self._complete(body, len(texts))
        made = [_echo(text, choice) for text, choice in zip(texts, choices, strict=True)]
        self.usage.read_tokens += sum(len(echo.log_probs) for echo in made)
        return made

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
        """See `Scorer.generate`. The random numbers are the server's, so text `i` may depend on `num`."""
        if not isinstance(prompt, str):
            raise ValueError("a server is asked in text, not in tokens")
        body: dict[str, Any] = {"prompt": prompt, "max_tokens": max_tokens, "n": num, "seed": seed, "logprobs": 1}
        body |= {"temperature": temperature, "top_p": top_p} | ({"stop": list(stop)} if stop else {})
        return [self._generation(choice) for choice in self._complete(body, num)]

    def _generation(self, choice: dict[str, Any]) -> Generation:
        text, log_probs = choice.get("text"), _part(choice, "token_logprobs")
        if not isinstance(text, str) or not all(is_log_prob(value) for value in log_probs):
            raise ScorerError("the server's answer has no text with log-probabilities of its tokens")
        self.usage.generated_tokens += len(log_probs)
        return Generation(text, (), tuple(log_probs), "stop" if choice.get("finish_reason") == "stop" else "length")

    def _complete(self, body: dict[str, Any], num: int) -> list[dict[str, Any]]:
        """The choices of one request, in the order of their index."""
        answer = self.client.post("/completions", {"model": self.model, **body})
        self.usage.passes += 1
        choices = answer.get("choices")
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise ScorerError("the server's answer has no choices")
        places = [choice.get("index") for choice in choices]
        if len(places) != num or any(type(place) is not int for place in places) or set(places) != {*range(num)}:
            raise ScorerError(f"the server answers {len(choices)} choices where {num} were asked for")
        return sorted(choices, key=lambda choice: choice["index"])


def _part(choice: dict[str, Any], name: str) -> list[Any]:
    log_probs = choice.get("logprobs")
    values = log_probs.get(name) if isinstance(log_probs, dict) else None
    if not isinstance(values, list):
        raise ScorerError("the server returns no log-probabilities")
    return values


def _echo(prompt: str, choice: dict[str, Any]) -> _Echo:
    """The tokens of a prompt in a choice. Raises `ScorerError` if they are not there, or are those of another text."""
    texts, log_probs = _part(choice, "tokens"), _part(choice, "token_logprobs")
    if len(texts) != len(log_probs) or not all(isinstance(text, str) for text in texts):
        raise ScorerError("the server returns tokens and log-probabilities that do not match")
    place = "".join(texts).find(prompt)
    bounds = [bound - place for bound in accumulate(map(len, texts), initial=0)]
    if place < 0 or 0 not in bounds or len(prompt) not in bounds:
        raise ScorerError(
            "the server does not return the log-probabilities of the prompt's own tokens (echo with logprobs): "
            "only generated tokens, or those of another text, came back, so it can generate but not score"
        )
    first, last = bounds.index(0), bounds.index(len(prompt))
    kept = log_probs[first:last]
    if not all(is_log_prob(value) for value in kept[1:]) or not (kept[0] is None or is_log_prob(kept[0])):
        raise ScorerError("the server returns a log-probability that is not a finite number of at most 0")
    return _Echo(bounds[first : last + 1], kept)
