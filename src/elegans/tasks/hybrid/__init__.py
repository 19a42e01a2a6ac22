"""Hybrid tasks: texts with a label as a whole and types of some of their words, which tell of each other."""

from elegans.tasks.hybrid.corpus import HybridCorpus, HybridTexts
from elegans.tasks.hybrid.formats import FORMATS, Annotation, Line, Markers, Serializer, encode, masks
from elegans.tasks.hybrid.items import HybridItem, Span
from elegans.tasks.hybrid.oracle import (
    Ceilings,
    ceilings,
    label_posterior,
    label_posterior_given_words,
    type_posterior,
    type_posterior_given_label,
    words_probability,
)
from elegans.tasks.hybrid.tasks import HybridPretraining, HybridTask

__all__ = [
    "FORMATS",
    "Annotation",
    "Ceilings",
    "HybridCorpus",
    "HybridItem",
    "HybridPretraining",
    "HybridTask",
    "HybridTexts",
    "Line",
    "Markers",
    "Serializer",
    "Span",
    "ceilings",
    "encode",
    "label_posterior",
    "label_posterior_given_words",
    "masks",
    "type_posterior",
    "type_posterior_given_label",
    "words_probability",
]
