"""Feature maps phi with phi(x) . phi(y) = exp(x . y), exactly or on average over random directions, and two without.

Attention weights exp(k . q / sqrt(d)) are such a kernel of keys and queries scaled by d^(-1/4). Every map here takes all
points together and may multiply the kernel by one positive constant, which any normalized attention cancels: that is how
the exponentials are kept finite (see `stabilize`).

Shapes: n points, d width, R random features.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

FeatureMap = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n R"]]
MapName = Literal["exact", "positive", "trigonometric", "elu", "identity"]
MAPS: tuple[MapName, ...] = ("exact", "positive", "trigonometric", "elu", "identity")


def exponential_kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """The kernel exp(x . y) of all pairs."""
    return (x @ y.mT).exp()


def exact_gram(points: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    r"""Features of n points in n dimensions whose inner products are the kernel, up to a constant.

    The kernel is :math:`e^{|x|^2 / 2} e^{-|x - y|^2 / 2} e^{|y|^2 / 2}`. With U S U^T the eigendecomposition of the middle
    factor, which rounding leaves positive definite far longer than the kernel itself,
    :math:`\phi = e^{|x|^2 / 2} U S^{1/2}`, divided by the largest :math:`e^{|x|^2 / 2}`. Eigenvalues that rounding made
    negative count as 0.
    """
    half = points.square().sum(-1) / 2
    values, vectors = torch.linalg.eigh((points @ points.mT - half - half[:, None]).exp())
    return (half - half.max()).exp()[:, None] * vectors * values.clamp(min=0).sqrt()


def positive_random(
    points: Float[Tensor, "n d"], directions: Float[Tensor, "R d"], *, stabilize: bool = True
) -> Float[Tensor, "n R"]:
    r"""Positive random features, :math:`\phi_r(x) = R^{-1/2} \exp(w_r^\top x - |x|^2 / 2)` (arXiv 2009.14794, Lemma 1).

    With :math:`w_r \sim N(0, I)` the inner product is unbiased, with relative variance
    :math:`(e^{|x + y|^2} - 1) / R`. `stabilize` divides all features by the largest one before they are exponentiated.
    """
    exponent = points @ directions.mT - points.square().sum(-1, keepdim=True) / 2
    if stabilize:
        exponent = exponent - exponent.max()
    return exponent.exp() / math.sqrt(len(directions))


def trigonometric_random(
    points: Float[Tensor, "n d"], directions: Float[Tensor, "R d"], *, stabilize: bool = True
) -> Float[Tensor, "n 2*R"]:
    r"""Random Fourier features, :math:`R^{-1/2} e^{|x|^2 / 2} [\cos w_r^\top x, \sin w_r^\top x]`.

    With :math:`w_r \sim N(0, I)` the inner product is unbiased but not positive. `stabilize` divides all features by the
    largest :math:`e^{|x|^2 / 2}`.
    """
    half = points.square().sum(-1, keepdim=True) / 2
    if stabilize:
        half = half - half.max()
    angles = points @ directions.mT
    return half.exp() * torch.cat([angles.cos(), angles.sin()], dim=-1) / math.sqrt(len(directions))


def elu_plus_one(points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """elu(x) + 1, the positive map of linear attention (arXiv 2006.16236); its kernel is not the exponential one."""
    return F.elu(points) + 1


def identity(points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """x itself: attention without softmax."""
    return points


def gaussian_directions(
    num: int, width: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "R d"]:
    """`num` independent directions w ~ N(0, I)."""
    return torch.randn(num, width, generator=generator, dtype=dtype)


def orthogonal_directions(
    num: int, width: int, generator: torch.Generator, dtype: torch.dtype = torch.float64, *, fix_signs: bool = True
) -> Float[Tensor, "R d"]:
    """Directions that are orthogonal in blocks of `width`, each still distributed as N(0, I).

    A block is a random rotation times the norms of independent Gaussian vectors. The Q of a QR decomposition is a
    random rotation only after its columns are multiplied by the signs of R's diagonal (Mezzadri 2007, math-ph/0609050);
    ``fix_signs=False`` leaves that out, and the features are then biased.
    """
    blocks = -(-num // width)
    gaussian = torch.randn(blocks, width, width, generator=generator, dtype=dtype)
    rotation, upper = torch.linalg.qr(gaussian)
    if fix_signs:
        rotation = rotation * upper.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    norms = torch.randn(blocks, width, width, generator=generator, dtype=dtype).norm(dim=-1)
    return (rotation.mT * norms[:, :, None]).flatten(0, 1)[:num]


def feature_map(name: MapName, directions: Float[Tensor, "R d"] | None = None) -> FeatureMap:
    """A map by name; the random ones (``positive``, ``trigonometric``) need `directions`.

    Raises `ValueError` for an unknown name, and for directions that are missing or not needed.
    """
    random = {"positive": positive_random, "trigonometric": trigonometric_random}
    fixed: dict[str, FeatureMap] = {"exact": exact_gram, "elu": elu_plus_one, "identity": identity}
    if name not in MAPS:
        raise ValueError(f"no feature map {name!r}; known: {', '.join(MAPS)}")
    if (name in random) != (directions is not None):
        raise ValueError(f"feature map {name!r} {'needs' if name in random else 'takes no'} directions")
    if directions is None:
        return fixed[name]
    return lambda points: random[name](points, directions)
