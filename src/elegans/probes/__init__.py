"""Floor 2: measurements on trained models. Model and items in, labelled arrays out."""

from elegans.probes.attribution import attribution_patching, direct_logit_attribution
from elegans.probes.chain import two_call
from elegans.probes.decode import greedy
from elegans.probes.flow import Edges, attention_knockout, edge_flow, knockout_effect, saliency_flow
from elegans.probes.interchange import (
    interchange,
    interchange_heads,
    interchange_mixers,
    interchange_mlps,
    interchange_residual,
    recovered,
    resample,
)
from elegans.probes.lens import logit_lens
from elegans.probes.linear_probe import linear_probe
from elegans.probes.logits import answer_logits, diagonal_score
from elegans.probes.metrics import log_probability, logit_difference, logit_of, says
from elegans.probes.path_patching import path_patching
from elegans.probes.record import patch, record, sites_of
from elegans.probes.weights import effective_weights, embedding_cosines, mean_cosine

__all__ = [
    "Edges",
    "answer_logits",
    "attention_knockout",
    "attribution_patching",
    "diagonal_score",
    "direct_logit_attribution",
    "edge_flow",
    "effective_weights",
    "embedding_cosines",
    "greedy",
    "interchange",
    "interchange_heads",
    "interchange_mixers",
    "interchange_mlps",
    "interchange_residual",
    "knockout_effect",
    "linear_probe",
    "log_probability",
    "logit_difference",
    "logit_lens",
    "logit_of",
    "mean_cosine",
    "patch",
    "path_patching",
    "record",
    "recovered",
    "resample",
    "saliency_flow",
    "says",
    "sites_of",
    "two_call",
]
