"""Speculative decoding: a small model drafts, the large one checks several tokens in one pass.

Shapes: L checked positions, V vocabulary.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from elegans.ops.rng import torch_rng
from elegans.reasoning.decoding import check_numbers, draw, never, warped
from elegans.reasoning.lm import Cursor, LanguageModel, check_context


@dataclass(frozen=True)
class SpeculationStats:
    """Counts of speculative decoding."""

    expert_calls: int = 0
    drafted: int = 0
    accepted: int = 0
    generated: int = 0

    def __add__(self, other: "SpeculationStats") -> "SpeculationStats":
        return SpeculationStats(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def acceptance(self) -> float:
        """Share of the drafted tokens that were accepted; nan if none was drafted."""
        return self.accepted / self.drafted if self.drafted else float("nan")

    @property
    def tokens_per_expert_call(self) -> float:
        """Generated tokens per pass of the expert; nan without a pass."""
        return self.generated / self.expert_calls if self.expert_calls else float("nan")


@dataclass(frozen=True)
class Speculation:
    """A text, the log-probabilities of its tokens under the expert (before temperature and `top_p`), and counts."""

    tokens: list[int]
    log_probs: list[float]
    stats: SpeculationStats


def speculate(
    expert: LanguageModel,
    draft: LanguageModel,
    prompt: Sequence[int],
    *,
    max_tokens: int,
    gamma: int = 4,
    temperature: float = 0.0,
    top_p: float = 1.0,
    ends: Collection[int] = (),
    stopped: Callable[[list[int]], bool] = never,
    seed: int = 0,
) -> Speculation:
    r"""A text of the expert with fewer passes of it (Leviathan et al. 2023, arXiv 2211.17192, algorithm 1).

    The draft proposes `gamma` tokens x ~ q; one pass of the expert gives all p. A proposal is accepted with probability
    :math:`\min(1, p(x)/q(x))`; the first one that is not is replaced by a draw from :math:`\max(0, p - q)`, normalized;
    if all are accepted, one more token comes from the same pass. Tokens are distributed as if the expert alone had
    drawn them. At temperature 0 a proposal is accepted where it is the expert's first choice, and the text is the
    greedy one. The first pass reads the prompt and checks the first proposals together.

    Raises `ValueError` for an empty prompt, models of different vocabularies, or a text beyond their context.
    """
    if expert.vocab_size != draft.vocab_size:
        raise ValueError(f"the vocabularies differ: {expert.vocab_size} and {draft.vocab_size} tokens")
    if not prompt or gamma < 1 or max_tokens < 0 or temperature < 0:
        raise ValueError("need a prompt of at least one token, gamma >= 1, max_tokens >= 0, temperature >= 0")
    for model in (expert, draft):
        check_context(model, len(prompt) + max_tokens - 1)
    rule = _Greedy() if temperature == 0 else _Sampling(temperature, top_p, torch_rng("speculation", seed))
    large, small = Cursor(expert), Cursor(draft)
    text, new, log_probs = list(prompt), [], []
    stats = SpeculationStats()
    ended = max_tokens == 0
    while not ended:
        num = min(gamma, max_tokens - len(new) - 1)
        proposals, guesses = [], []
        for _ in range(num):
            logits = small.read([*text, *proposals][len(small) :])[-1]
            check_numbers(logits)
            token, guess = rule.propose(logits)
            proposals.append(token)
            guesses.append(guess)
        checked = large.read([*text, *proposals][len(large) :], last=num + 1)
        check_numbers(checked)
        tokens = rule.judge(checked, proposals, guesses)
        accepted = len(tokens) - 1
        for place, token in enumerate(tokens):
            new.append(token)
            log_probs.append(float(checked[place].log_softmax(-1)[token]))
            ended = token in ends or len(new) == max_tokens or stopped(new)
            if ended:
                break
        stats += SpeculationStats(1, num, accepted, place + 1)
        text = [*prompt, *new]
        for cursor in (large, small):  # neither has read the last token
            cursor.rewind(min(len(cursor), len(text) - 1))
    return Speculation(new, log_probs, stats)


class _Greedy:
    """Deterministic proposals, accepted while they are the expert's first choice."""

    def propose(self, logits: Tensor) -> tuple[int, None]:
        return int(logits.argmax()), None

    def judge(self, checked: Tensor, proposals: list[int], guesses: list[None]) -> list[int]:
        choices = checked.argmax(-1).tolist()
        accepted = 0
        while accepted < len(proposals) and choices[accepted] == proposals[accepted]:
            accepted += 1
        return choices[: accepted + 1]


class _Sampling:
    """Proposals drawn from q, accepted so that what remains is drawn from p."""

    def __init__(self, temperature: float, top_p: float, generator: torch.Generator) -> None:
        self.temperature, self.top_p, self.generator = temperature, top_p, generator

    def propose(self, logits: Tensor) -> tuple[int, Tensor]:
        q = warped(logits, self.temperature, self.top_p).cpu()
        return draw(q, self.generator), q

    def judge(self, checked: Tensor, proposals: list[int], guesses: list[Tensor]) -> list[int]:
        targets = warped(checked, self.temperature, self.top_p).cpu()
        for place, (token, q) in enumerate(zip(proposals, guesses, strict=True)):
            p = targets[place]
            if torch.rand((), generator=self.generator, dtype=torch.double) * q[token] >= p[token]:
                return [*proposals[:place], draw((p - q).clamp(min=0), self.generator)]
        return [*proposals, draw(targets[-1], self.generator)]


def expected_tokens(acceptance: float, gamma: int) -> float:
    r"""Tokens per pass of the expert in an endless text, :math:`(1 - a^{\gamma+1}) / (1 - a)` (same paper, eq. 1)."""
    return float(gamma + 1) if acceptance == 1 else (1 - acceptance ** (gamma + 1)) / (1 - acceptance)


def predicted_speedup(acceptance: float, gamma: int, draft_cost: float, check_cost: float = 1.0) -> float:
    """Of an endless text, in time.

    `draft_cost` is the time of one pass of the draft, `check_cost` that of a pass over gamma + 1 tokens, both in passes of
    the expert over one token (theorem 3.8 of the same paper has `check_cost` 1).
    """
    return expected_tokens(acceptance, gamma) / (gamma * draft_cost + check_cost)
