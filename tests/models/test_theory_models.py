import math

import pytest
import torch

from elegans.models.base import SequenceModel
from elegans.models.bilinear import BilinearLM
from elegans.models.one_layer import OneLayerLM

TOKENS = torch.tensor([[3, 1, 3, 0], [2, 2, 2, 4]])


def random(model):
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return model.double()


@pytest.mark.parametrize("symmetric", [False, True])
def test_bilinear_logits_equal_the_formula(symmetric):
    model = random(BilinearLM(vocab=5, width=3, symmetric=symmetric))
    u, theta = model.embeddings, model.theta.detach()
    if symmetric:
        theta = (theta + theta.T) / 2
    for row, logits in zip(TOKENS.tolist(), model(TOKENS), strict=True):
        for x, at_x in zip(row, logits, strict=True):
            expected = [sum(u[x, i] * theta[i, j] * u[y, j] for i in range(3) for j in range(3)) for y in range(5)]
            torch.testing.assert_close(at_x, torch.stack(expected))
            torch.testing.assert_close(model.effective_weights()[x], torch.stack(expected))
    assert torch.allclose(model.effective_weights(), model.effective_weights().mT) is symmetric


def test_bilinear_embeddings_are_fixed_and_nearly_orthonormal():
    model = BilinearLM(vocab=40, width=4000, seed=1)
    assert [name for name, _ in model.named_parameters()] == ["theta"]
    torch.testing.assert_close(model.embeddings @ model.embeddings.mT, torch.eye(40), atol=0.12, rtol=0)
    assert not model.theta.any() and not model(TOKENS).any()
    assert "embeddings" in model.state_dict()


def test_bilinear_start_scale_is_for_the_matrix_alone():
    small, large = (BilinearLM(vocab=9, width=100, init_std=std, seed=1) for std in (0.1, 0.3))
    assert torch.equal(small.embeddings, large.embeddings)
    torch.testing.assert_close(3 * small.theta, large.theta)
    assert small.theta.std().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("symmetric", [False, True])
def test_one_layer_logits_equal_the_formula(symmetric):
    model = random(OneLayerLM(vocab=5, symmetric=symmetric))
    y = ((model.Y + model.Y.T) / 2 if symmetric else model.Y).detach()
    z = model.Z.detach()
    for row, logits, attention in zip(TOKENS.tolist(), model(TOKENS), model.attention(TOKENS), strict=True):
        for t in range(len(row)):
            powers = [math.exp(z[row[t], row[s]]) for s in range(t + 1)]
            b = [power / sum(powers) for power in powers]
            mix = torch.zeros(5, dtype=torch.double)
            for s, weight in enumerate(b):
                mix[row[s]] += weight
            f = mix / math.sqrt((mix**2).sum())
            torch.testing.assert_close(logits[t], f @ y)
            torch.testing.assert_close(attention[t], torch.tensor(b + [0.0] * (3 - t), dtype=torch.double))


def test_one_layer_starts_at_zero_with_even_attention():
    model = OneLayerLM(vocab=5)
    assert not model(TOKENS).any()
    assert model.attention(TOKENS)[0, 3].tolist() == [0.25] * 4


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        BilinearLM(vocab=5, width=0)
    with pytest.raises(ValueError, match=r"init_std must be at least 0, got -1\.0"):
        BilinearLM(vocab=5, width=2, init_std=-1.0)
    with pytest.raises(ValueError, match="vocab must be at least 1, got 0"):
        OneLayerLM(vocab=0)


def test_the_base_class_says_what_is_missing():
    model = SequenceModel()
    for call in (model.input_embeddings, model.effective_weights, lambda: model.init_state(1)):
        with pytest.raises(NotImplementedError, match="SequenceModel has no"):
            call()
