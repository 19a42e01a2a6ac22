import math

import numpy as np
import pytest
import torch

from elegans.tasks.regression import InContextRegression

LINKS = {"linear": lambda z: z, "sine": math.sin, "exponential": math.exp}


@pytest.mark.parametrize("function", LINKS)
def test_one_unknown_direction_explains_every_label(function):
    task = InContextRegression(function=function, width=3, demonstrations=6, weight_std=0.4)
    batch = task.batch("train", 20, step=3, seed=1)
    assert batch.tokens.shape == (20, 7, 4) and batch.targets.shape == (20,)
    inverse = {"linear": lambda y: y, "sine": np.arcsin, "exponential": np.log}[function]
    for prompt, target in zip(batch.tokens.double().numpy(), batch.targets.tolist(), strict=True):
        x, y = prompt[:-1, :-1], prompt[:-1, -1]
        z = inverse(y)
        if np.abs(z).max() > 1.4:
            continue  # arcsin is not unique there
        w = np.linalg.lstsq(x, z, rcond=None)[0]
        np.testing.assert_allclose(x @ w, z, atol=1e-4)
        assert prompt[-1, -1] == 0
        if abs(prompt[-1, :-1] @ w) < 1.4:
            assert target == pytest.approx(LINKS[function](prompt[-1, :-1] @ w), abs=1e-4)


def test_batches_are_functions_of_their_address():
    task = InContextRegression(width=2, demonstrations=3, sample_size=5)
    again = InContextRegression(width=2, demonstrations=3, sample_size=5)
    assert torch.equal(task.batch("train", 4, step=2, seed=3).tokens, again.batch("train", 4, step=2, seed=3).tokens)
    others = [("val", 2, 3), ("train", 1, 3), ("train", 2, 4)]
    reference = task.batch("train", 4, step=2, seed=3).tokens
    assert not any(torch.equal(task.batch(split, 4, step=t, seed=s).tokens, reference) for split, t, s in others)
    assert torch.equal(task.dataset("test").tokens, again.dataset("test").tokens)
    assert not torch.equal(task.dataset("test").tokens, InContextRegression(width=2, seed=1).dataset("test").tokens)


def error(task, prediction, batch):
    return float((prediction - batch.targets).square().mean() / batch.targets.var())


@pytest.mark.parametrize("function", ["linear", "exponential"])
def test_the_oracle_is_exact_where_the_demonstrations_determine_the_function(function):
    task = InContextRegression(function=function, width=3, demonstrations=8, weight_std=0.5)
    batch = task.batch("test", 200)
    assert error(task, task.oracle(batch), batch) < 1e-6
    stacked = type(batch)(batch.tokens.view(2, 100, 9, 4), batch.targets.view(2, 100))
    torch.testing.assert_close(task.oracle(stacked).flatten(), task.oracle(batch))


@pytest.mark.parametrize(("function", "noise", "n"), [("linear", 0.5, 4), ("linear", 0.0, 2), ("exponential", 0.0, 2)])
def test_the_oracle_is_the_posterior_mean(function, noise, n):
    """Against other predictions of its family: any rescaling of what it adds to the prior mean is worse."""
    task = InContextRegression(function=function, width=3, demonstrations=n, noise=noise, weight_std=0.7)
    batch = task.batch("test", 40_000)
    best = task.oracle(batch)
    target = batch.targets.double()
    residual = target - best
    for feature in (torch.ones_like(best), best, batch.tokens[:, 0, -1].double(), best**2):
        product = residual * feature  # a posterior mean leaves nothing that the prompt could predict
        assert product.mean().abs() < 4.5 * product.std() / math.sqrt(len(product))


def test_the_oracle_where_there_is_none():
    for settings in ({"function": "sine"}, {"function": "exponential", "noise": 0.1}):
        task = InContextRegression(**settings)
        with pytest.raises(NotImplementedError, match="has no closed form"):
            task.oracle(task.batch("test", 2))
    with pytest.raises(NotImplementedError, match="linear task only"):
        InContextRegression(function="sine").one_step_error()


@pytest.mark.parametrize(("inputs", "noise"), [("uniform", 0.0), ("normal", 0.0), ("uniform", 0.8)])
def test_the_error_of_one_gradient_step_is_the_formula(inputs, noise):
    task = InContextRegression(width=3, demonstrations=6, inputs=inputs, noise=noise, weight_std=0.5)
    batch = task.batch("test", 100_000)
    tokens = batch.tokens.double()
    x, y, query = tokens[:, :-1, :-1], tokens[:, :-1, -1], tokens[:, -1, :-1]
    step = torch.einsum("bn,bnd,bd->b", y, x, query)
    target = batch.targets.double()
    best = step * (target @ step) / (step @ step)
    assert error(task, best, batch) == pytest.approx(task.one_step_error(), abs=0.01)


def test_the_best_constant():
    task = InContextRegression(width=4, sample_size=50_000)
    assert task.chance("test")["mse"] == pytest.approx(4 / 3, rel=0.03)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"demonstrations": 0}, "demonstrations must be at least 1, got 0"),
        ({"weight_std": 0.0}, r"weight_std must be above 0, got 0\.0"),
        ({"noise": -1.0}, r"noise must be at least 0, got -1\.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        InContextRegression(**settings)


@pytest.mark.parametrize("setting", ["function", "inputs"])
def test_unknown_names_are_refused(setting):
    with pytest.raises((ValueError, TypeError), match="cubic"):  # by the type checker, where it is on
        InContextRegression(**{setting: "cubic"})


def test_unknown_splits_are_refused():
    with pytest.raises(KeyError, match="no split 'ood'; this task has train, val, test"):
        InContextRegression().batch("ood", 2)
