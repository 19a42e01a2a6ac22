import numpy as np
import pytest
import torch
from circuits import sequences, small

from elegans.probes import logit_lens, record

TOKENS = sequences(4, 6)


@pytest.mark.parametrize("settings", [{}, {"tied": False}, {"norm": "rms", "bias": False, "depth": 3}])
def test_the_lens_is_the_last_norm_and_the_unembedding(settings):
    model = small("gpt", **settings)
    targets = {"one": TOKENS[:, 0], "other": TOKENS[:, 5]}
    found = logit_lens(model, TOKENS, targets)
    with record(model, "blocks.*") as seen, torch.no_grad():
        model(TOKENS)
    depth = len(model.blocks)
    assert found.sizes == {"token": 2, "layer": depth + 1, "position": 6, "item": 4}
    for layer in range(depth + 1):
        x = seen[f"blocks.{layer}.in"] if layer < depth else seen[f"blocks.{depth - 1}.out"]
        with torch.no_grad():
            logits = model.norm(x) @ model.output_embeddings().mT
        for name, target in targets.items():
            for item in range(4):
                own = found.sel(token=name, layer=layer, item=item)
                order = logits[item].argsort(-1, descending=True)
                rank = (order == target[item]).int().argmax(-1).numpy()
                np.testing.assert_array_equal(own["rank"], rank)
                np.testing.assert_allclose(own.reciprocal_rank, 1 / (1 + rank))
                np.testing.assert_allclose(own.probability, logits[item].softmax(-1)[:, target[item]])


def test_a_position_of_its_own_for_each_sequence():
    model, places = small("mamba"), torch.tensor([0, 3, 5, 1])
    everywhere = logit_lens(model, TOKENS, {"x": TOKENS[:, 0]})
    found = logit_lens(model, TOKENS, {"x": TOKENS[:, 0]}, positions={"here": places, "last": -1})
    assert found.position.values.tolist() == ["here", "last"]
    for item, place in enumerate(places.tolist()):
        np.testing.assert_allclose(
            found.probability.sel(position="here", item=item), everywhere.probability.sel(position=place, item=item)
        )
    np.testing.assert_allclose(found["rank"].sel(position="last"), everywhere["rank"].sel(position=5))


def test_callers_mistakes():
    with pytest.raises(ValueError, match="single positions"):
        logit_lens(small("gpt"), TOKENS, {"x": TOKENS[:, 0]}, positions={"span": [1, 2]})
    with pytest.raises(ValueError, match="at least one target"):
        logit_lens(small("gpt"), TOKENS, {})
    with pytest.raises(ValueError, match="tokens below 8, got up to 9"):
        logit_lens(small("gpt"), TOKENS, {"x": TOKENS[:, 0] * 0 + 9})
