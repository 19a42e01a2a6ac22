import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.ops.vector_tokens import Blocks
from elegans.tasks.weight_prediction import (
    InContextWeightPrediction,
    Shift,
    expected_gd_error,
    gd_path,
    one_step_optimum,
    ridge,
    ridge_error,
)

quick = settings(max_examples=20, deadline=None)
SHIFTS = {"wide": Shift(spectrum=(0.5, 2.0)), "noisy": Shift(noise=0.7)}


@quick
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 4), st.floats(0, 1), st.integers(0, 9))
def test_tokens_and_targets_are_gradient_descent_by_hand(d, n, thoughts, noise, seed):
    task = InContextWeightPrediction(d=d, n=n, thoughts=thoughts, eta=0.3, noise=noise, n_eval=2, seed=seed)
    batch = task.batch("train", 3, step=1, seed=seed)
    assert batch.tokens.shape == (3, n + thoughts, 2 * d + 2) and batch.targets.shape == (3, thoughts, d)
    for tokens, targets in zip(batch.tokens.double().numpy(), batch.targets.double().numpy(), strict=True):
        x, y = tokens[:n, :d], tokens[:n, d]
        assert not tokens[:n, d + 1 :].any() and not tokens[n:, : d + 1].any()
        w = np.zeros(d)
        for step in range(thoughts):
            np.testing.assert_allclose(tokens[n + step, d + 1 :], [*w, 1], atol=1e-4)
            gradient = sum((x[i] @ w - y[i]) * x[i] for i in range(n)) / n
            w = w - 0.3 * gradient
            np.testing.assert_allclose(targets[step], w, atol=1e-4)


def test_outcome_targets_are_the_weights_that_made_the_labels():
    task = InContextWeightPrediction(d=3, n=5, supervision="outcome", n_eval=4)
    batch = task.dataset("id")
    assert batch.tokens.shape == (4, 6, 8) and batch.targets.shape == (4, 1, 3)
    x, y = task.examples(batch.tokens)
    torch.testing.assert_close((x @ batch.targets.mT)[..., 0], y)
    prompts, w = task.prompts("id")
    assert torch.equal(prompts, batch.tokens) and torch.equal(w, batch.targets[:, 0])


def test_streams_are_pure():
    task = InContextWeightPrediction(d=2, n=3, shifts=SHIFTS, n_eval=5, seed=3)
    again = InContextWeightPrediction(d=2, n=3, shifts=SHIFTS, n_eval=5, seed=3)
    for split in task.splits:
        assert torch.equal(task.dataset(split).tokens, again.dataset(split).tokens)
        assert torch.equal(task.batch(split, 4, step=2).tokens, again.batch(split, 4, step=2).tokens)
    assert not torch.equal(task.batch("train", 4, step=1).tokens, task.batch("train", 4, step=2).tokens)


def test_shifts_have_their_covariance_and_noise():
    task = InContextWeightPrediction(d=3, n=4, supervision="outcome", shifts=SHIFTS, n_eval=20_000)
    covariance = task.covariance("wide")
    torch.testing.assert_close(torch.linalg.eigvalsh(covariance), torch.tensor([0.5, 1.25, 2.0]))
    x, _ = task.examples(task.prompts("wide")[0])
    flat = x.flatten(0, 1)
    torch.testing.assert_close(flat.mT @ flat / len(flat), covariance, atol=0.03, rtol=0)
    prompts, w = task.prompts("noisy")
    x, y = task.examples(prompts)
    assert ((x @ w[..., None])[..., 0] - y).std().item() == pytest.approx(0.7, rel=0.02)


@pytest.mark.parametrize("shift", [Shift(), Shift(spectrum=(0.5, 2.0)), Shift(noise=1.0)])
def test_one_step_optimum_is_the_best_step_on_sampled_prompts(shift):
    task = InContextWeightPrediction(d=4, n=6, supervision="outcome", shifts={"s": shift}, n_eval=60_000)
    prompts, w = task.prompts("s")
    x, y = task.examples(prompts)
    step, error = one_step_optimum(6, covariance=task.covariance("s"), noise=shift.noise)
    direction = gd_path(x, y, eta=1.0, steps=1)[:, 1]
    best = ((direction * w).sum() / direction.square().sum()).item()
    assert step == pytest.approx(best, rel=0.02)
    assert error == pytest.approx((step * direction - w).square().sum(-1).mean().item(), rel=0.02)


def test_one_step_optimum_has_the_published_form():
    step, error = one_step_optimum(20, covariance=torch.eye(10))
    assert step == pytest.approx(20 / 31) and error == pytest.approx(110 / 31)


@pytest.mark.parametrize("noise", [0.0, 0.8])
def test_expected_gd_error_is_the_mean_over_weights_and_noise(noise):
    x = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0)).double()
    expected = expected_gd_error(x, eta=0.3, steps=5, noise=noise)[0]
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(40_000, 3, generator=generator).double()
    many = x.expand(len(w), -1, -1)
    y = (many @ w[..., None])[..., 0] + noise * torch.randn(len(w), 6, generator=generator)
    sampled = (gd_path(many, y, eta=0.3, steps=5) - w[:, None]).square().sum(-1).mean(0)
    torch.testing.assert_close(sampled, expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("noise", [0.0, 0.8])
def test_ridge_is_the_bayes_estimate(noise):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, 6, generator=generator).double() if noise == 0 else torch.randn(1, 8, 3, generator=generator)
    x = x.double()
    w = torch.randn(40_000, x.shape[-1], generator=generator).double()
    many = x.expand(len(w), -1, -1)
    y = (many @ w[..., None])[..., 0] + noise * torch.randn(len(w), x.shape[1], generator=generator)
    estimate = ridge(many, y, noise=noise)
    error = (estimate - w).square().sum(-1).mean().item()
    assert error == pytest.approx(ridge_error(x, noise=noise).item(), rel=0.03)
    for scale in (0.9, 1.1):
        assert (scale * estimate - w).square().sum(-1).mean().item() > error
    assert abs(((estimate - w) * estimate).mean().item()) < 0.02, "the error of a posterior mean is orthogonal to it"


def test_blocks_tile_a_token():
    blocks = Blocks(3)
    rows = [row for part in blocks.slices.values() for row in range(*part.indices(blocks.width))]
    assert rows == list(range(8))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"eta must be above 0, got 0\.0"):
        InContextWeightPrediction(eta=0.0)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        InContextWeightPrediction(n=0)
    with pytest.raises(ValueError, match="eigenvalues of Sigma"):
        Shift(spectrum=(2.0, 1.0))
    with pytest.raises(ValueError, match="noise must be at least 0"):
        Shift(noise=-1.0)
    with pytest.raises(KeyError, match="no split 'ood'"):
        InContextWeightPrediction().dataset("ood")
