import pytest
import torch
from torch import nn

from elegans import build
from elegans.probes.decode import greedy

PROMPTS = torch.randint(0, 9, (5, 4), generator=torch.Generator().manual_seed(0))


class Reading(nn.Module):
    """A model that has no state to go on from."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model(tokens)


@pytest.mark.parametrize("name", ["gpt", "mamba", "rwkv4", "bilinear"])
def test_going_on_from_a_state_says_what_reading_again_says(name):
    model = build(name, vocab=9, width=16).double()
    assert torch.equal(greedy(model, PROMPTS, 6), greedy(Reading(model), PROMPTS, 6))


def test_each_token_is_the_most_likely_one_after_those_before():
    model = build("gpt", vocab=9, width=16).double()
    generated = greedy(model, PROMPTS, 3)
    full = torch.cat([PROMPTS, generated], dim=1)
    assert torch.equal(model(full)[:, 3:-1].argmax(-1), generated)


def test_nothing_to_say_and_nothing_to_go_on_from():
    model = build("gpt", vocab=9, width=16)
    assert greedy(model, PROMPTS, 0).shape == (5, 0)
    with pytest.raises(ValueError, match="at least one token"):
        greedy(model, PROMPTS[:, :0], 2)
