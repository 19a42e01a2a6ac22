"""What is asked of a user's model about a user's texts, and how prompts are parted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elegans.study import Config, setting

Asked = Literal["label", "type"]
ASKED: dict[Asked, str] = {"label": "X,W->y", "type": "X,y->W"}


@dataclass(frozen=True, kw_only=True)
class FlowConfig(Config):
    """What is asked of a model about texts; the seed draws the texts that are asked about and those that are solved."""

    lm: str = setting("", "directory of a Hugging Face causal LM")
    data: str = setting("", "texts with label and spans, JSON lines")
    digest: str = setting("", "of the contents of `data`, so that another content is another job")
    asked: Literal["label", "type"] = setting("label", "what is to be answered, given the other level")
    n_texts: int = setting(500, "texts asked about, at most", at_least=1)
    shots: int = setting(4, "solved texts before each question", at_least=0)
    label_marker: str = setting("Label:", "the word before a label")
    words_marker: str = setting("Words:", "the word before spans with their types")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto", "of the weights; gradients are as precise"
    )
    batch_size: int = setting(4, "sequences per pass", at_least=1)


def markers_of(config: FlowConfig) -> dict[str, Any]:
    """The words that part a prompt; all but two are unlikely to stand in a text."""
    return {"label": config.label_marker, "words": config.words_marker, "type": "->", "next": "|", "none": "(none)"}
