"""The options in a model's `config.json`, each checked as it is read."""

from collections.abc import Mapping
from typing import Any


class Options:
    """Options of a foreign model by name.

    All methods raise `ValueError`, naming the option, for a value that cannot be used.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def get(self, name: str, default: Any = None) -> Any:
        """The value as it is; `default` where it is missing."""
        return self.values.get(name, default)

    def size(self, name: str, default: int | None = None) -> int:
        """A whole number from 1; `default`, if there is one, where it is missing or null."""
        value = self.values.get(name)
        value = default if value is None else value
        if value is None:
            raise ValueError(f"the config lacks {name!r}")
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
        return value

    def parts(self, name: str, whole: str, default: int | None = None) -> int:
        """A size that divides the option `whole`."""
        value, total = self.size(name, default), self.size(whole)
        if total % value:
            raise ValueError(f"{whole} must be divisible by {name}, got {total} and {value}")
        return value

    def number(self, name: str, default: float) -> float:
        """A number above 0."""
        value = self.values.get(name, default)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a number above 0, got {value!r}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {value!r}")
        return value

    def nested(self, name: str) -> "Options":
        """Options in an option; none where it is missing or null."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise ValueError(f"{name} must be an object, got {value!r}")
        return Options(value or {})

    def require(self, name: str, *allowed: Any) -> None:
        """Refuse a value that is not one of `allowed`; the first of these is the default."""
        value = self.values.get(name, allowed[0])
        if value not in allowed:
            raise ValueError(f"{name}={value!r} is not supported, only {' or '.join(map(repr, allowed))}")
