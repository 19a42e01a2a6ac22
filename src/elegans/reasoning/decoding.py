"""From scores to text: greedy, sampling, beam; and many texts to one: self-consistency, best of n.

Shapes: N sequences, V vocabulary.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from elegans.ops.rng import torch_rng
from elegans.reasoning.lm import LanguageModel, Prefix, read
from elegans.reasoning.scorer import Generation, Scorer, ScorerError, Text


class Written(NamedTuple):
    """Tokens after a prompt, and their log-probabilities under the model, before temperature and `top_p`."""

    tokens: list[int]
    log_probs: list[float]


def never(_: list[int]) -> bool:
    """Nothing stops a text but its end token and its length."""
    return False


def warped(logits: Float[Tensor, "*N V"], temperature: float, top_p: float = 1.0) -> Float[Tensor, "*N V"]:
    """What is sampled from: the softmax at this temperature, cut to its nucleus and normalized, in double precision.

    The nucleus (Holtzman et al. 2020, arXiv 1904.09751) is the smallest set of most likely tokens that has a share of at
    least `top_p`. Raises `ValueError` unless ``temperature > 0`` and ``0 < top_p <= 1``.
    """
    if not temperature > 0 or not 0 < top_p <= 1:
        raise ValueError(f"temperature must be above 0 and top_p in (0, 1], got {temperature} and {top_p}")
    probs = (logits.double() / temperature).softmax(-1)
    if top_p < 1:
        sorted_probs, order = torch.sort(probs, dim=-1, descending=True, stable=True)
        outside = sorted_probs.cumsum(-1) - sorted_probs >= top_p
        probs = probs.masked_fill(outside.scatter(-1, order, outside), 0.0)
        probs = probs / probs.sum(-1, keepdim=True)
    return probs


def draw(probs: Float[Tensor, " V"], generator: torch.Generator) -> int:
    """A token from a distribution, by one uniform number of the generator."""
    below = probs.cumsum(-1)
    u = torch.rand((), generator=generator, dtype=torch.double).item() * below[-1]
    token = int(torch.searchsorted(below, u, right=True))
    return min(token, int(probs.nonzero()[-1]))


def sample(
    model: LanguageModel,
    prompt: Sequence[int] | Prefix,
    *,
    max_tokens: int,
    num: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    ends: Collection[int] = (),
    stopped: Callable[[list[int]], bool] = never,
    seed: int = 0,
) -> list[Written]:
    """`num` texts in one batch, up to and with a token of `ends`; at temperature 0 the greedy one.

    Text `i` of a seed has random numbers of its own, so it does not depend on `num`.
    """
    if num < 1 or max_tokens < 0 or temperature < 0:
        raise ValueError(f"need num >= 1, max_tokens >= 0, temperature >= 0, got {num}, {max_tokens}, {temperature}")
    start = prompt if isinstance(prompt, Prefix) else read(model, prompt)
    texts = [Written([], []) for _ in range(num)]
    generators = [torch_rng("reasoning-sample", seed, i) for i in range(num)]
    active = list(range(num)) if max_tokens else []
    logits = start.logits.expand(num, -1)
    state = start.state
    if num > 1:
        state = model.select(state, torch.zeros(num, dtype=torch.long, device=model.device))
    while active:
        check_numbers(logits)
        log_probs = logits.log_softmax(-1)
        if temperature == 0:
            chosen = logits.argmax(-1).tolist()
        else:
            probs = warped(logits, temperature, top_p).cpu()
            chosen = [draw(row, generators[i]) for row, i in zip(probs, active, strict=True)]
        for row, (i, token) in enumerate(zip(active, chosen, strict=True)):
            texts[i].tokens.append(token)
            texts[i].log_probs.append(float(log_probs[row, token]))
        going = [
            row
            for row, i in enumerate(active)
            if texts[i].tokens[-1] not in ends and len(texts[i].tokens) < max_tokens and not stopped(texts[i].tokens)
        ]
        if going and len(going) < len(active):
            state = model.select(state, torch.tensor(going, device=model.device))
        active = [active[row] for row in going]
        if active:
            last = torch.tensor([[texts[i].tokens[-1]] for i in active], device=model.device)
            logits, state = model.extend(last, state, 1)
            logits = logits[:, -1]
    return texts


def greedy(
    model: LanguageModel, prompt: Sequence[int] | Prefix, *, max_tokens: int, ends: Collection[int] = ()
) -> Written:
    """The most likely token, again and again."""
    return sample(model, prompt, max_tokens=max_tokens, temperature=0.0, ends=ends)[0]


def beam(
    model: LanguageModel,
    prompt: Sequence[int] | Prefix,
    *,
    width: int,
    max_tokens: int,
    ends: Collection[int] = (),
    length_penalty: float = 0.0,
) -> list[Written]:
    """The `width` best texts that beam search finds, best first.

    A text is judged by log p / length ** `length_penalty`: 0 is the likelihood, 1 the mean per token. Without a penalty
    the search ends as soon as no unfinished text can become better than the finished ones.
    """
    if width < 1 or max_tokens < 1:
        raise ValueError(f"width and max_tokens must be at least 1, got {width} and {max_tokens}")
    start = prompt if isinstance(prompt, Prefix) else read(model, prompt)

    def quality(text: Written) -> float:
        return sum(text.log_probs) / len(text.tokens) ** length_penalty

    beams, finished = [Written([], [])], []
    logits, state = start.logits[None], start.state
    for length in range(1, max_tokens + 1):
        check_numbers(logits)
        log_probs = logits.double().log_softmax(-1)
        totals = log_probs + torch.tensor([[sum(b.log_probs)] for b in beams], device=model.device).double()
        # Of 1 + len(ends) texts per beam, one at least goes on.
        best = totals.flatten().topk(min(totals.numel(), width * (1 + len(ends)))).indices.tolist()
        rows, going = [], []
        for row, token in (divmod(place, model.vocab_size) for place in best):
            text = Written([*beams[row].tokens, token], [*beams[row].log_probs, float(log_probs[row, token])])
            if token in ends or length == max_tokens:
                finished.append(text)
            elif len(going) < width:
                rows.append(row)
                going.append(text)
        finished = sorted(finished, key=quality, reverse=True)[:width]
        beams = going
        done = len(finished) == width and length_penalty == 0
        if not beams or (done and quality(finished[-1]) >= quality(beams[0])):
            break
        state = model.select(state, torch.tensor(rows, device=model.device))
        logits, state = model.extend(torch.tensor([[b.tokens[-1]] for b in beams], device=model.device), state, 1)
        logits = logits[:, -1]
    return finished


def check_numbers(logits: Tensor) -> None:
    """Raise `ScorerError` for logits that are not numbers."""
    if logits.isnan().any():
        raise ScorerError("the model gave logits that are not numbers")


@dataclass(frozen=True)
class Vote:
    """What most texts answer: `answer` is None if no text has one; `votes` of every answer, most first."""

    answer: Hashable | None
    votes: dict[Hashable, int]
    generations: list[Generation]


def self_consistency(
    scorer: Scorer,
    prompt: Text,
    answer: Callable[[str], Hashable | None],
    *,
    num: int,
    max_tokens: int,
    temperature: float = 0.7,
    top_p: float = 1.0,
    stop: Sequence[str] = (),
    seed: int = 0,
) -> Vote:
    """Sample `num` texts and take the answer that most of them give (Wang et al. 2023, arXiv 2203.11171).

    `answer` reads the answer out of a text, None where there is none. Of equally many the one given first.
    """
    texts = scorer.generate(
        prompt, max_tokens=max_tokens, num=num, temperature=temperature, top_p=top_p, stop=stop, seed=seed
    )
    counts = Counter(found for text in texts if (found := answer(text.text)) is not None)
    votes = dict(counts.most_common())
    return Vote(next(iter(votes), None), votes, texts)


@dataclass(frozen=True)
class Best:
    """The chosen of `generations`; `passed` is what the check says of it, None without a check."""

    generation: Generation
    passed: bool | None
    generations: list[Generation]


def mean_log_prob(generation: Generation) -> float:
    """Per token, in nats; minus infinity for an empty text."""
    return generation.log_prob / len(generation.log_probs) if generation.log_probs else -math.inf


def best_of_n(
    scorer: Scorer,
    prompt: Text,
    *,
    num: int,
    max_tokens: int,
    check: Callable[[str], bool] | None = None,
    quality: Callable[[Generation], float] = mean_log_prob,
    temperature: float = 0.7,
    top_p: float = 1.0,
    stop: Sequence[str] = (),
    seed: int = 0,
) -> Best:
    """Sample `num` texts and take the one of the highest quality, of those that pass the check if any does."""
    texts = scorer.generate(
        prompt, max_tokens=max_tokens, num=num, temperature=temperature, top_p=top_p, stop=stop, seed=seed
    )
    passing = [text for text in texts if check(text.text)] if check else []
    chosen = max(passing or texts, key=quality)
    return Best(chosen, bool(passing) if check else None, texts)
