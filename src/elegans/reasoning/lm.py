"""One interface to causal language models, zoo and Hugging Face alike: read tokens from a state, go back, branch.

Shapes: B batch, T new tokens, L positions whose logits are kept, N sequences to go on with, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from elegans.reasoning.scorer import ContextError, Usage


@runtime_checkable
class LanguageModel(Protocol):
    """A causal model from tokens to logits whose states are values: no call changes one.

    `croppable` says whether `crop` works; without it a shorter state is made by reading again.
    """

    vocab_size: int
    context: int | None
    device: torch.device
    croppable: bool
    usage: Usage

    def extend(
        self, tokens: Int[Tensor, "B T"], state: Any = None, last: int | None = None
    ) -> tuple[Float[Tensor, "B L V"], Any]:
        """Logits after the `last` of T more tokens (all by default), and the new state. None is the empty state."""
        ...

    def select(self, state: Any, index: Int[Tensor, " N"]) -> Any:
        """The state of these sequences of the batch, in this order, any of them more than once."""
        ...

    def crop(self, state: Any, length: int) -> Any:
        """The state after the first `length` tokens."""
        ...


class Prefix(NamedTuple):
    """A sequence that was read: its tokens, the logits [V] after the last of them, and the state (a batch of one)."""

    tokens: tuple[int, ...]
    logits: Tensor
    state: Any


def read(model: LanguageModel, tokens: Sequence[int]) -> Prefix:
    """Read a sequence from its beginning. Raises `ValueError` if it is empty, `ContextError` if it is too long."""
    if not tokens:
        raise ValueError("a prompt needs at least one token")
    check_context(model, len(tokens))
    logits, state = model.extend(row(tokens, model.device), None, 1)
    return Prefix(tuple(tokens), logits[0, -1], state)


def row(tokens: Sequence[int], device: torch.device) -> Int[Tensor, "1 T"]:
    """The tokens as a batch of one."""
    return torch.tensor([tokens], dtype=torch.long, device=device)


def check_context(model: LanguageModel, length: int) -> None:
    """Raise `ContextError` for more tokens than the model can read."""
    if model.context is not None and length > model.context:
        raise ContextError(f"{length} tokens do not fit into the model's context of {model.context}")


class Cursor:
    """A model's place in one sequence, which can go back.

    A croppable state is cut. Any other model goes back to the last state before the place and reads the tokens between
    again, together with the next ones: no pass is added.
    """

    kept = 32
    """States to go back to, for models that are not croppable."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.tokens: list[int] = []
        self._states: list[tuple[int, Any]] = [(0, None)]

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, tokens: Sequence[int], last: int = 1) -> Float[Tensor, "L V"]:
        """Logits after the `last` of these tokens, which go on from here."""
        length, state = self._states[-1]
        pending = [*self.tokens[length:], *tokens]
        logits, state = self.model.extend(row(pending, self.model.device), state, last)
        self.tokens.extend(tokens)
        self._states.append((len(self.tokens), state))
        del self._states[1 : -1 if self.model.croppable else -self.kept]
        return logits[0]

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        assert 0 <= length <= len(self.tokens)
        del self.tokens[length:]
        if self.model.croppable and 0 < length < self._states[-1][0]:
            self._states[-1] = (length, self.model.crop(self._states[-1][1], length))
        while self._states[-1][0] > length:
            self._states.pop()


@dataclass
class Rereader:
    """A `LanguageModel` of anything that only has a parallel form: it reads all tokens again in every call."""

    logits: Callable[[Tensor], Tensor]
    """From tokens [B T] to logits [B T V]."""
    vocab_size: int
    context: int | None
    device: torch.device
    usage: Usage
    croppable: bool = True

    def extend(
        self, tokens: Int[Tensor, "B T"], state: Any = None, last: int | None = None
    ) -> tuple[Float[Tensor, "B L V"], Any]:
        """See `LanguageModel.extend`; the state is the tokens so far."""
        seen = tokens if state is None else torch.cat([state, tokens], dim=1)
        self.usage.passes += 1
        self.usage.read_tokens += seen.numel()
        return self.logits(seen)[:, -(last or tokens.shape[1]) :], seen

    def select(self, state: Any, index: Int[Tensor, " N"]) -> Any:
        """See `LanguageModel.select`."""
        return state[index]

    def crop(self, state: Any, length: int) -> Any:
        """See `LanguageModel.crop`."""
        return state[:, :length]
