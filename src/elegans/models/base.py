"""What a sequence model is, and the named places inside it.

Shapes: B batch, T positions, D width, H heads, K head width, V vocabulary.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn


class Site(nn.Identity):
    """A named activation: an identity module, so that any PyTorch forward hook records or replaces what passes.

    Sites mean the same in every architecture:

    ============================ ============= ====================================================
    site                         shape         holds
    ============================ ============= ====================================================
    ``embed``                    B T D         input of the first block
    ``blocks.{l}.in``            B T D         residual stream entering block l
    ``blocks.{l}.mixer.heads``   B T H K       output of each head before the output projection
    ``blocks.{l}.mixer.scores``  B H T S       softmax attention: what the softmax is taken of, -inf for hidden keys
    ``blocks.{l}.mixer.weights`` B H T S       softmax attention: the weights
    ``blocks.{l}.mixer``         B T D         what the token mixer adds to the residual stream
    ``blocks.{l}.mid``           B T D         residual stream between mixer and MLP
    ``blocks.{l}.mlp``           B T D         what the MLP adds to the residual stream
    ``blocks.{l}.out``           B T D         residual stream leaving block l
    ``final``                    B T D         after the last norm, before the unembedding
    ============================ ============= ====================================================

    In `SequenceModel.extend` they see the new positions only; in `SequenceModel.step` T is 1. A block without MLP has no
    ``mid`` and no ``mlp``, a mixer without heads no ``heads``.
    """


class Sites(nn.ModuleDict):
    """The sites of one module, by the last part of their name.

    The attribute that holds this container does not count for the name: ``blocks.0.at["mid"]`` is the site
    ``blocks.0.mid``. So a site may share its name with a module (``mixer``) or a keyword (``in``).
    """

    def __init__(self, *names: str) -> None:
        super().__init__({name: Site() for name in names})

    def watched(self, *names: str) -> bool:
        """Whether a hook is on one of these sites."""
        return any(self[name]._forward_hooks or self[name]._forward_pre_hooks for name in names)


class SequenceModel(nn.Module):
    """A model from tokens to next-token logits.

    `forward` is the parallel form. A model that also has a recurrent form overrides `init_state` and `extend`; feeding
    tokens in any portions then gives the logits of `forward`. A state is never changed in place, so one prefix can be
    continued in several ways.
    """

    vocab_size: int
    recipe: Mapping[str, Any] = MappingProxyType({})
    """The arguments of `build` that made this model, empty for one made otherwise."""

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position."""
        raise NotImplementedError

    def init_state(self, batch_size: int) -> Any:
        """The state before the first token."""
        raise NotImplementedError(f"{type(self).__name__} has no recurrent form")

    def extend(self, tokens: Int[Tensor, "B T"], state: Any) -> tuple[Float[Tensor, "B T V"], Any]:
        """Logits after each of T more tokens per sequence, and the new state. A whole prompt is read in one call."""
        raise NotImplementedError(f"{type(self).__name__} has no recurrent form")

    def step(self, tokens: Int[Tensor, " B"], state: Any) -> tuple[Float[Tensor, "B V"], Any]:
        """Logits after one more token per sequence, and the new state."""
        logits, state = self.extend(tokens[:, None], state)
        return logits[:, 0], state

    def state_bytes(self, num_tokens: int) -> int:
        """Bytes of the state of one sequence after `num_tokens` tokens."""
        raise NotImplementedError(f"{type(self).__name__} has no recurrent form")

    def input_embeddings(self) -> Float[Tensor, "V D"]:
        """The table that turns tokens into vectors."""
        raise NotImplementedError(f"{type(self).__name__} has no embedding table")

    def effective_weights(self) -> Float[Tensor, "V V"]:
        """The matrix w(x, y) by which token x speaks for y as the next token, in models where one exists."""
        raise NotImplementedError(f"{type(self).__name__} has no effective weight matrix")

    def sites(self) -> dict[str, Site]:
        """The activation sites of this model by name, outermost first."""
        found = {}
        for path, module in self.named_modules():
            if isinstance(module, Sites):
                owner = path.rpartition(".")[0]
                found |= {f"{owner}.{name}" if owner else name: site for name, site in module.items()}
        return found

    def undecayed(self) -> set[str]:
        """Names of the parameters that weight decay must leave alone.

        By default these are all vectors (norms, biases), and what a module lists in an attribute `undecayed`, as the
        mixers do whose matrices are not weights of a projection.
        """
        names = {name for name, p in self.named_parameters() if p.ndim < 2}
        for path, module in self.named_modules():
            if module is not self:
                names |= {f"{path}.{name}" for name in getattr(module, "undecayed", ())}
        return names & {name for name, _ in self.named_parameters()}


def require_positive(**sizes: int) -> None:
    """Raise `ValueError` for a size below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def num_bytes(state: Any) -> int:
    """Bytes of all tensors in a state, which may be any nesting of tuples."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    return sum(num_bytes(part) for part in state) if isinstance(state, tuple) else 0
