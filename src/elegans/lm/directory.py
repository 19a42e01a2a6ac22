"""Language models from local directories. Nothing is downloaded, unpickled or run, and nothing is read in part."""

import re
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open

from elegans.interop.config import Options
from elegans.interop.files import WEIGHTS, read_json
from elegans.lm.model import TextModel, library, quiet

Dtype = Literal["auto", "float32", "bfloat16", "float16", "float64"]

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|attn\.(masked_)?bias|attention\.(masked_)?bias)$")
"""Stored by old releases of the transformers library, and computed today."""


def load_lm(path: str | Path, *, dtype: Dtype = "auto", device: str | torch.device = "cpu") -> TextModel:
    """The causal language model and the tokenizer in a local directory, in evaluation mode.

    Args:
        path: a directory as ``save_pretrained`` writes it: ``config.json``, weights as safetensors in one file or in
            shards, and the tokenizer's files.
        dtype: of the weights in memory; ``auto`` is as they are stored.
        device: where to put them.

    Raises `ValueError`, in one line that names the file, the option or the tensor, for anything that is missing, broken,
    altered, no causal language model, or would run code: pickled weights and code of the checkpoint are refused.
    """
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype must be one of {', '.join(get_args(Dtype))}, got {dtype!r}")
    lm = _read(Path(path), dtype=dtype if dtype == "auto" else getattr(torch, dtype))
    return TextModel(lm.model.to(device), lm.tokenizer)


def check_lm(path: str | Path) -> TextModel:
    """The language model in a directory as `load_lm` gives it, but without weights: its tensors are on the device ``meta``.

    Of the weights only the headers are read, so this takes no longer for a large model than for a small one. The result
    knows tokenizer, context and sites, and computes nothing. Raises `ValueError` as `load_lm` does.
    """
    return _read(Path(path), device_map="meta")


def _read(directory: Path, **how: Any) -> TextModel:
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory; nothing is downloaded here")
    _check_config(directory / "config.json")
    _check_weights(directory)
    tokenizer = _tokenizer(directory)
    with quiet():
        try:
            model, found = library("transformers").AutoModelForCausalLM.from_pretrained(
                directory,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **how,
            )
        except Exception as error:  # a config with senseless values fails in every way
            raise _refused(directory / "config.json", error) from None
    _check_tensors(directory, found)
    lm = TextModel(model.eval(), tokenizer)
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= lm.vocab_size:
        raise ValueError(
            f"{directory}: the tokenizer has token {largest}, the model embeds only {lm.vocab_size} tokens"
        )
    return lm


def _check_config(path: Path) -> None:
    values = read_json(path)
    options, kind = Options(values), values.get("model_type")
    try:
        for option in ("auto_map", "quantization_config"):
            options.require(option, None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    known = library("transformers.models.auto.modeling_auto").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(f"{path}: model_type={kind!r} is no causal language model that transformers knows")
    names = values.get("architectures") or [known[kind]]
    if known[kind] not in names:
        raise ValueError(f"{path}: architectures={names!r} is not the causal language model, {known[kind]}")


def _check_weights(directory: Path) -> None:
    """Every tensor is where the index says, in files that are whole; only their headers are read."""
    whole, index, *pickled = (directory / name for name in WEIGHTS)
    if whole.exists():
        _names(whole)
        return
    if not index.exists():
        found = [path.name for path in pickled if path.exists()]
        reason = (
            f"only pickled ones ({found[0]}), which could run code" if found else f"neither {whole.name} nor shards"
        )
        raise ValueError(f"{directory} has no weights as safetensors, {reason}")
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index} has no weight_map")
    for name, shard in places.items():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{index} puts {name!r} into {shard!r}, which is no safetensors file beside it")
    for shard in sorted(set(places.values())):
        held, expected = _names(directory / shard), {name for name, place in places.items() if place == shard}
        for name in sorted(expected - held):
            raise ValueError(f"{directory / shard} lacks {name!r}, which {index.name} puts there")
        for name in sorted(held - expected):
            raise ValueError(f"{directory / shard} holds {name!r}, which {index.name} does not put there")


def _names(path: Path) -> set[str]:
    """The tensors in a safetensors file, whose header must account for all of its bytes."""
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else _line(error)
        raise ValueError(f"{path} is not a readable safetensors file: {reason}") from None


def _tokenizer(directory: Path) -> Any:
    if not any((directory / name).exists() for name in _TOKENIZER_FILES):
        raise ValueError(f"{directory} has no tokenizer: none of {', '.join(_TOKENIZER_FILES)}")
    declared: dict[str, Any] = {}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (directory / name).exists():
            declared = read_json(directory / name)
            if declared.get("auto_map"):
                raise ValueError(f"{directory / name}: auto_map names code of the checkpoint, which is never run")
    transformers = library("transformers")
    # AutoTokenizer may rebuild a generic tokenizer as that of the model's type, with other rules and more tokens.
    generic = declared.get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizerFast")
    kind = transformers.PreTrainedTokenizerFast if generic else transformers.AutoTokenizer
    with quiet():
        try:
            tokenizer = kind.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # files that are no tokenizer fail in every way
            raise _refused(directory / "tokenizer.json", error) from None
    if not tokenizer.is_fast:
        raise ValueError(f"{directory} has a slow tokenizer; save its fast form, which writes tokenizer.json")
    return tokenizer


def _check_tensors(directory: Path, found: dict[str, Any]) -> None:
    unexpected = [name for name in found["unexpected_keys"] if not _BUFFERS.search(name)]
    mismatched = [name if isinstance(name, str) else name[0] for name in found["mismatched_keys"]]
    complaints = {
        "the weights lack": found["missing_keys"],
        "the model has no place for": unexpected,
        "the config gives another shape to": mismatched,
        "the weights cannot be read:": found.get("error_msgs", ()),
    }
    for complaint, names in complaints.items():
        if names:
            first, *others = sorted(names)
            raise ValueError(f"{directory}: {complaint} {first!r}{f' and {len(others)} more' if others else ''}")


def _refused(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: transformers cannot read it: {type(error).__name__}: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
