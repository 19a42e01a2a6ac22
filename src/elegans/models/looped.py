"""One block applied again and again with the same weights."""

from typing import Any

from torch import nn

from elegans.models.base import require_positive


class Looped(nn.Module):
    """``x <- block(x)``, `loops` times; x is a tensor, or any state that the block maps to its like."""

    def __init__(self, block: nn.Module, loops: int) -> None:
        super().__init__()
        require_positive(loops=loops)
        self.block, self.loops = block, loops

    def forward(self, x: Any) -> Any:
        """x after all loops."""
        return self.trace(x, self.loops)[-1]

    def trace(self, x: Any, loops: int) -> list[Any]:
        """x before the first loop and after each of `loops`, which may be more than in training."""
        states = [x]
        for _ in range(loops):
            states.append(self.block(states[-1]))
        return states
