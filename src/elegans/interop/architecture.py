"""What an architecture is that exists both here and in Hugging Face's library."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from elegans.interop.config import Options
from elegans.interop.tensors import Entry


@dataclass(frozen=True)
class Architecture:
    """One architecture in both libraries.

    Attributes:
        prefix: of the names of all tensors but the unembedding's, in their class that has an unembedding.
        tokens, unembedding: names of these two tensors. A tied unembedding may be stored or not.
        build: the model without values that options describe. A context, where one is given, replaces the longest
            sequence.
        table: where each tensor of such a model goes.
        options: the options that describe a model. Raises `ValueError` for what the architecture does not have.
        buffers: pattern of the ends of names of stored tensors that are no weights.
    """

    prefix: str
    tokens: str
    build: Callable[[Options, int | None], Any]
    table: Callable[[Any, Options], list[Entry]]
    options: Callable[[Any], dict[str, Any]]
    unembedding: str = "lm_head.weight"
    buffers: str = r"(?!)"


def refuse_context(context: int | None) -> None:
    """Raise `ValueError` where the longest sequence is no matter of choice."""
    if context is not None:
        raise ValueError("context can be chosen for models with rotary positions only")
