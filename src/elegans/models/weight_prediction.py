"""Linear self-attention over vector prompts, read once, looped, or thinking in vector tokens.

Source: Huang, Wang and Lee 2025 (arXiv 2502.21212). Shapes: *B prompts, n examples, k thoughts, T tokens, D = 2d + 2 rows
of a token (x, y, w, 1); tokens are rows here and columns in the paper.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from elegans.models.base import require_positive
from elegans.models.looped import Looped
from elegans.models.merged import MergedAttention
from elegans.ops.rng import numpy_rng, torch_rng
from elegans.ops.vector_tokens import Blocks

Gram = tuple[Float[Tensor, "*B D D"], Float[Tensor, "*B D"]]
"""All that the layer can know of a prompt: G = sum_t z_t z_t^T / n, and the last token z."""


class LinearSelfAttention(nn.Module):
    r"""One residual layer of linear self-attention in merged weights.

    .. math:: f(Z) = Z + \frac1n V Z \, (Z^\top W Z)

    with n the number of examples, however many tokens there are. The query is the column: token t has weight
    :math:`z_t^\top W z_q / n`. With V[w, x] = -eta I, W[x, w] = I, W[y, 1] = -1 and zeros elsewhere (blocks by the parts
    of a token), the last token's w moves by exactly one step of gradient descent with step eta.

    ``init="theory"`` starts with V[w, x] = -A, W[x, w] = A, W[y, 1] = -1, where A is symmetric with random eigenvectors
    and eigenvalues uniform on [sigma / 2, 3 sigma / 2] (after Assumption 4.1). ``init="random"`` draws all entries from
    N(0, sigma^2).
    """

    def __init__(
        self, *, d: int, n: int, init: Literal["theory", "random"] = "theory", sigma: float = 0.05, seed: int = 0
    ) -> None:
        super().__init__()
        require_positive(d=d, n=n)
        if init not in ("theory", "random"):
            raise ValueError(f"init must be 'theory' or 'random', got {init!r}")
        if not sigma > 0:
            raise ValueError(f"sigma must be above 0, got {sigma}")
        self.n, self.blocks = n, Blocks(d)
        self.attention = MergedAttention(
            width=self.blocks.width,
            kind="linear",
            queries="all",
            value="matrix",
            scale=1 / n,
            init_std=sigma if init == "random" else 0.0,
            seed=seed,
        )
        if init == "theory":
            basis = torch.linalg.qr(torch.randn(d, d, generator=torch_rng("linear-self-attention", seed, "basis")))[0]
            spectrum = numpy_rng("linear-self-attention", seed, "spectrum").uniform(0.5, 1.5, d) * sigma
            shared = basis * torch.from_numpy(spectrum).float() @ basis.mT
            self.set_solution(read=shared, write=-shared)

    @torch.no_grad()
    def set_solution(self, *, read: Float[Tensor, "d d"], write: Float[Tensor, "d d"]) -> None:
        """Set V[w, x] = `write`, W[x, w] = `read`, W[y, 1] = -1, and everything else to zero."""
        at = self.blocks.slices
        self.attention.V.zero_()[at["w"], at["x"]] = write
        self.attention.W.zero_()[at["x"], at["w"]] = read
        self.attention.W[at["y"], at["1"]] = -1.0

    def forward(self, tokens: Float[Tensor, "*B T D"]) -> Float[Tensor, "*B T D"]:
        """f(Z): the dense form."""
        return tokens + self.attention(tokens)

    # -------------------------------------------------------------------------------------------- the Gram form

    def gram(self, tokens: Float[Tensor, "*B T D"]) -> Gram:
        """A prompt as the layer sees it."""
        return tokens.mT @ tokens / self.n, tokens[..., -1, :]

    def think(self, state: Gram) -> Gram:
        """Append f(Z)'s last token to the prompt: z' = z + V G W z and G' = G + z' z'^T / n."""
        G, z = state
        mixed = (G @ (z @ self.attention.W.mT)[..., None])[..., 0]
        new = z + mixed @ self.attention.V.mT
        return G + new[..., :, None] * new[..., None, :] / self.n, new

    def transform(self, state: Gram) -> Gram:
        """Replace the whole prompt by f(Z): z' = M z and G' = M G M^T with M = I + V G W."""
        G, z = state
        M = torch.eye(G.shape[-1], dtype=G.dtype, device=G.device) + self.attention.V @ (G @ self.attention.W)
        return M @ G @ M.mT, (M @ z[..., None])[..., 0]

    def forced(self, tokens: Float[Tensor, "*B T D"]) -> Float[Tensor, "*B k D"]:
        """f's last token after each given thought, tokens n, n + 1, ..., all at once: each sees those up to itself."""
        examples, thoughts = tokens[..., : self.n, :], tokens[..., self.n :, :]
        asked = thoughts @ self.attention.W.mT
        mixed = asked @ examples.mT @ examples + (asked @ thoughts.mT).tril() @ thoughts
        return thoughts + mixed @ self.attention.V.mT / self.n


class ContinuousCoT(nn.Module):
    """The layer as a reasoner: what it says becomes its next token, a vector that is appended as it is.

    `forward` gives what it says after each thought: with `forced`, after the given ones; else after its own, of which
    it makes `thoughts`.
    """

    def __init__(self, layer: LinearSelfAttention, *, thoughts: int = 1, forced: bool = True) -> None:
        super().__init__()
        require_positive(thoughts=thoughts)
        self.layer, self.thoughts, self.forced = layer, thoughts, forced

    def forward(self, tokens: Float[Tensor, "*B T D"]) -> Float[Tensor, "*B k D"]:
        """The next vectors."""
        if self.forced:
            return self.layer.forced(tokens)
        return self.path(tokens[..., : self.layer.n + 1, :], self.thoughts)[..., 1:, :]

    def path(self, prompt: Float[Tensor, "*B T D"], steps: int) -> Float[Tensor, "*B k1 D"]:
        """The last token of a prompt and `steps` own thoughts after it (k1 = steps + 1)."""
        states = [self.layer.gram(prompt)]
        for _ in range(steps):
            states.append(self.layer.think(states[-1]))
        return torch.stack([z for _, z in states], dim=-2)


class LoopedPrediction(nn.Module):
    """The layer as a deep network with shared weights: the whole prompt is transformed `loops` times."""

    def __init__(self, layer: LinearSelfAttention, *, loops: int) -> None:
        super().__init__()
        self.looped = Looped(_Transform(layer), loops)

    @property
    def layer(self) -> LinearSelfAttention:
        """The one layer."""
        return self.looped.block.layer  # pyright: ignore

    def forward(self, tokens: Float[Tensor, "*B T D"]) -> Float[Tensor, "*B 1 D"]:
        """The last token after all loops."""
        return self.path(tokens, self.looped.loops)[..., -1:, :]

    def path(self, prompt: Float[Tensor, "*B T D"], steps: int) -> Float[Tensor, "*B k1 D"]:
        """The last token before the first and after each of `steps` loops (k1 = steps + 1)."""
        return torch.stack([z for _, z in self.looped.trace(self.layer.gram(prompt), steps)], dim=-2)


class _Transform(nn.Module):
    """`LinearSelfAttention.transform` as a block."""

    def __init__(self, layer: LinearSelfAttention) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, state: Gram) -> Gram:
        return self.layer.transform(state)
