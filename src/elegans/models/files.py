"""Models in files: a safetensors file that knows how its model is built."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from elegans.models.base import SequenceModel
from elegans.models.registry import UnknownModel, build
from elegans.ops.files import write_whole


def save(model: SequenceModel, path: str | Path) -> None:
    """Write a model that `build` made, weights and recipe, in one stroke. `load` gives it back.

    Raises `ValueError` for a model that `build` did not make, since nothing says how to make it again.
    """
    if not model.recipe:
        raise ValueError("only models made by elegans.build can be saved whole; this one does not know its recipe")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(Path(path), to_bytes(tensors, {"elegans.model": json.dumps(model.recipe)}))


def load(path: str | Path) -> SequenceModel:
    """The model in a file that `save` wrote, on the CPU.

    Raises `ValueError`, in one line that names the file, for a file that is missing, truncated, not from `save`, or
    whose weights do not fit its recipe. A recipe can name a class by import path, so load files of people you trust.
    """
    try:
        with safe_open(path, framework="pt") as file:
            recipe: dict[str, Any] = json.loads((file.metadata() or {})["elegans.model"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        model = build(**recipe)
        model.load_state_dict(tensors)
    except KeyError:
        raise ValueError(
            f"{path} holds tensors, but no recipe of a model: elegans.models.files.save writes one"
        ) from None
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a readable model: {error}") from None
    except (UnknownModel, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit its recipe: {' '.join(str(error).split())}") from None
    return model
