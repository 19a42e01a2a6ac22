"""Facts in a chain: what does training on `A -> B` and `B -> C` teach about `A ~> C`?

Source: Zhu et al. 2024 (arXiv 2405.04669). Shapes: N triples, W tokens per word, P tokens per prompt.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import Batch, FiniteTask, facts, join
from elegans.tasks.words import ask, check_at_least, check_range, distinct_words, rows


class TransitiveChain(FiniteTask):
    """Triples of words with `A -> B`, `B -> C` and the conclusion `A ~> C`.

    The first `n_full` triples are trained with all three items, the *held* ones only with the two links; their
    conclusion is the test. A, B and C words use disjoint alphabets of `n_symbols` tokens each and are paired at random,
    so that a conclusion can only come from its two links.

    With `related_tokens` the words of triple i are (A, i), (B, i), (C, i): three fixed tokens followed by an index
    token that the triple shares, out of `n_symbols`. Then the conclusion follows without the links (say C, copy i), and
    a model that generalizes here shows that the random words are what makes the chain hard.

    Tokens: ``->``, ``~>``, then the A, B and C symbols; with `related_tokens` the fixed A, B, C, then the indices.

    ============== ===========================================================
    split          items
    ============== ===========================================================
    train          every trained item
    links          the two links of the held triples
    first, second  `A -> B` and `B -> C` of the held triples, aligned by triple
    direct         `A ~> C` of the held triples, never trained
    direct_trained `A ~> C` of the first `n_full` triples
    ============== ===========================================================

    Attributes:
        a_words, b_words, c_words: [N, W] the words by triple, the held triples last.
        n_full: number of triples trained with their conclusion.
        relation_tokens: the tokens of ``->`` and ``~>``.
    """

    def __init__(
        self,
        *,
        n_symbols: int,
        n_triples: int,
        n_full: int,
        word_size: int = 1,
        related_tokens: bool = False,
        seed: int = 0,
    ) -> None:
        check_at_least(1, n_symbols=n_symbols, word_size=word_size)
        check_range("n_triples", n_triples, 1, n_symbols**word_size, "n_symbols ** word_size")
        check_range("n_full", n_full, 0, n_triples, "n_triples")
        if related_tokens and word_size > 1:
            raise ValueError(f"related_tokens fixes the words, so word_size must be 1, got {word_size}")

        self.relation_tokens = {"->": 0, "~>": 1}
        self.n_symbols, self.n_full, self.related_tokens = n_symbols, n_full, related_tokens
        sides = ("a", "b", "c")
        if related_tokens:
            rng = numpy_rng("transitive-chain", seed, "index")
            index = distinct_words(rng, n_triples, n_symbols=n_symbols, word_size=1, first=5)
            words = [torch.cat([torch.full_like(index, 2 + place), index], dim=1) for place in range(3)]
            vocab_size = 5 + n_symbols
        else:
            words = [
                distinct_words(
                    numpy_rng("transitive-chain", seed, side),
                    n_triples,
                    n_symbols=n_symbols,
                    word_size=word_size,
                    first=2 + place * n_symbols,
                )
                for place, side in enumerate(sides)
            ]
            vocab_size = 2 + 3 * n_symbols
        self.a_words, self.b_words, self.c_words = words
        self.n_words = n_symbols**word_size
        self.word_size = self.a_words.shape[1]

        full, held = torch.arange(n_full), torch.arange(n_full, n_triples)
        first, second, direct = self.first_items(), self.second_items(), self.direct_items()
        items = {
            "train": join(first, second, direct.take(full)),
            "links": join(first.take(held), second.take(held)),
            "first": first.take(held),
            "second": second.take(held),
            "direct": direct.take(held),
            "direct_trained": direct.take(full),
        }
        super().__init__(vocab_size, items)

    def first_items(self) -> Batch:
        """`A -> B` of every triple, in the order of the triples."""
        return facts(ask(self.a_words, self.relation_tokens["->"]), self.b_words)

    def second_items(self) -> Batch:
        """`B -> C` of every triple, in the order of the triples."""
        return facts(ask(self.b_words, self.relation_tokens["->"]), self.c_words)

    def direct_items(self) -> Batch:
        """`A ~> C` of every triple, trained or not, in the order of the triples."""
        return facts(ask(self.a_words, self.relation_tokens["~>"]), self.c_words)

    def oracle(self, prompts: Int[Tensor, "M P"]) -> Int[Tensor, "M W"]:
        """The answers of a reader who knows the links only and follows two of them to answer `~>`."""
        link = dict(zip(rows(self.a_words), rows(self.b_words), strict=True))
        link |= dict(zip(rows(self.b_words), rows(self.c_words), strict=True))
        words = rows(prompts[:, : self.word_size])
        twice = (prompts[:, -1] == self.relation_tokens["~>"]).tolist()
        return torch.tensor([link[link[w]] if two else link[w] for w, two in zip(words, twice, strict=True)])

    def chance(self, split: str) -> Mapping[str, float]:
        """A uniform guess among the words of the side that is asked for.

        `nll` in nats per answer, `accuracy` a probability; `nll_vocabulary` is the NLL of a uniform guess among all
        tokens at every place of the answer.
        """
        self.dataset(split)
        return {
            "nll": math.log(self.n_words),
            "accuracy": 1.0 / self.n_words,
            "nll_vocabulary": self.word_size * math.log(self.vocab_size),
        }
