"""Models by name. Nothing here imports torch until a model is built."""

import difflib
import importlib
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans.models.base import SequenceModel

CATALOG: dict[str, tuple[str, str]] = {
    "gpt": ("elegans.models.decoder:GPT", "decoder-only transformer: softmax attention, pre-norm, GELU"),
    "bilinear": ("elegans.models.bilinear:BilinearLM", "fixed random embeddings and one trained bilinear form"),
    "one-layer": ("elegans.models.one_layer:OneLayerLM", "one-layer transformer in reparametrized weights Y and Z"),
}
"""Name -> (import path, one-line description)."""


class UnknownModel(ValueError):  # noqa: N818 (it says what is wrong better than an Error suffix)
    """No model has that name, or the model has no such setting; the message is one line for a person."""


def locate(name: str) -> str:
    """The import path ``"package.module:Class"`` of a model, from its name in `CATALOG` or from such a path itself.

    Raises `UnknownModel` for a name that is neither. Nothing is imported.
    """
    if name in CATALOG:
        return CATALOG[name][0]
    module, colon, attribute = name.partition(":")
    if colon and attribute.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return name
    raise UnknownModel(f"no model {name!r}; {_hint(name, CATALOG)} (or name a class as 'package.module:Class')")


def load(name: str) -> type["SequenceModel"]:
    """The class of a model. Raises `UnknownModel` when its module or the class in it does not exist."""
    module_name, _, attribute = locate(name).partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise UnknownModel(f"no model {name!r}: there is no module {error.name!r}") from None
    if not hasattr(module, attribute):
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise UnknownModel(f"module {module_name!r} has no class {attribute!r}; {_hint(attribute, classes)}")
    return getattr(module, attribute)


def build(name: str, *, vocab: int, seed: int = 0, **config: Any) -> "SequenceModel":
    """A freshly initialized model: a pure function of its arguments.

    `name` is one of `CATALOG`, or ``"package.module:Class"`` for a class that takes `vocab` and `seed` as keywords.
    `config` goes to the class. Raises `UnknownModel` for a wrong name or keyword, naming the nearest right one, and
    whatever the class raises for a value that it cannot take.
    """
    model = load(name)
    arguments = {"vocab": vocab, "seed": seed, **config}
    parameters = inspect.signature(model).parameters.values()
    if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
        accepted = [p.name for p in parameters]
        for key in arguments:
            if key not in accepted:
                near = difflib.get_close_matches(key, accepted, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise UnknownModel(f"model {name!r} has no setting {key!r}; {hint}accepted: {', '.join(accepted)}")
    return model(**arguments)


def settings_of(name: str) -> set[str]:
    """The keywords that a model's class takes."""
    return set(inspect.signature(load(name)).parameters)


def _hint(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
