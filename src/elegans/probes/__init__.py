"""Floor 2: measurements on trained models. Model and items in, labelled arrays out."""

from elegans.probes.chain import two_call
from elegans.probes.decode import greedy
from elegans.probes.logits import answer_logits, diagonal_score
from elegans.probes.weights import effective_weights, embedding_cosines, mean_cosine

__all__ = [
    "answer_logits",
    "diagonal_score",
    "effective_weights",
    "embedding_cosines",
    "greedy",
    "mean_cosine",
    "two_call",
]
