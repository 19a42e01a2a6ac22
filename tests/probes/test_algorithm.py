import numpy as np
import pytest
import torch

from elegans.models.weight_prediction import ContinuousCoT, LinearSelfAttention
from elegans.probes.algorithm import (
    agreement,
    error_over_steps,
    gauge_products,
    relative_agreement,
    useless_share,
)
from elegans.tasks.weight_prediction import InContextWeightPrediction, Shift, gd_path


def solution(eta=0.3):
    layer = LinearSelfAttention(d=3, n=5)
    layer.set_solution(read=torch.eye(3), write=-eta * torch.eye(3))
    return layer


def test_errors_are_capped_and_divergence_is_counted():
    path = torch.tensor([[[0.0], [1.0], [2.0]], [[0.0], [1e9], [float("nan")]], [[0.0], [3.0], [float("inf")]]])
    found = error_over_steps(path, torch.zeros(3, 1, 1), cap=100.0)
    np.testing.assert_allclose(found.error, [0, (1 + 100 + 9) / 3, (4 + 100 + 100) / 3])
    np.testing.assert_allclose(found.diverged, [0, 1 / 3, 2 / 3])
    assert found.thoughts.values.tolist() == [0, 1, 2]


def test_the_solution_agrees_with_gradient_descent_where_it_diverges_too():
    task = InContextWeightPrediction(
        d=3, n=5, supervision="outcome", eta=0.3, shifts={"wide": Shift(spectrum=(4.0, 4.0))}, n_eval=50
    )
    prompts, _ = task.prompts("wide")
    path = ContinuousCoT(solution()).path(prompts, 10).detach()[..., 4:7]
    reference = gd_path(*task.examples(prompts), eta=0.3, steps=10)
    assert reference[:, -1].square().sum(-1).mean() > 1e3, "it does diverge"
    assert relative_agreement(path, reference).max() < 1e-8
    assert relative_agreement(2 * path, reference).isel(thoughts=-1) == pytest.approx(1, rel=1e-3)
    assert agreement(path, reference).isel(thoughts=0) == 0


def test_relative_agreement_of_what_is_not_a_number_is_capped():
    nan = torch.full((2, 3, 1), float("nan"))
    assert (relative_agreement(nan, torch.ones(2, 3, 1)) == 1e6).all()


@pytest.mark.parametrize("gauge", [1.0, -3.0])
def test_products_do_not_see_the_gauge(gauge):
    layer = solution()
    with torch.no_grad():
        layer.attention.V.mul_(gauge)
        layer.attention.W.div_(gauge)
    products = gauge_products(layer)
    torch.testing.assert_close(products["label"], 0.3 * torch.eye(3))
    torch.testing.assert_close(products["state"], -0.3 * torch.eye(3))


def test_useless_share_is_the_norm_outside_the_solution():
    layer = solution()
    assert useless_share(layer) == {"V": 0.0, "W": 0.0}
    with torch.no_grad():
        layer.attention.V[0, 0] = 2.0
    assert useless_share(layer)["V"] == pytest.approx(2 / (4 + 3 * 0.09) ** 0.5)
