"""Models by name. Nothing here imports torch until a model is built."""

import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from elegans.models.base import SequenceModel


class Preset(NamedTuple):
    """A registered model: a class by import path, in one line, and the settings that make it what its name says."""

    path: str
    description: str
    fixed: Mapping[str, Any] = MappingProxyType({})


_GPT = "elegans.models.gpt:GPT"

CATALOG: dict[str, Preset] = {
    "gpt": Preset(_GPT, "decoder-only transformer: softmax attention, pre-norm, GELU; or any mixer in any layer"),
    "gpt-alibi": Preset(_GPT, "the same with ALiBi's bias by distance for positions", {"positions": "alibi"}),
    "stablemask": Preset(
        _GPT,
        "the same with StableMask: pseudo scores above the diagonal, in the form that can be cached",
        {"sink": "stablemask"},
    ),
    "linear": Preset(_GPT, "the same with linear attention (elu + 1) in all layers", {"mixers": "linear"}),
    "relu": Preset(_GPT, "the same with ReLU attention in all layers", {"mixers": "relu"}),
    "looped": Preset(_GPT, "the same with one block applied again and again", {"distinct": 1}),
    "mamba": Preset("elegans.models.mamba:Mamba", "selective state spaces (S6) in all layers, no MLP"),
    "rwkv4": Preset("elegans.models.rwkv:RWKV4", "RWKV-4: decayed sums per channel in place of attention, token shift"),
    "hybrid": Preset(
        _GPT,
        "selective state spaces and softmax attention by turns, each with an MLP",
        {"mixers": ("mamba", "softmax")},
    ),
    "bilinear": Preset("elegans.models.bilinear:BilinearLM", "fixed random embeddings and one trained bilinear form"),
    "one-layer": Preset(
        "elegans.models.one_layer:OneLayerLM", "one-layer transformer in reparametrized weights Y and Z"
    ),
}
"""The zoo by name."""


class UnknownModel(ValueError):  # noqa: N818 (it says what is wrong better than an Error suffix)
    """No model has that name, or the model has no such setting; the message is one line for a person."""


def locate(name: str) -> str:
    """The import path ``"package.module:Class"`` of a model, from its name in `CATALOG` or from such a path itself.

    Raises `UnknownModel` for a name that is neither. Nothing is imported.
    """
    if name in CATALOG:
        return CATALOG[name].path
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
    model, fixed = load(name), fixed_settings(name)
    arguments = {"vocab": vocab, "seed": seed, **config}
    parameters = inspect.signature(model).parameters.values()
    if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
        accepted = [p.name for p in parameters if p.name not in fixed]
        for key in arguments:
            if key in fixed:
                raise UnknownModel(f"model {name!r} is one with {key}={fixed[key]!r}; it cannot be set")
            if key not in accepted:
                near = difflib.get_close_matches(key, accepted, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise UnknownModel(f"model {name!r} has no setting {key!r}; {hint}accepted: {', '.join(accepted)}")
    made = model(**arguments, **fixed)
    made.recipe = {"name": name, **arguments}
    return made


def fixed_settings(name: str) -> Mapping[str, Any]:
    """The settings that make a registered model what its name says; none for a class by its path."""
    return CATALOG[name].fixed if name in CATALOG else {}


def settings_of(name: str) -> set[str]:
    """The keywords that a model takes."""
    return set(inspect.signature(load(name)).parameters) - set(fixed_settings(name))


def _hint(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
