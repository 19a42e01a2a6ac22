"""Models for the tests of probes: the zoo in small, one whose circuit is known, one that is linear."""

import torch
from torch import nn

from elegans import build
from elegans.models.attention import SelfAttention
from elegans.models.block import Block, Mixer, draw, linear
from elegans.models.decoder import Decoder

VOCAB = 8


def small(name, **settings):
    """A model of the zoo without weights that are zero."""
    config = {} if name == "one-layer" else {"width": 16}
    model = build(name, vocab=VOCAB, **(config | settings))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.double()


def sequences(*shape, seed=0):
    return torch.randint(0, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def _bare(blocks, width, context, table):
    """A decoder without norms."""
    model = Decoder(vocab=VOCAB, width=width, blocks=blocks, context=context, table=table, tied=False)
    model.norm = nn.Identity()
    for block in model.blocks:
        block.norm_mixer = nn.Identity()
    return model


@torch.no_grad()
def induction(sharpness=1e4):
    """Attention only, two layers of two heads: after ``... a b ... a`` it says b with logit 1, all others have 0.

    The residual stream has room for the token, the position, the token before, and the answer, 8 numbers each. Head 0
    of layer 0 copies the token before; head 1 of layer 1 looks for a token that followed this one, and copies it. The
    other heads add nothing.
    """
    width, n = 4 * VOCAB, VOCAB
    model = _bare([Block(width, SelfAttention(width, 2), None) for _ in range(2)], width, n, "learned")
    for parameter in model.parameters():
        parameter.zero_()
    token, position, before, answer = (slice(i * n, (i + 1) * n) for i in range(4))
    one = torch.eye(n)
    model.token_table.weight[:, token] = one
    model.position_table.weight[:, position] = one
    model.unembedding.weight[:, answer] = one
    k = width // 2  # the width of a head; queries, keys and values of head h start at h k, width + h k, 2 width + h k
    first, second = (block.mixer for block in model.blocks)
    first.project_in.weight[:n, position] = sharpness * one.roll(-1, 0)  # position t asks for position t - 1
    first.project_in.weight[width : width + n, position] = one
    first.project_in.weight[2 * width : 2 * width + n, token] = one
    first.project_out.weight[before, :n] = one
    second.project_in.weight[k : k + n, token] = sharpness * one
    second.project_in.weight[width + k : width + k + n, before] = one
    second.project_in.weight[2 * width + k : 2 * width + k + n, token] = one
    second.project_out.weight[answer, k : k + n] = one
    return model.double()


class CausalMean(Mixer):
    """Each position reads the mean of a projection of all positions so far."""

    def __init__(self, width):
        super().__init__()
        self.project = linear(width, width, bias=False)

    def reset_parameters(self, generator, residual_std, std=0.02):
        draw(self.project, 1.0 / self.project.weight.shape[0] ** 0.5, generator)

    def init_state(self, batch_size):
        return self.project.weight.new_zeros(batch_size, 1, self.project.weight.shape[0]), 0

    def extend(self, x, state):
        total, seen = state
        sums = total + self.project(x).cumsum(dim=1)
        return sums / torch.arange(seen + 1, seen + 1 + x.shape[1])[:, None], (sums[:, -1:], seen + x.shape[1])


def linear_model(depth=3):
    """Logits are a linear function of the embeddings."""
    return _bare([Block(16, CausalMean(16), None) for _ in range(depth)], 16, None, "none").double()
