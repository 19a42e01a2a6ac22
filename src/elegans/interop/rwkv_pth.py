"""Released checkpoints of RWKV-4: one file of `torch.save`, with the parameters by the names that `RWKV4` has."""

import io
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from elegans.interop.files import read_pickle
from elegans.interop.tensors import collect, entry, fill, without_values
from elegans.models.rwkv import RWKV4
from elegans.ops.files import write_whole

FOREIGN = {
    r"\.att\.(time_faaaa|time_maa|ln_x|gate)": "RWKV-5 or later",
    r"\.ffnPre\.": "the training option ffnPre",
    r"^head_[qk]\.": "the training option head_q",
    r"\.tiny_": "the training option tiny_att",
    r"\.pos_emb_": "the training option pos_emb",
}
"""Patterns of tensors that RWKV-4 does not have, and what has them."""


def load_rwkv4(path: str | Path) -> RWKV4:
    """The model in a released RWKV-4 file, in float32; its sizes are read off the tensors.

    The file is unpickled as tensors alone, so no code in it runs. Raises `ValueError`, in one line that names the tensor,
    for later versions of RWKV, options of the training code that change the model, tensors that are missing, left over
    or of a wrong shape, and files that are truncated or hold anything but tensors.
    """
    path = Path(path)
    tensors = read_pickle(path)
    try:
        model = without_values(RWKV4, **_sizes(tensors))
        fill(model, [entry(name, name) for name, _ in model.named_parameters()], tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return model


def save_rwkv4(model: RWKV4, path: str | Path) -> None:
    """Write `model` as the released code does. Raises `OSError` if the file cannot be written."""
    buffer = io.BytesIO()
    torch.save(collect(model, [entry(name, name) for name, _ in model.named_parameters()]), buffer)
    write_whole(Path(path), buffer.getvalue())


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    for name, tensor in tensors.items():
        for pattern, owner in FOREIGN.items():
            if re.search(pattern, name):
                raise ValueError(f"{name!r} is not of RWKV-4 but of {owner}")
        if name.endswith(".att.time_decay") and tensor.ndim != 1:
            raise ValueError(f"{name!r} has shape {tuple(tensor.shape)}: not of RWKV-4 but of RWKV-5 or later")

    def shape(name: str, ndim: int) -> tuple[int, ...]:
        if name not in tensors:
            raise ValueError(f"the weights lack {name!r}")
        if tensors[name].ndim != ndim or not all(tensors[name].shape):
            raise ValueError(f"{name!r} has shape {tuple(tensors[name].shape)}, the model needs {ndim} axes")
        return tuple(tensors[name].shape)

    vocab, width = shape("emb.weight", 2)
    (attention_width,) = shape("blocks.0.att.time_decay", 1)
    mlp_width, _ = shape("blocks.0.ffn.key.weight", 2)
    layers = {int(found[1]) for name in tensors if (found := re.match(r"blocks\.(\d{1,6})\.", name))}
    depth = next(layer for layer in range(len(layers) + 1) if layer not in layers)
    sizes = {"vocab": vocab, "width": width, "depth": depth}
    return sizes | {"attention_width": attention_width, "mlp_width": mlp_width}
