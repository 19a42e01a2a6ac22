"""Resumable points: named tensors and a little JSON in one safetensors file that is whole or absent."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from elegans.ops.files import write_whole


class CheckpointError(ValueError):
    """A checkpoint file cannot be used; the message says why."""


@dataclass(frozen=True)
class Point:
    """A state of training: after `step` steps, `tensors` by name, and `notes` that fit into JSON."""

    step: int
    tensors: dict[str, Tensor]
    notes: dict[str, Any]


class Checkpoint(Protocol):
    """A place for one resumable point."""

    def load(self) -> Point | None:
        """The last point saved, or None."""
        ...

    def save(self, point: Point) -> None:
        """Replace the last point."""
        ...


class FileCheckpoint:
    """A checkpoint in one file. `owner` names what is being trained; another owner's file is refused."""

    def __init__(self, path: str | Path, owner: str = "") -> None:
        self.path = Path(path)
        self.owner = owner

    def save(self, point: Point) -> None:
        """Write to a temporary name, flush to disk, rename. Raises `OSError` on a full disk, keeping the last point."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in point.tensors.items()}
        header = {"owner": self.owner, "step": point.step, "digest": _digest(tensors), "notes": point.notes}
        write_whole(self.path, save(tensors, {"elegans": json.dumps(header)}))

    def load(self) -> Point | None:
        """The point in the file, None if there is no file.

        Raises `CheckpointError` for a truncated or altered file and for one that belongs to another owner.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {})["elegans"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise CheckpointError(f"{self.path} is not a readable checkpoint: {error}") from None
        if header["owner"] != self.owner:
            raise CheckpointError(f"{self.path} belongs to {header['owner']!r}, not to {self.owner!r}")
        if header["digest"] != _digest(tensors):
            raise CheckpointError(f"{self.path} was altered after it was written")
        return Point(header["step"], tensors, header["notes"])


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
