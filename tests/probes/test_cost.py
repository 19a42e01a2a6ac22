"""Costs are medians of turns; a cache grows and a recurrent state does not."""

import time

import pytest

from elegans.models.registry import build
from elegans.probes.cost import decoding_cost, interleaved_seconds


def test_actions_take_turns_after_a_round_that_does_not_count(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(time, "process_time", lambda: clock[0])

    def action(name, seconds):
        def run():
            order.append(name)
            clock[0] += seconds[order.count(name) - 1]

        return run

    spent = interleaved_seconds(
        {"a": action("a", [100, 1, 3, 2]), "b": action("b", [100, 5, 5, 50])},
        rounds=3,
    )
    assert order == ["a", "b"] * 4
    assert spent == {"a": 2, "b": 5}


@pytest.mark.parametrize(("name", "growth"), [("rwkv4", 1), ("gpt", 4)])
def test_the_state_of_attention_grows_with_the_prompt(name, growth):
    model = build(name, vocab=8, width=8, depth=1, **({"heads": 2, "context": 24} if name == "gpt" else {}))
    found = decoding_cost(model, (4, 16), batch_size=2, num_tokens=3, rounds=1)
    assert found.state_bytes.sel(position=16) == growth * found.state_bytes.sel(position=4)
    assert (found.seconds > 0).all()
    assert model.training
