"""Reading foreign files. Nothing in them is ever run, and what cannot be used is refused in one line."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where a Hugging Face directory may have its weights, the first one found being read."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `ValueError` if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}, not an object")
    return value


def read_weights(directory: Path) -> dict[str, Tensor]:
    """All tensors of a Hugging Face directory, in one file or in shards.

    Raises `ValueError` for a missing, truncated or altered file and for an index that does not fit its shards.
    """
    found = next((directory / name for name in WEIGHTS if (directory / name).exists()), None)
    if found is None:
        raise ValueError(f"{directory} has no weights: none of {', '.join(WEIGHTS)}")
    return _read_shards(found) if found.suffix == ".json" else _read_file(found)


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors by name in a file of `torch.save`.

    Raises `ValueError` for a file that is truncated, would run code, or holds anything else.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except Exception as error:  # bytes that are no checkpoint fail in every way
        reason = " ".join(str(error).split())
        code = re.search(r"GLOBAL (\S+)", reason)
        reason = f"it would run {code[1]}" if code else f"{type(error).__name__}: {reason[:200]}"
        raise ValueError(f"{path} is not a file of tensors: {reason}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, not tensors by name")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path} holds a {type(value).__name__} under {name!r}, not a tensor under a name")
    return dict(values)


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return read_pickle(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from None


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise ValueError(f"{index} has no weight_map")
    tensors: dict[str, Tensor] = {}
    for name, shard in places.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise ValueError(f"{index} puts {name!r} into {shard!r}, which is no file beside it")
    for shard in sorted(set(places.values())):
        for name, tensor in _read_file(index.parent / shard).items():
            if places.get(name) != shard:
                raise ValueError(f"{shard} holds {name!r}, which {index.name} does not put there")
            tensors[name] = tensor
    for name, shard in places.items():
        if name not in tensors:
            raise ValueError(f"{shard} lacks {name!r}, which {index.name} puts there")
    return tensors
