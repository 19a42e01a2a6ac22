"""Models from and to Hugging Face's transformers library. The library itself is not needed."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from elegans.interop.architecture import Architecture
from elegans.interop.config import Options
from elegans.interop.files import read_json, read_weights
from elegans.interop.gpt import architecture_of
from elegans.interop.gpt2 import GPT2
from elegans.interop.llama import LLAMA
from elegans.interop.mamba import MAMBA
from elegans.interop.rwkv4 import RWKV
from elegans.interop.tensors import collect, fill
from elegans.models.base import SequenceModel
from elegans.models.gpt import GPT
from elegans.models.mamba import Mamba
from elegans.models.rwkv import RWKV4
from elegans.ops.files import write_whole

ARCHITECTURES = {"gpt2": GPT2, "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA, "mamba": MAMBA, "rwkv": RWKV}
"""By `model_type`."""


def from_huggingface(source: str | Path | nn.Module, *, context: int | None = None) -> SequenceModel:
    """A model of the transformers library as one of ours, in float32 on the CPU, with the same logits.

    A `GPT` from GPT-2, Llama, Mistral and Qwen2, a `Mamba`, or an `RWKV4`. Nothing is downloaded and no code of the
    checkpoint is run. Dropout rates are not taken over.

    Args:
        source: a directory with ``config.json`` and weights (safetensors or ``pytorch_model.bin``, in one file or in
            shards), or a model in memory, which is left as it is.
        context: the longest sequence, for models with rotary positions, in place of the one in the config.

    Raises `ValueError`, in one line that names the option or the tensor, for what has no exact equivalent here and for
    files that are incomplete, altered, or do not fit together.
    """
    if isinstance(source, nn.Module):
        values, tensors = _in_memory(source)
    else:
        directory = Path(source)
        if not directory.is_dir():
            raise ValueError(f"{directory} is not a directory; nothing is downloaded here")
        values, tensors = read_json(directory / "config.json"), read_weights(directory)
    options, architecture = Options(values), ARCHITECTURES.get(str(values.get("model_type")))
    if architecture is None:
        raise ValueError(f"model_type={values.get('model_type')!r} is not supported, only {', '.join(ARCHITECTURES)}")
    for option in ("auto_map", "quantization_config"):
        options.require(option, None)
    model = architecture.build(options, context)
    fill(model, architecture.table(model, options), _weights_alone(tensors, architecture, model))
    return model


def to_huggingface(model: SequenceModel, directory: str | Path) -> None:
    """Write `model` so that ``AutoModelForCausalLM.from_pretrained(directory)`` reads it.

    Writes ``config.json`` and ``model.safetensors``. A `GPT` becomes a GPT-2 or a Llama. The model says nothing about a
    tokenizer, so the config has no special tokens; it has no dropout either.

    Raises `ValueError`, in one line that names what the other library does not have, before anything is written, and
    `OSError` if the directory cannot be written.
    """
    architecture = _architecture(model)
    described = architecture.options(model)
    tensors = collect(model, architecture.table(model, Options(described)))
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    special: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    directory = Path(directory)
    write_whole(directory / "model.safetensors", save(tensors, {"format": "pt"}))
    text = json.dumps(described | special | {"dtype": dtype}, indent=2)
    write_whole(directory / "config.json", text.encode())


def _architecture(model: SequenceModel) -> Architecture:
    if type(model) is GPT:
        return ARCHITECTURES[architecture_of(model)]
    if type(model) is Mamba:
        return MAMBA
    if type(model) is RWKV4:
        return RWKV
    raise ValueError(f"Hugging Face's library has no such model: {type(model).__name__}")


def _in_memory(model: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    to_dict = getattr(getattr(model, "config", None), "to_dict", None)
    if to_dict is None:
        raise ValueError(f"{type(model).__name__} is no model of the transformers library: it has no config")
    values, tensors = to_dict(), model.state_dict()
    # In evaluation that library's RWKV divides these weights, in place, against overflow in half precision.
    if getattr(getattr(model, "rwkv", model), "layers_are_rescaled", False) and values["rescale_every"] > 0:
        for name, tensor in tensors.items():
            found = re.search(r"blocks\.(\d+)\.(attention\.output|feed_forward\.value)\.weight$", name)
            if found:
                tensors[name] = tensor.float() * 2 ** (int(found[1]) // values["rescale_every"])
    return values, tensors


def _weights_alone(tensors: Mapping[str, Tensor], architecture: Architecture, model: Any) -> dict[str, Tensor]:
    """The weights under the names of the class with an unembedding, without buffers and without a tied unembedding."""
    head, tokens = architecture.unembedding, architecture.tokens
    weights = {name: tensor for name, tensor in tensors.items() if not re.search(architecture.buffers, name)}
    if not any(name.startswith(architecture.prefix) for name in weights):
        weights = {name if name == head else architecture.prefix + name: tensor for name, tensor in weights.items()}
    if head in weights and tokens in weights and getattr(model, "unembedding", ...) is None:
        if not torch.equal(weights[head].float(), weights[tokens].float()):
            raise ValueError(f"{head!r} differs from {tokens!r}, but tie_word_embeddings is true")
        del weights[head]
    return weights
