"""Text of order 1: a Markov chain, and one that is interrupted by copying.

Shapes: B sequences, S tokens, V vocabulary.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.language import LanguageTask, Transitions, softmax_rows, stationary
from elegans.tasks.words import check_at_least, check_range


class MarkovText(LanguageTask):
    r"""A Markov chain in its stationary state, whose rows are softmax(scale * N(0, 1)), fixed by `seed`.

    Attributes:
        transition: [V, V] probabilities of the next token by the last.
        stationary: [V] probabilities of a token.
    """

    kinds = ("token",)

    def __init__(
        self, *, n_tokens: int = 256, scale: float = 2.0, length: int = 64, n_eval: int = 256, seed: int = 0
    ) -> None:
        check_at_least(2, n_tokens=n_tokens)
        super().__init__("markov-text", n_tokens, length=length, n_eval=n_eval, seed=seed)
        logits = scale * numpy_rng("markov-text", seed, "rows").standard_normal((n_tokens, n_tokens))
        rows = softmax_rows(logits)
        start = stationary(rows)
        self._rows, self._start = Transitions(rows), Transitions(start[None])
        self.transition, self.stationary = self._rows.probs, self._start.probs[0]

    @property
    def entropy_rate(self) -> float:
        r"""The Bayes loss per token, :math:`-\sum_x \pi_x \sum_y P_{xy} \ln P_{xy}`, nats."""
        return float(self.stationary @ torch.special.entr(self.transition).sum(-1))

    def sequences(self, rng: np.random.Generator, size: int, length: int) -> np.ndarray:
        """[size, length] tokens."""
        uniform = rng.random((length, size))
        tokens = np.empty((length, size), dtype=np.int64)
        tokens[0] = self._start.draw(np.zeros(size, dtype=np.int64), uniform[0])
        for t in range(1, length):
            tokens[t] = self._rows.draw(tokens[t - 1], uniform[t])
        return tokens.T.copy()

    def bayes_nll(self, tokens: Int[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """Nats of each token given the one before it, of the first by the stationary distribution."""
        first, rest = self.stationary[tokens[:, :1]], self.transition[tokens[:, :-1], tokens[:, 1:]]
        return -torch.cat([first, rest], dim=1).log()

    def kind_of(self, tokens: Int[Tensor, "B S"]) -> Int[Tensor, "B S"]:
        """All alike."""
        return torch.zeros_like(tokens)


class BigramBackcopy(LanguageTask):
    """After a trigger comes once more the token before the trigger; all else is a Markov chain.

    In the manner of the Bigram-Backcopy task of Guo et al. 2024 (arXiv 2410.13835): a head that looks back is of use
    after triggers only. Tokens: the beginning of the sequence 0, the triggers ``1..n_triggers``, the rest. Rows of the
    chain are softmax(scale * N(0, 1)) over all tokens but 0; the token after 0 is uniform over those that are no
    trigger. So a trigger never follows a trigger, and what is copied is an ordinary token.

    The token copied is of kind ``on-trigger`` and costs nothing; all others are ``off-trigger``. `shuffled` kinds are
    the control.

    Attributes:
        transition: [V, V] probabilities of the next token by the last; rows of triggers are not used.
    """

    kinds = ("off-trigger", "on-trigger")

    def __init__(
        self,
        *,
        n_tokens: int = 48,
        n_triggers: int = 3,
        scale: float = 1.5,
        length: int = 64,
        n_eval: int = 256,
        seed: int = 0,
    ) -> None:
        check_range("n_triggers", n_triggers, 1, n_tokens - 2, "n_tokens - 2")
        super().__init__("bigram-backcopy", n_tokens, length=length, n_eval=n_eval, seed=seed)
        self.n_triggers = n_triggers
        rows = np.zeros((n_tokens, n_tokens))
        logits = scale * numpy_rng("bigram-backcopy", seed, "rows").standard_normal((n_tokens, n_tokens - 1))
        rows[:, 1:] = softmax_rows(logits)
        rows[0, : n_triggers + 1], rows[0, n_triggers + 1 :] = 0, 1 / (n_tokens - n_triggers - 1)
        self._rows = Transitions(rows)
        self.transition = self._rows.probs

    def is_trigger(self, tokens: Int[Tensor, "*B"]) -> Bool[Tensor, "*B"]:
        """Whether each token is a trigger."""
        return (tokens >= 1) & (tokens <= self.n_triggers)

    def sequences(self, rng: np.random.Generator, size: int, length: int) -> np.ndarray:
        """[size, length] tokens, of which the first is 0."""
        uniform = rng.random((length, size))
        tokens = np.zeros((length, size), dtype=np.int64)
        for t in range(1, length):
            last = tokens[t - 1]
            after_trigger = (last >= 1) & (last <= self.n_triggers)
            tokens[t] = np.where(after_trigger, tokens[t - 2], self._rows.draw(last, uniform[t]))
        return tokens.T.copy()

    def kind_of(self, tokens: Int[Tensor, "B S"]) -> Int[Tensor, "B S"]:
        """1 for a token that follows a trigger, 0 for others."""
        after = self.is_trigger(tokens[:, :-1]).long()
        return torch.cat([torch.zeros_like(tokens[:, :1]), after], dim=1)

    def bayes_nll(self, tokens: Int[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """Nats of each token: 0 for a copy, else by the row of the token before."""
        last = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], dim=1)
        before = torch.cat([torch.zeros_like(tokens[:, :1]), last[:, :-1]], dim=1)
        p = torch.where(self.is_trigger(last), (tokens == before).double(), self.transition[last, tokens])
        p[:, 0] = (tokens[:, 0] == 0).double()
        return -p.log()
