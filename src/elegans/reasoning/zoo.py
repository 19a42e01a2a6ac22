"""The models of the zoo as language models and scorers.

Shapes: B batch, T new tokens, L positions whose logits are kept, N sequences to go on with, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from elegans.models.attention import Cache
from elegans.models.base import SequenceModel
from elegans.models.decoder import DecoderState
from elegans.reasoning.lm import LanguageModel, Rereader
from elegans.reasoning.local import LocalScorer
from elegans.reasoning.scorer import Usage
from elegans.tasks.base import evaluating


class WordTokenizer:
    """Words separated by white space; the token of a word is its place in the list.

    Raises `ValueError` for a text with any other word.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._token = {word: token for token, word in enumerate(self.words)}

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        try:
            return [self._token[word] for word in text.split()]
        except KeyError as error:
            raise ValueError(f"no word {error.args[0]!r} among the {len(self.words)} of this vocabulary") from None

    def decode(self, tokens: Sequence[int]) -> str:
        """The words, with one space between them."""
        return " ".join(self.words[token] for token in tokens)


class ZooModel:
    """A `SequenceModel` with a recurrent form as a `LanguageModel`. It is read without gradients and dropout.

    Caches of softmax attention can be cropped; states of other mixers cannot, so going back reads again.
    """

    def __init__(self, model: SequenceModel) -> None:
        self.model = model
        self.vocab_size = model.vocab_size
        self.context = getattr(model, "context", None)
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.usage = Usage()
        self.croppable = _croppable(model.init_state(1))

    def extend(
        self, tokens: Int[Tensor, "B T"], state: Any = None, last: int | None = None
    ) -> tuple[Float[Tensor, "B L V"], Any]:
        """See `LanguageModel.extend`."""
        self.usage.passes += 1
        self.usage.read_tokens += tokens.numel()
        with evaluating(self.model) if self.model.training else torch.inference_mode():
            state = self.model.init_state(len(tokens)) if state is None else state
            logits, state = self.model.extend(tokens, state)
        return logits[:, -(last or logits.shape[1]) :], state

    def select(self, state: Any, index: Int[Tensor, " N"]) -> Any:
        """See `LanguageModel.select`."""
        return mapped(lambda x: x.index_select(0, index), state)

    def crop(self, state: Any, length: int) -> Any:
        """See `LanguageModel.crop`."""
        return DecoderState(length, mapped(lambda x: x[:, :length], state.mixers))


def zoo_model(model: SequenceModel) -> LanguageModel:
    """A model of the zoo as a `LanguageModel`, whether it has a recurrent form or not."""
    if type(model).extend is not SequenceModel.extend:
        return ZooModel(model)

    def logits(tokens: Tensor) -> Tensor:
        with evaluating(model):
            return model(tokens)

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return Rereader(logits, model.vocab_size, getattr(model, "context", None), device, Usage())


class ZooScorer(LocalScorer):
    """A model of the zoo as a `Scorer`.

    `words` are the vocabulary, in the order of the tokens; without them texts are given as tokens. `draft` is a smaller
    model that guesses ahead when a single text is generated, `gamma` tokens at a time; the text stays the same.
    """

    def __init__(
        self,
        model: SequenceModel,
        words: Sequence[str] | None = None,
        *,
        ends: Sequence[int] = (),
        draft: SequenceModel | None = None,
        gamma: int = 4,
        cached_prefixes: int = 32,
    ) -> None:
        super().__init__(
            zoo_model(model),
            None if words is None else WordTokenizer(words),
            ends=ends,
            draft=None if draft is None else zoo_model(draft),
            gamma=gamma,
            cached_prefixes=cached_prefixes,
        )


def mapped(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """`function` of every tensor of a state, which may be any nesting of tuples."""
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, DecoderState):
        return DecoderState(state.length, mapped(function, state.mixers))
    if isinstance(state, tuple):
        parts = [mapped(function, part) for part in state]
        return cast(Any, type(state))(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def _croppable(state: Any) -> bool:
    """Whether a state is nothing but keys and values by position."""
    return isinstance(state, DecoderState) and all(
        isinstance(mixer, Cache) and mixer.last is None for mixer in state.mixers
    )
