"""In-context regression: read some pairs (x, f(x)) of an unknown function and predict f at one more point.

Shapes: *B batch, N demonstrations, d input width.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import Batch
from elegans.tasks.words import check_at_least

Function = Literal["linear", "sine", "exponential"]
Inputs = Literal["uniform", "normal"]

_LINKS = {"linear": lambda z: z, "sine": np.sin, "exponential": np.exp}


class InContextRegression:
    r"""Prompts (x_1, y_1), ..., (x_N, y_N), (x', 0) with y = link(w . x) + noise; the target is link(w . x').

    A new w ~ N(0, weight_std^2 I) for every prompt; the link is the identity, the sine or the exponential; inputs are
    uniform on [-1, 1]^d or N(0, I). In the style of Garg et al. 2022 (arXiv 2208.01066).

    In a `Batch` of this task, `tokens` [*B, N + 1, d + 1] are vectors, the query's last coordinate is 0, and `targets`
    [*B] are numbers. The splits ``train``, ``val`` and ``test`` are streams of independent draws; `dataset` is a fixed
    sample of `sample_size` prompts.
    """

    vocab_size = 0

    def __init__(
        self,
        *,
        function: Function = "linear",
        width: int = 5,
        demonstrations: int = 15,
        inputs: Inputs = "uniform",
        weight_std: float = 1.0,
        noise: float = 0.0,
        sample_size: int = 2000,
        seed: int = 0,
    ) -> None:
        check_at_least(1, width=width, demonstrations=demonstrations, sample_size=sample_size)
        if function not in _LINKS:
            raise ValueError(f"function must be one of {', '.join(_LINKS)}, got {function!r}")
        if inputs not in ("uniform", "normal"):
            raise ValueError(f"inputs must be 'uniform' or 'normal', got {inputs!r}")
        if not weight_std > 0:
            raise ValueError(f"weight_std must be above 0, got {weight_std}")
        if not noise >= 0:
            raise ValueError(f"noise must be at least 0, got {noise}")
        self.function, self.inputs = function, inputs
        self.width, self.demonstrations = width, demonstrations
        self.weight_std, self.noise, self.sample_size, self.seed = weight_std, noise, sample_size, seed
        self.splits: tuple[str, ...] = ("train", "val", "test")

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """`size` fresh prompts; batch `step` of stream `seed`. Raises `KeyError` for an unknown split."""
        if split not in self.splits:
            raise KeyError(f"no split {split!r}; this task has {', '.join(self.splits)}")
        rng = numpy_rng("in-context-regression", self.seed, split, seed, step)
        shape = (size, self.demonstrations + 1, self.width)
        x = rng.uniform(-1, 1, shape) if self.inputs == "uniform" else rng.standard_normal(shape)
        w = rng.standard_normal((size, self.width, 1)) * self.weight_std
        y = _LINKS[self.function](x @ w)
        target = y[:, -1, 0].copy()
        y = y + self.noise * rng.standard_normal(y.shape)
        y[:, -1] = 0
        tokens = torch.from_numpy(np.concatenate([x, y], axis=-1)).float()
        return Batch(tokens, torch.from_numpy(target).float())

    def dataset(self, split: str) -> Batch:
        """A fixed sample of `sample_size` prompts, none of which `batch` draws."""
        return self.batch(split, self.sample_size, step=-1, seed=-1)

    def chance(self, split: str) -> Mapping[str, float]:
        """`mse` of the best constant: the variance of the targets of `dataset`."""
        return {"mse": float(self.dataset(split).targets.var(correction=0))}

    def oracle(self, batch: Batch) -> Float[Tensor, "*B"]:
        r"""The Bayes prediction, the posterior mean of link(w . x').

        Linear: ridge regression with penalty noise^2 / weight_std^2, which without noise is the shortest w that fits.
        Exponential, without noise: log y is linear in w; where N < d, what the demonstrations leave open adds half its
        variance to the exponent. Raises `NotImplementedError` where there is no closed form: for the sine, whose values
        do not tell w . x, and for the exponential with noise.
        """
        if self.function == "sine" or (self.function == "exponential" and self.noise > 0):
            raise NotImplementedError(f"the Bayes prediction of the {self.function} task has no closed form here")
        tokens = batch.tokens.double()
        x, y, query = tokens[..., :-1, :-1], tokens[..., :-1, -1:], tokens[..., -1, :-1]
        if self.function == "linear":
            penalty = (self.noise / self.weight_std) ** 2
            gram = x @ x.mT + penalty * torch.eye(x.shape[-2], dtype=x.dtype)
            return (query[..., None, :] @ x.mT @ torch.linalg.pinv(gram, hermitian=True) @ y).flatten(-3)
        inverse = torch.linalg.pinv(x)
        mean = (query[..., None, :] @ inverse @ y.log()).flatten(-3)
        left_open = query - (query[..., None, :] @ inverse @ x)[..., 0, :]
        return (mean + self.weight_std**2 * left_open.square().sum(-1) / 2).exp()

    def one_step_error(self) -> float:
        r"""Normalized error of the best single gradient step from w = 0, c sum_i y_i (x_i . x'), on the linear task.

        With input variance s and fourth moment m, and N the number of demonstrations:
        E[y' p] = N d s^2 and E[p^2] = N (N - 1) d s^3 + N s d (m + (d - 1) s^2) + noise, in units of weight_std^2; the
        error is 1 - E[y' p]^2 / (E[p^2] Var y'). The reference for one layer of *linear* attention.
        """
        if self.function != "linear":
            raise NotImplementedError("one gradient step has a closed form for the linear task only")
        s, m = (1 / 3, 1 / 5) if self.inputs == "uniform" else (1.0, 3.0)
        n, d = self.demonstrations, self.width
        product = n * d * s**2
        square = n * (n - 1) * d * s**3 + n * s * d * (m + (d - 1) * s**2)
        square += n * d * s**2 * (self.noise / self.weight_std) ** 2
        return 1 - product**2 / (square * d * s)
