import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.ops.feature_maps import (
    elu_plus_one,
    exact_gram,
    exponential_kernel,
    feature_map,
    gaussian_directions,
    identity,
    orthogonal_directions,
    positive_random,
    trigonometric_random,
)

RANDOM = {"positive": positive_random, "trigonometric": trigonometric_random}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def points(n, d, scale=1.0, seed=0):
    return scale * torch.randn(n, d, generator=rng(seed), dtype=torch.float64)


def up_to_constant(features, kernel):
    """The kernel of the features, rescaled so that its first diagonal entry is right."""
    found = features @ features.mT
    return found * kernel[0, 0] / found[0, 0]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), d=st.integers(1, 12), scale=st.floats(0.05, 1.2), seed=st.integers(0, 99))
def test_exact_features_have_the_kernel_as_inner_product(n, d, scale, seed):
    x = points(n, d, scale / d**0.25, seed)
    kernel = exponential_kernel(x, x)
    found = up_to_constant(exact_gram(x), kernel)
    bound = kernel.diagonal().sqrt()  # rounding is relative to the norms of the features
    assert ((found - kernel).abs() <= 1e-11 * bound * bound[:, None]).all()


def test_exact_features_of_large_and_equal_points():
    x = torch.cat([points(6, 4, 12.0), points(1, 4, 12.0), points(1, 4, 12.0)])
    features = exact_gram(x)
    assert features.isfinite().all() and not exponential_kernel(x, x).isfinite().all()
    torch.testing.assert_close(features[-1] @ features.mT, features[-2] @ features.mT)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("draw", [gaussian_directions, orthogonal_directions])
def test_random_features_are_unbiased(name, draw):
    x = points(4, 3, 0.5)
    draws = [RANDOM[name](x, draw(300, 3, rng(s)), stabilize=False) for s in range(600)]
    kernels = torch.stack([f @ f.mT for f in draws])
    error = kernels.std(0) / math.sqrt(len(kernels))
    assert ((kernels.mean(0) - exponential_kernel(x, x)).abs() < 4.5 * error + 1e-12).all()


def test_plain_qr_directions_are_biased_where_signs_matter():
    x = torch.tensor([[0.0, 0.0, 0.6], [0.0, 0.3, 0.5]], dtype=torch.float64)

    def z(name):
        """Standard errors between the mean estimate and the kernel, by directions."""
        found = []
        for fix in (True, False):
            kernel = torch.stack(
                [
                    (f @ f.mT)[0, 1]
                    for s in range(400)
                    for f in [RANDOM[name](x, orthogonal_directions(300, 3, rng(s), fix_signs=fix), stabilize=False)]
                ]
            )
            wanted = exponential_kernel(x, x)[0, 1]
            found.append(((kernel.mean() - wanted) / kernel.std() * math.sqrt(len(kernel))).abs().item())
        return found

    fixed, plain = z("positive")
    assert fixed < 4.5 < 10 < plain
    assert max(z("trigonometric")) < 4.5, "cosines and sine products are blind to the sign of a direction"


def test_the_variance_of_positive_features_is_the_formula():
    x = torch.tensor([[0.4, -0.1], [0.3, 0.5]], dtype=torch.float64)
    num = 200_000
    w = gaussian_directions(num, 2, rng())
    products = math.prod(positive_random(p[None], w, stabilize=False)[0] * math.sqrt(num) for p in x)
    relative = products.var() / exponential_kernel(x, x)[0, 1] ** 2
    assert relative.item() == pytest.approx(math.expm1((x.sum(0) ** 2).sum().item()), rel=0.03)


@pytest.mark.parametrize("name", RANDOM)
def test_the_stabilizer_is_one_constant_for_all_points(name):
    x, w = points(5, 4), gaussian_directions(64, 4, rng())
    ratio = RANDOM[name](x, w, stabilize=False) / RANDOM[name](x, w)
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    huge = RANDOM[name](points(5, 4, 40.0), w)
    assert huge.isfinite().all() and huge.any()


def test_orthogonal_directions_are_orthogonal_in_blocks_with_gaussian_norms():
    w = orthogonal_directions(4 * 2500 + 3, 4, rng())
    assert w.shape == (10_003, 4)
    for block in w[:40].split(4):
        gram = block @ block.mT
        torch.testing.assert_close(gram, gram.diagonal().diag())
    assert w.square().sum(-1).mean().item() == pytest.approx(4, rel=0.03)
    torch.testing.assert_close(w.mT @ w / len(w), torch.eye(4, dtype=torch.float64), atol=0.05, rtol=0)
    assert w.mean(0).abs().max() < 0.05
    assert orthogonal_directions(10_000, 4, rng(), fix_signs=False).mean(0).abs().max() > 0.1


def test_the_maps_without_randomness():
    x = torch.tensor([[-2.0, 3.0]])
    torch.testing.assert_close(elu_plus_one(x), torch.tensor([[math.exp(-2), 4.0]]))
    assert identity(x) is x


def test_maps_by_name():
    x, w = points(3, 2), gaussian_directions(8, 2, rng())
    assert torch.equal(feature_map("exact")(x), exact_gram(x))
    assert torch.equal(feature_map("elu")(x), elu_plus_one(x)) and feature_map("identity")(x) is x
    assert torch.equal(feature_map("positive", w)(x), positive_random(x, w))
    assert torch.equal(feature_map("trigonometric", w)(x), trigonometric_random(x, w))
    with pytest.raises(ValueError, match="'positive' needs directions"):
        feature_map("positive")
    with pytest.raises(ValueError, match="'elu' takes no directions"):
        feature_map("elu", w)
    with pytest.raises((ValueError, TypeError), match="relu"):  # by the type checker, where it is on
        feature_map("relu")
