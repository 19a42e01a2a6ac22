"""Decays are read as what a channel keeps per position, in ascending order."""

import numpy as np
import pytest
import torch

from elegans.models.registry import build
from elegans.probes.decay import decay_spectrum


def test_the_spectrum_is_what_one_position_leaves_of_the_past():
    model = build("rwkv4", vocab=4, width=3, depth=2)
    with torch.no_grad():
        model.blocks[1].att.time_decay.copy_(torch.tensor([0.0, -20.0, 5.0]))
    found = decay_spectrum(model)
    np.testing.assert_allclose(found.sel(layer=2), [0, np.exp(-1), 1], atol=1e-8)
    assert (found.diff("channel") >= 0).all()


def test_time_mixing_in_a_decoder_has_a_spectrum_and_attention_has_none():
    mixed = build("gpt", vocab=4, width=8, depth=2, heads=2, mixers=("rwkv4", "softmax"))
    assert decay_spectrum(mixed).sizes == {"layer": 1, "channel": 8}
    with pytest.raises(ValueError, match="no decays"):
        decay_spectrum(build("gpt", vocab=4, width=8, depth=1, heads=2))
