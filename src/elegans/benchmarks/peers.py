"""Other libraries, where they are installed: Hugging Face's transformers, and llm-reasoners."""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import nn

from elegans.interop import to_huggingface
from elegans.models.base import SequenceModel

HF, REASONERS = "Hugging Face", "llm-reasoners"
"""What they are called in results."""


def has_transformers() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("transformers") is not None


def has_reasoners() -> bool:
    """Whether it is installed; without its dependencies is enough: ``pip install --no-deps llm-reasoners``."""
    return importlib.util.find_spec("reasoners") is not None


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


def reasoners_model(directory: str, device: torch.device) -> Any:
    """The `HFModel` of llm-reasoners, by its file: the package around it imports the libraries of all its back ends."""
    package = importlib.util.find_spec("reasoners")
    assert package and package.origin
    path = Path(package.origin).with_name("lm") / "hf_model.py"
    spec = importlib.util.spec_from_file_location("reasoners.lm.hf_model", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.HFModel(directory, directory, device=device)
    found.model.to(device)  # it takes any GPU there is
    return found
