"""Decoding with a draft, at tiny sizes: the same text, in as many passes as can be."""

import pytest
import torch

from elegans.benchmarks import peers, speculation

CPU = torch.device("cpu")


@pytest.fixture
def contenders():
    (case,) = speculation.cases(True, CPU)
    assert case.tolerance == 0.0
    return {contender.name: contender for contender in case.contenders}


def test_all_texts_are_the_greedy_one(contenders):
    texts = [contender.call() for contender in contenders.values() if contender.call]
    assert len(texts) >= 3 and all(text == texts[0] for text in texts)
    assert len(set(texts[0])) > len(texts[0]) // 2


def test_a_draft_that_agrees_saves_four_passes_of_five(contenders):
    names = ("greedy", "drafted, all right", "drafted, all wrong")
    assert [contenders[name].facts["passes"] for name in names[:2]] == [12, 3]
    assert contenders[names[2]].facts["passes"] >= 10


def test_a_speed_up_of_1_6_is_the_goal(contenders):
    assert [name for name, contender in contenders.items() if contender.goal] == ["drafted, all right"]
    assert contenders["drafted, all right"].goal.at_most <= 1 / 1.6


def test_the_peer_may_be_absent(monkeypatch):
    monkeypatch.setattr(peers, "has_transformers", lambda: False)
    (case,) = speculation.cases(True, CPU)
    assert [c.name for c in case.contenders if c.call is None] == ["Hugging Face, greedy", "Hugging Face, drafted"]
