"""Hugging Face's library, where it is installed."""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import nn

from elegans.interop import to_huggingface
from elegans.models.base import SequenceModel

HF = "Hugging Face"
"""What it is called in results."""


def has_transformers() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("transformers") is not None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library from showing progress and from saying that it takes a slow path, which is what is measured."""
    if not has_transformers():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging

        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def copy_of(model: SequenceModel) -> nn.Module:
    """Their model with the same weights, on the same device, in training mode, without a cache."""
    from transformers import AutoModelForCausalLM

    with TemporaryDirectory() as directory, torch.random.fork_rng(devices=[]):
        to_huggingface(model, directory)
        theirs = cast(nn.Module, AutoModelForCausalLM.from_pretrained(directory, use_cache=False))
    return theirs.to(next(model.parameters()).device).train()
