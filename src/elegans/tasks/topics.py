"""A corpus with slow statistics, local statistics and facts to remember, and the exact loss of the best reader.

Shapes: B sequences, S tokens, C content tokens, Z topics, N names.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.language import LanguageTask, Transitions, softmax_rows, stationary
from elegans.tasks.words import check_at_least

CONTENT, NAME, FIRST, REPEATED = range(4)


class TopicCorpus(LanguageTask):
    """Documents whose content follows one of several Markov chains, with facts (name, value) strewn in.

    Content is a chain of order 1 whose row logits are ``scale * N(0, 1)`` common to all topics plus
    ``scale * N(0, 1)`` of the hidden topic. The topic is uniform at first; before each content token but the first it
    is exchanged for one of the others with probability `switch`. The first token is content, uniform. Then, with
    probability `fact_rate`, a name (uniform) and its value come next, else the chain goes on from the last content
    token. A name's value is uniform and fixed for the document: unknown at first mention, certain when repeated.

    Tokens: content ``0..C-1``, then the values, then the names. Kinds: content, name, first value, repeated value.

    Attributes:
        transition: [Z, C, C] probabilities of the next content token by topic and last content token.
        order1: [C, C] the same of a reader who knows the last content token only: the best predictor of order 1.
    """

    kinds = ("content", "name", "first value", "repeated value")

    def __init__(
        self,
        *,
        n_content: int = 40,
        n_values: int = 16,
        n_names: int = 6,
        n_topics: int = 4,
        scale: float = 1.5,
        switch: float = 1 / 64,
        fact_rate: float = 0.25,
        length: int = 64,
        n_eval: int = 384,
        seed: int = 0,
    ) -> None:
        check_at_least(1, n_content=n_content, n_values=n_values, n_names=n_names, n_topics=n_topics)
        for name, rate in {"switch": switch, "fact_rate": fact_rate}.items():
            if not 0 <= rate < 1:
                raise ValueError(f"{name} must be in [0, 1), got {rate}")
        super().__init__("topic-corpus", n_content + n_values + n_names, length=length, n_eval=n_eval, seed=seed)
        self.n_content, self.n_values, self.n_names, self.n_topics = n_content, n_values, n_names, n_topics
        self.first_value, self.first_name = n_content, n_content + n_values
        self.switch, self.fact_rate = switch if n_topics > 1 else 0.0, fact_rate

        normal = numpy_rng("topic-corpus", seed, "rows").standard_normal((n_topics + 1, n_content, n_content))
        chains = softmax_rows(scale * (normal[:1] + normal[1:]))
        self._rows = Transitions(chains.reshape(-1, n_content))  # row of topic z and token c: z C + c
        self.transition = torch.from_numpy(chains)
        self.topic_change = torch.full((n_topics, n_topics), self.switch / max(1, n_topics - 1), dtype=torch.double)
        self.topic_change.fill_diagonal_(1 - self.switch)
        self.order1 = self._best_order1()

    def _best_order1(self) -> Float[Tensor, "C C"]:
        if self.switch == 0:  # topics never meet: each keeps its share 1 / Z
            joint = torch.stack([torch.from_numpy(stationary(chain.numpy())) for chain in self.transition])
            arriving = joint
        else:
            pairs = torch.einsum("xz,zcd->xczd", self.topic_change, self.transition)
            size = self.n_topics * self.n_content
            joint = torch.from_numpy(stationary(pairs.reshape(size, size).numpy()))
            arriving = self.topic_change.mT @ joint.view(self.n_topics, self.n_content)
        counts = torch.einsum("zc,zcd->cd", arriving, self.transition)
        return counts / counts.sum(-1, keepdim=True)

    # ------------------------------------------------------------------------------------------------ sampling

    def sequences(self, rng: np.random.Generator, size: int, length: int) -> np.ndarray:
        """[size, length] tokens."""
        topic = rng.integers(0, self.n_topics, size)
        values = self.first_value + rng.integers(0, self.n_values, (size, self.n_names))
        turn, change, where = rng.random((length, 3, size)).transpose(1, 0, 2)
        fact = turn < self.fact_rate
        fact[0] = False

        # The topic goes round by 1..Z-1 where it switches; the number that decided whether decides how far.
        switches = ~fact & (change < self.switch)
        switches[0] = False
        far = 1 + (change / (self.switch or 1) * (self.n_topics - 1)).astype(np.int64)
        topics = (topic + (far * switches).cumsum(0)) % self.n_topics

        content = np.empty((length, size), dtype=np.int64)
        content[0] = where[0] * self.n_content
        for i in range(1, length):
            new = self._rows.draw(topics[i] * self.n_content + content[i - 1], where[i])
            content[i] = np.where(fact[i], content[i - 1], new)

        names = (where * self.n_names).astype(np.int64)
        width = 1 + fact
        starts = (width.cumsum(0) - width).T  # where each turn begins to write
        turns = np.where(fact, self.first_name + names, content).T
        kept = values[np.arange(size)[:, None], names.T]
        tokens = np.zeros((size, 2 * length), dtype=np.int64)
        np.put_along_axis(tokens, starts + fact.T, kept, axis=1)
        np.put_along_axis(tokens, starts, turns, axis=1)
        return tokens[:, :length].copy()

    # ------------------------------------------------------------------------------------------------ oracle

    def kind_of(self, tokens: Int[Tensor, "B S"]) -> Int[Tensor, "B S"]:
        """Index into `kinds`. A value is repeated if its name was there before."""
        names = tokens[..., None] == self.first_name + torch.arange(self.n_names)
        mentions = (names.cumsum(1) * names).sum(-1)  # 1 for the first mention of a name
        repeated = torch.cat([torch.zeros_like(tokens[:, :1]), mentions[:, :-1]], dim=1) > 1
        kinds = torch.where(repeated, REPEATED, FIRST)
        kinds = kinds.masked_fill(tokens >= self.first_name, NAME)
        return kinds.masked_fill(tokens < self.first_value, CONTENT)

    def bayes_nll(self, tokens: Int[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """Nats of each token given those before it, by the forward filter of the topic; inf for the impossible."""
        size, length = tokens.shape
        belief = torch.full((size, self.n_topics), 1 / self.n_topics, dtype=torch.double)
        known = torch.full((size, self.n_names), -1)
        content = tokens[:, 0].clamp(max=self.n_content - 1)
        p = [(tokens[:, 0] < self.n_content).double() / self.n_content]
        rows = torch.arange(size)
        for t in range(1, length):
            token, before = tokens[:, t], tokens[:, t - 1]
            is_content, is_name, is_fact = token < self.first_value, token >= self.first_name, before >= self.first_name

            name = (before - self.first_name).clamp(min=0)
            old = known[rows, name]
            p_value = torch.where(old < 0, 1 / self.n_values, (old == token).double()) * ~(is_content | is_name)
            known[rows, name] = torch.where(is_fact & (old < 0), token, old)

            step = is_content & ~is_fact
            to = token.clamp(max=self.n_content - 1)
            joint = belief @ self.topic_change * self.transition[:, content, to].mT
            likelihood = joint.sum(-1)
            belief = torch.where(step[:, None], joint / likelihood[:, None], belief)
            content = torch.where(step, to, content)

            p_turn = (1 - self.fact_rate) * likelihood * is_content + self.fact_rate / self.n_names * is_name.double()
            p.append(torch.where(is_fact, p_value, p_turn))
        return -torch.stack(p, dim=1).log()

    def order1_nll(self, tokens: Int[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """`bayes_nll` of a reader who takes the next content token from the last one only, by `order1`."""
        is_content = tokens < self.first_value
        place = torch.arange(tokens.shape[1]).where(is_content, 0).cummax(1).values
        last = tokens.gather(1, torch.cat([place[:, :1], place[:, :-1]], dim=1)).clamp(max=self.n_content - 1)
        p = self.order1[last, tokens.clamp(max=self.n_content - 1)]
        nll = -p.log() - math.log1p(-self.fact_rate)
        nll[:, 0] = math.log(self.n_content)
        return torch.where(is_content, nll, self.bayes_nll(tokens))
