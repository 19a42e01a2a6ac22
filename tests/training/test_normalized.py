import math

import pytest
import torch
from torch import nn

from elegans.training.ensemble import Ensemble
from elegans.training.optim import Optim, gradient_norm


class Pair(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(b))

    def forward(self, x):
        return 3 * self.a.sum() * x.sum() + 400 * (self.b[0] * x[0])


def step(model, loss, members=False):
    optim = Optim(kind="normalized-tensor", lr=0.1)
    optimizer = optim.build(model)
    loss.backward()
    assert optim.rescales
    optim.rescale(list(model.parameters()), members=members)
    optimizer.step()


def test_each_tensor_moves_by_the_learning_rate():
    model = Pair([[1.0, 2.0]], [0.0, 5.0, 7.0])
    step(model, model(torch.ones(2)))
    side = 0.1 / math.sqrt(2)
    torch.testing.assert_close(model.a.detach(), torch.tensor([[1 - side, 2 - side]]))
    torch.testing.assert_close(model.b.detach(), torch.tensor([-0.1, 5.0, 7.0]))


def test_a_zero_gradient_stays_zero():
    model = Pair([[1.0]], [2.0])
    step(model, model(torch.ones(1)) * 0.0)
    assert model.a.item() == 1 and model.b.item() == 2


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_members_of_a_stack_are_normalized_one_by_one(scale):
    def models():
        return [Pair([[1.0, 2.0]], [0.0, 1.0]), Pair([[0.5, 0.0]], [3.0, 1.0])]

    inputs = torch.tensor([[1.0, 2.0], [-3.0, 1.0]]) * torch.tensor([[1.0], [scale]])
    stack = Ensemble(models())
    step(stack, stack(inputs).sum(), members=True)
    for member, model, x in zip(stack.members(), models(), inputs, strict=True):
        step(model, model(x))
        for found, expected in zip(member.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(found, expected.detach())


def test_a_member_may_have_a_single_number_for_a_parameter():
    grads = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0], [2.0]])]
    assert gradient_norm(grads, members=True).tolist() == [5.0, 2.0]
