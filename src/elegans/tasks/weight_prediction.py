"""In-context weight prediction: name the vector w that made the labels, in one step or by thinking in vectors.

Source: Huang, Wang and Lee 2025 (arXiv 2502.21212). Shapes: B prompts, n examples, d dimensions, k thoughts, D = 2d + 2
rows of an embedded token.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from elegans.ops.rng import Part, torch_rng
from elegans.ops.vector_tokens import Blocks
from elegans.tasks.base import Batch
from elegans.tasks.words import check_at_least


class InContextWeightPrediction:
    r"""Prompts of n examples :math:`y_i = \langle x_i, w \rangle + \mathrm{noise} \cdot \epsilon_i`; the answer is w.

    :math:`x_i \sim N(0, \Sigma)`, :math:`w \sim N(0, I_d)`, :math:`\epsilon_i \sim N(0, 1)`. A batch holds vector tokens
    [B, T, D] and target vectors [B, k, d]:

    - ``supervision="process"``: the n examples, then the k thoughts w_0 = 0, ..., w_{k-1} of gradient descent on the
      prompt's least squares, as if the model had said them (teacher forcing); targets w_1, ..., w_k.
    - ``supervision="outcome"``: the n examples and w_0 = 0; the target is w itself (k = 1).

    Splits ``train`` (fresh) and ``id`` have Sigma = I. `shifts` adds test splits by name, each with its own noise and
    with eigenvalues of Sigma evenly spaced between two bounds in a random basis. Test splits hold `n_eval` fixed prompts.
    """

    vocab_size = 0

    def __init__(
        self,
        *,
        d: int = 10,
        n: int = 20,
        supervision: Literal["process", "outcome"] = "process",
        thoughts: int = 10,
        eta: float = 0.4,
        noise: float = 0.0,
        shifts: Mapping[str, "Shift"] | None = None,
        n_eval: int = 4096,
        seed: int = 0,
    ) -> None:
        check_at_least(1, d=d, n=n, thoughts=thoughts, n_eval=n_eval)
        if supervision not in ("process", "outcome"):
            raise ValueError(f"supervision must be 'process' or 'outcome', got {supervision!r}")
        if not eta > 0:
            raise ValueError(f"eta must be above 0, got {eta}")
        self.d, self.n, self.thoughts, self.eta = d, n, thoughts, eta
        self.supervision, self.n_eval, self.seed = supervision, n_eval, seed
        self.blocks = Blocks(d)
        home = Shift(noise=noise)
        self.shifts = {"train": home, "id": home, **(shifts or {})}
        self.splits = tuple(self.shifts)

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """Fresh prompts; batch `step` of stream `seed`."""
        return self._draw(split, size, "batch", split, seed, step)

    def dataset(self, split: str) -> Batch:
        """`n_eval` fixed prompts of a split. Raises `KeyError` with the known splits for another name."""
        return self._draw(split, self.n_eval, "dataset", split, self.seed)

    def prompts(self, split: str) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B d"]]:
        """The fixed prompts of a split without thoughts but w_0 = 0 (T = n + 1), and the true w."""
        x, y, w = self._examples(split, self.n_eval, "dataset", split, self.seed)
        return self._prompt(x, y), w

    def examples(self, tokens: Float[Tensor, "*B T D"]) -> tuple[Float[Tensor, "*B n d"], Float[Tensor, "*B n"]]:
        """x and y of embedded prompts."""
        return tokens[..., : self.n, : self.d], tokens[..., : self.n, self.d]

    def chance(self, split: str) -> Mapping[str, float]:
        """The squared error of the answer w = 0 in expectation."""
        if split not in self.shifts:
            raise KeyError(f"no split {split!r}; this task has {', '.join(self.splits)}")
        return {"error": float(self.d)}

    # ------------------------------------------------------------------------------------------------ sampling

    def covariance(self, split: str) -> Float[Tensor, "d d"]:
        """Sigma of a split."""
        self.chance(split)
        low, high = self.shifts[split].spectrum
        basis = torch.linalg.qr(torch.randn(self.d, self.d, generator=self._rng("basis", split, self.seed)))[0]
        return basis * torch.linspace(low, high, self.d) @ basis.mT

    def _draw(self, split: str, size: int, *address: Part) -> Batch:
        x, y, w = self._examples(split, size, *address)
        if self.supervision == "outcome":
            return Batch(self._prompt(x, y), w[:, None])
        path = gd_path(x, y, eta=self.eta, steps=self.thoughts)
        examples, thoughts = self.blocks.embed_examples(x, y), self.blocks.embed_weights(path[:, :-1])
        return Batch(torch.cat([examples, thoughts], dim=1), path[:, 1:])

    def _examples(self, split: str, size: int, *address: Part) -> tuple[Tensor, Tensor, Tensor]:
        self.chance(split)
        shift, rng = self.shifts[split], self._rng(*address)
        x = torch.randn(size, self.n, self.d, generator=rng)
        w = torch.randn(size, self.d, generator=rng)
        if shift.spectrum != (1.0, 1.0):
            x = x @ torch.linalg.cholesky(self.covariance(split)).mT
        y = (x @ w[..., None])[..., 0]
        if shift.noise:
            y = y + shift.noise * torch.randn(y.shape, generator=rng)
        return x, y, w

    def _prompt(self, x: Tensor, y: Tensor) -> Float[Tensor, "B T D"]:
        start = self.blocks.embed_weights(x.new_zeros(len(x), 1, self.d))
        return torch.cat([self.blocks.embed_examples(x, y), start], dim=1)

    def _rng(self, *address: Part) -> torch.Generator:
        return torch_rng("in-context-weight-prediction", *address)


@dataclass(frozen=True)
class Shift:
    """A distribution of prompts: the least and the largest eigenvalue of Sigma, and the standard deviation of the noise."""

    spectrum: tuple[float, float] = (1.0, 1.0)
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.spectrum[0] <= self.spectrum[1]:
            raise ValueError(f"the eigenvalues of Sigma must be above 0 and in order, got {self.spectrum}")
        if not self.noise >= 0:
            raise ValueError(f"noise must be at least 0, got {self.noise}")


# ------------------------------------------------------------------------------------------------ oracles


def gd_path(
    x: Float[Tensor, "*B n d"], y: Float[Tensor, "*B n"], *, eta: float, steps: int
) -> Float[Tensor, "*B k1 d"]:
    r"""Gradient descent on :math:`\frac{1}{2n} \lVert Xw - y \rVert^2` from zero: w_0 ... w_steps (k1 = steps + 1)."""
    n = x.shape[-2]
    S, b = x.mT @ x / n, (x.mT @ y[..., None])[..., 0] / n
    path = [torch.zeros_like(b)]
    for _ in range(steps):
        w = path[-1]
        path.append(w - eta * ((S @ w[..., None])[..., 0] - b))
    return torch.stack(path, dim=-2)


def expected_gd_error(
    x: Float[Tensor, "*B n d"], *, eta: float, steps: int, noise: float = 0.0
) -> Float[Tensor, "*B k1"]:
    r"""The squared error of `gd_path` on given x, in expectation over w and the noise.

    .. math:: \mathbb{E} \lVert w_k - w \rVert^2 = \sum_j r_j^{2k} + \frac{\mathrm{noise}^2}{n} \frac{(1 - r_j^k)^2}{s_j}

    with s_j the eigenvalues of S = X^T X / n and r_j = 1 - eta s_j.
    """
    n = x.shape[-2]
    s = torch.linalg.eigvalsh(x.mT @ x / n).clamp(min=1e-12)[..., None, :]
    powers = (1 - eta * s) ** torch.arange(steps + 1, dtype=x.dtype, device=x.device)[:, None]
    return (powers**2 + noise**2 / n * (1 - powers) ** 2 / s).sum(-1)


def one_step_optimum(n: int, *, covariance: Float[Tensor, "d d"], noise: float = 0.0) -> tuple[float, float]:
    r"""The best step c of a single gradient step from zero, w_1 = c X^T y / n, and its expected squared error.

    .. math:: c = \frac{\mathrm{tr} \Sigma}{\frac{n+1}{n} \mathrm{tr} \Sigma^2 + \frac1n (\mathrm{tr} \Sigma)^2
        + \frac{\mathrm{noise}^2}{n} \mathrm{tr} \Sigma}, \qquad \mathrm{error} = d - c \, \mathrm{tr} \Sigma

    For Sigma = I without noise c = n / (n + d + 1) and the error d (d + 1) / (n + d + 1), the floor of a single linear
    attention layer (arXiv 2502.21212, Theorem 3.1).
    """
    trace, square = covariance.trace().item(), covariance.square().sum().item()
    step = trace / ((n + 1) / n * square + trace**2 / n + noise**2 / n * trace)
    return step, len(covariance) - step * trace


def ridge(x: Float[Tensor, "*B n d"], y: Float[Tensor, "*B n"], *, noise: float = 0.0) -> Float[Tensor, "*B d"]:
    """The Bayes estimate of w given the prompt, (X^T X + noise^2 I)^-1 X^T y; the least-norm solution without noise."""
    if noise == 0:
        return torch.linalg.lstsq(x, y[..., None], driver="gelsd").solution[..., 0]
    gram = x.mT @ x + noise**2 * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(gram, (x.mT @ y[..., None])[..., 0])


def ridge_error(x: Float[Tensor, "*B n d"], *, noise: float) -> Float[Tensor, "*B"]:
    """The expected squared error of `ridge` on given x, noise^2 tr (X^T X + noise^2 I)^-1; 0 directions unseen count 1."""
    values = torch.linalg.eigvalsh(x.mT @ x).clamp(min=0)
    if noise == 0:
        return (values < 1e-6 * math.sqrt(x.shape[-1])).to(x.dtype).sum(-1)
    return (noise**2 / (values + noise**2)).sum(-1)
