import math

import pytest
import torch

from elegans.models.theory import GroupClassifier, StringClassifier, sine_positions
from elegans.tasks.formal import FormalLanguage, even_pairs
from elegans.training.ensemble import Ensemble


def random(model):
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return model.double()


@pytest.mark.parametrize("symbols", [2, 3])
def test_string_scores_equal_the_formula(symbols):
    model = random(StringClassifier(num_symbols=symbols, max_length=4, temperature=1.5))
    W, u = model.W.tolist(), model.v.tolist()
    words = torch.tensor([[0, 1, 1, 0], [1, 1, -1, -1], [1, -1, -1, -1], [0, 0, 1, -1]])
    for row, score, attention in zip(words.tolist(), model(words), model.attention(words), strict=True):
        word = [s for s in row if s >= 0]
        index = [symbols * place + s for place, s in enumerate(word)]
        powers = [math.exp(W[i][index[-1]] / 1.5) for i in index]
        weights = [p / sum(powers) for p in powers]
        assert score.item() == pytest.approx(sum(a * u[i] for a, i in zip(weights, index, strict=True)))
        assert attention.tolist() == pytest.approx(weights + [0.0] * (4 - len(word)))
    torch.testing.assert_close(model.mixed(words) @ model.v, model(words))


def test_the_first_gradient_comes_from_strings_of_length_one():
    words = FormalLanguage(even_pairs(), max_length=5).dataset("train")
    model = StringClassifier(max_length=5).double()
    losses = torch.nn.functional.softplus(-(1 - 2 * words.labels) * model(words.words))
    gradient_v, gradient_W = torch.autograd.grad((losses * words.weights).sum(), [model.v, model.W])
    assert gradient_v[:2].tolist() == pytest.approx([-0.25, -0.25], abs=1e-12)
    assert gradient_v[2:].abs().max() < 1e-12 and not gradient_W.any()


def test_string_classes():
    words = torch.tensor([[0, 1], [1, 1]])
    model = StringClassifier(max_length=2)
    assert model.predict(words).tolist() == [0, 0]  # a tie counts as class 0
    with torch.no_grad():
        model.v.copy_(torch.tensor([1.0, -3.0, 0.0, 0.0]))
    assert model.predict(words).tolist() == [0, 1]
    many = random(StringClassifier(num_symbols=3, num_classes=3, max_length=2))
    assert many(words).shape == (2, 3) and torch.equal(many.predict(words), many(words).argmax(-1))


@pytest.mark.parametrize("positions", ["concatenated", "added"])
def test_group_scores_equal_the_formula(positions):
    features, groups = (3, 3) if positions == "added" else (2, 3)
    model = random(GroupClassifier(features=features, groups=groups, positions=positions))
    x = torch.randn(4, groups, features, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    for item, f, attention in zip(x, model(x), model.attention(x), strict=True):
        table = [[math.sin(i * j * math.pi / (groups + 1)) for i in range(1, groups + 1)] for j in range(1, groups + 1)]
        p = torch.tensor(table, dtype=torch.double)
        Z = (item + p).T if positions == "added" else torch.cat([item, p], dim=1).T  # columns are tokens
        S = torch.softmax(Z.T @ model.W @ Z, dim=0)  # column j: where query j looks
        assert f.item() == pytest.approx((model.v @ Z @ S).sum().item(), rel=1e-5)
        torch.testing.assert_close(attention, S.T, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("groups", [1, 2, 7, 16])
def test_positions_are_orthogonal(groups):
    p = sine_positions(groups).double()
    torch.testing.assert_close(p @ p.mT, (groups + 1) / 2 * torch.eye(groups).double(), atol=1e-5, rtol=0)


def test_antithetic_pairs_leave_positions_alone():
    model = GroupClassifier(features=3, groups=4).double()
    with torch.no_grad():
        model.v[:3] = torch.tensor([0.3, -0.2, 0.5])
        model.W[:3, :3] = 0.1
        model.W[3:, 3:] = 0.2
    x = torch.randn(5, 4, 3, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([1.0, -1, 1, 1, -1]).double()
    loss = torch.nn.functional.softplus(-torch.cat([y, -y]) * model(torch.cat([x, -x]))).mean()
    gradient_v, gradient_W = torch.autograd.grad(loss, [model.v, model.W])
    assert gradient_v[3:].abs().max() < 1e-12 < gradient_v[:3].abs().max()
    assert gradient_W[:3, 3:].abs().max() < 1e-12 and gradient_W[3:, :3].abs().max() < 1e-12


def test_stacks_equal_their_members():
    models = [random(StringClassifier(max_length=3)) for _ in range(2)]
    with torch.no_grad():
        models[1].W.mul_(2)
    words = torch.tensor([[[0, 1, 1], [1, -1, -1]], [[1, 1, 0], [0, 0, -1]]])
    for i, scores in enumerate(Ensemble(models)(words)):
        torch.testing.assert_close(scores, models[i](words[i]))
    groups = [random(GroupClassifier(features=2, groups=3, seed=s)) for s in range(2)]
    x = torch.randn(2, 5, 3, 2, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    for i, scores in enumerate(Ensemble(groups)(x)):
        torch.testing.assert_close(scores, groups[i](x[i]))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="max_length must be at least 1, got 0"):
        StringClassifier(max_length=0)
    with pytest.raises(ValueError, match="need features >= groups, got features=2 and groups=3"):
        GroupClassifier(features=2, groups=3, positions="added")
