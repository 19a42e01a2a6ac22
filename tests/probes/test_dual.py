import numpy as np
import pytest
import torch

from elegans.models.icl_dual import ContrastiveAttention, DualModel
from elegans.ops.feature_maps import elu_plus_one, exact_gram, identity
from elegans.probes.dual import dual_error, dual_path, kernel_matrices, relative_error


def layer(**changes):
    return ContrastiveAttention(width=4, num_query_side=2, **changes).double()


@pytest.fixture
def prompts():
    return 0.6 * torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_relative_error_by_hand():
    found = relative_error(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]]) + 1e-9)
    assert found[1].item() == pytest.approx(1.0)
    assert found[0] > 1e9


def test_dual_error_compares_with_attention(prompts):
    assert dual_error(layer(), prompts, exact_gram).max() < 1e-8
    found = dual_error(layer(), prompts, elu_plus_one, explains=layer(alpha=0.5))
    for x, error in zip(prompts, found.values, strict=True):
        dual, wanted = DualModel(layer(), x, elu_plus_one), layer(alpha=0.5)(x)
        assert error == pytest.approx(((dual.output(dual.step(dual.W_0)) - wanted).norm() / wanted.norm()).item())


def test_dual_path_of_the_plain_loss(prompts):
    found = dual_path(layer(), prompts, exact_gram, 4)
    assert set(found.data_vars) == {"to_attention", "off_line"} and found.gd_step.values.tolist() == [0, 1, 2, 3, 4]
    assert found.off_line.max() < 1e-8 and found.to_attention.sel(gd_step=1).max() < 1e-8
    away = found.to_attention.sel(gd_step=0)
    for step in (2, 3, 4):  # |f_k - h'| = |k - 1| |f_0 - h'|
        np.testing.assert_allclose(found.to_attention.sel(gd_step=step), (step - 1) * away, rtol=1e-6)


def test_dual_path_of_the_regularized_loss(prompts):
    found = dual_path(layer(alpha=0.5), prompts, exact_gram, 6)
    start = found.to_fixed_point.isel(gd_step=0)
    for step in range(7):  # the distance is multiplied by |1 - alpha|
        np.testing.assert_allclose(found.to_fixed_point.isel(gd_step=step), start * 0.5**step, rtol=1e-6)
    assert found.off_line.sel(gd_step=3).min() > 1e-3


def test_kernel_matrices_by_hand():
    points = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    found = kernel_matrices(points, {"identity": identity, "exact": exact_gram})
    assert found.dims == ("map", "query", "key")
    np.testing.assert_allclose(found.sel(map="identity"), [[1 / 2, 1 / 2], [1 / 3, 2 / 3]])
    e = np.e
    np.testing.assert_allclose(found.sel(map="exact"), [[1 / 2, 1 / 2], [e / (e + e**2), e**2 / (e + e**2)]])
