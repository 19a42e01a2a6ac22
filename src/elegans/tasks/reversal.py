"""Facts in two directions: what does training on `A -> B` teach about `B <- A`?

Source: Zhu et al. 2024 (arXiv 2405.04669). Shapes: N pairs, W symbols per word, P tokens per prompt.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import Batch, FiniteTask, facts, join
from elegans.tasks.words import ask, check_at_least, check_range, distinct_words, rows


class ReversalPairs(FiniteTask):
    """A random bijection between A words and B words; some pairs are trained in one direction only.

    The first `n_both` pairs are trained as `A -> B` and `B <- A`. Of each *held* pair one direction is trained: a coin
    decides which (``held="coin"``), or it is always `A -> B` (``held="forward"``). The other direction is the test.
    A and B words use disjoint alphabets of `n_symbols` tokens each, so a prompt tells which side is asked for.

    Tokens: the relation tokens ``->`` and ``<-`` (and ``=`` with `identity`), then the A symbols, then the B symbols.
    Prompts end with the relation token. With ``relations=False`` there are no relation tokens and the prompt is the
    bare symbol, as in the bilinear model of Section 3.

    `add_reverse` trains the missing direction too: the control in which the test must be passed. `identity` adds, for
    every word of every pair, the item `A = A` or `B = B` ("identity bridge", arXiv 2602.02470) to `train`. Without
    relation tokens this item shares its prompt with the fact (`A` is followed by both `B` and `A`), so the loss on
    `train` cannot reach zero.

    ========= =================================================================
    split     items
    ========= =================================================================
    train     every trained item
    forward   the trained direction of the held pairs, in the order of the pairs
    reverse   the untrained direction of the held pairs, in the order of the pairs
    both      both directions of the first `n_both` pairs
    ========= =================================================================

    Attributes:
        a_words, b_words: [N, W] the words by pair, the held pairs last.
        n_both: number of pairs trained in both directions.
        forward_trained: [N] bool, whether `A -> B` is in `train` by design (always true before `n_both`).
        relation_tokens: the token of each relation by name; empty without relations.
    """

    def __init__(
        self,
        *,
        n_symbols: int,
        n_pairs: int,
        n_both: int,
        word_size: int = 1,
        relations: bool = True,
        held: Literal["coin", "forward"] = "coin",
        add_reverse: bool = False,
        identity: bool = False,
        seed: int = 0,
    ) -> None:
        check_at_least(1, n_symbols=n_symbols, word_size=word_size)
        check_range("n_pairs", n_pairs, 1, n_symbols**word_size, "n_symbols ** word_size")
        check_range("n_both", n_both, 0, n_pairs, "n_pairs")
        if held not in ("coin", "forward"):
            raise ValueError(f"held must be 'coin' or 'forward', got {held!r}")
        if not relations and word_size > 1:
            raise ValueError(f"without relations a prompt is one symbol, so word_size must be 1, got {word_size}")

        names = (("->", "<-", "=") if identity else ("->", "<-")) if relations else ()
        self.relation_tokens = {name: token for token, name in enumerate(names)}
        self.n_symbols, self.word_size, self.n_both = n_symbols, word_size, n_both

        def draw(side: str, first: int) -> Int[Tensor, "N W"]:
            rng = numpy_rng("reversal-pairs", seed, side)
            return distinct_words(rng, n_pairs, n_symbols=n_symbols, word_size=word_size, first=first)

        self.a_words = draw("a", len(names))
        self.b_words = draw("b", len(names) + n_symbols)
        coins = numpy_rng("reversal-pairs", seed, "direction").random(n_pairs) < 0.5
        self.forward_trained = torch.from_numpy(coins) | (torch.arange(n_pairs) < n_both) | (held == "forward")

        forward, reverse = self.forward_items(), self.reverse_items()
        twice, once = torch.arange(n_both), torch.arange(n_both, n_pairs)
        both = join(forward.take(twice), reverse.take(twice))
        trained = _choose(self.forward_trained, forward, reverse).take(once)
        untrained = _choose(~self.forward_trained, forward, reverse).take(once)
        parts = [both, trained]
        if add_reverse:
            parts.append(untrained)
        if identity:
            words = torch.cat([self.a_words, self.b_words])
            parts.append(facts(ask(words, self.relation_tokens.get("=")), words))
        items = {"train": join(*parts), "forward": trained, "reverse": untrained, "both": both}
        super().__init__(len(names) + 2 * n_symbols, items)

    def forward_items(self) -> Batch:
        """`A -> B` of every pair, trained or not, in the order of the pairs."""
        return facts(ask(self.a_words, self.relation_tokens.get("->")), self.b_words)

    def reverse_items(self) -> Batch:
        """`B <- A` of every pair, trained or not, in the order of the pairs."""
        return facts(ask(self.b_words, self.relation_tokens.get("<-")), self.a_words)

    def oracle(self, prompts: Int[Tensor, "M P"]) -> Int[Tensor, "M W"]:
        """The answers of a reader who knows every pair from its trained direction and that pairs can be inverted."""
        partner = dict(zip(rows(self.a_words), rows(self.b_words), strict=True))
        partner |= {b: a for a, b in partner.items()}
        words = rows(prompts[:, : self.word_size])
        if prompts.shape[1] == self.word_size:
            return torch.tensor([partner[word] for word in words])
        same = (prompts[:, -1] == self.relation_tokens.get("=", -1)).tolist()
        return torch.tensor([word if copy else partner[word] for word, copy in zip(words, same, strict=True)])

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess among the ``n_symbols ** word_size`` words of the side that is asked for.

        `nll` in nats per answer, `accuracy` a probability; `nll_vocabulary` is the NLL of a uniform guess among all
        tokens at every place of the answer.
        """
        self.dataset(split)
        return _word_chance(self.n_symbols, self.word_size, self.vocab_size)


class InContextReversal(FiniteTask):
    """`x -> y <=> y <- x` in one sequence of seven tokens; the last is scored and can be copied from the context.

    A control of the reversal curse (arXiv 2405.04669, multi-layer experiments): the same model that cannot answer
    `y <- ?` from its weights answers it from the context. For every x, `n_train_y` of the `n_y` y-tokens are in
    `train`, the others in `reverse`, so that the pair (x, y) of a test item was never seen.

    Tokens: ``->``, ``<=>``, ``<-``, then the x tokens, then the y tokens.
    """

    def __init__(self, *, n_x: int, n_y: int, n_train_y: int, seed: int = 0) -> None:
        check_at_least(1, n_x=n_x, n_y=n_y)
        check_range("n_train_y", n_train_y, 1, n_y, "n_y")
        self.relation_tokens = {"->": 0, "<=>": 1, "<-": 2}
        self.n_x, self.n_y = n_x, n_y
        rng = numpy_rng("in-context-reversal", seed, "pairs")
        y_order = torch.from_numpy(rng.permuted(torch.arange(n_y).expand(n_x, n_y).numpy(), axis=1)) + 3 + n_x
        items = {"train": self._sequences(y_order[:, :n_train_y]), "reverse": self._sequences(y_order[:, n_train_y:])}
        super().__init__(3 + n_x + n_y, items)

    def _sequences(self, y: Int[Tensor, "X K"]) -> Batch:
        x = (torch.arange(self.n_x) + 3).repeat_interleave(y.shape[1])
        y = y.flatten()
        arrow, same, back = (torch.full_like(x, token) for token in self.relation_tokens.values())
        return facts(torch.stack([x, arrow, y, same, y, back], dim=1), x[:, None])

    def oracle(self, prompts: Int[Tensor, "M 6"]) -> Int[Tensor, "M 1"]:
        """The token before the first arrow."""
        return prompts[:, :1]

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess among the x tokens; `nll` in nats, `nll_vocabulary` for a guess among all tokens."""
        self.dataset(split)
        return _word_chance(self.n_x, 1, self.vocab_size)


def _choose(first: Tensor, yes: Batch, no: Batch) -> Batch:
    return Batch(
        torch.where(first[:, None], yes.tokens, no.tokens), torch.where(first[:, None], yes.targets, no.targets)
    )


def _word_chance(n_symbols: int, word_size: int, vocab_size: int) -> dict[str, float]:
    return {
        "nll": word_size * math.log(n_symbols),
        "accuracy": float(n_symbols) ** -word_size,
        "nll_vocabulary": word_size * math.log(vocab_size),
    }
