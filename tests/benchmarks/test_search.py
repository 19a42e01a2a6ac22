"""The search that is timed gives what one plain pass per text gives, and what llm-reasoners gives where it is installed."""

import importlib.util

import pytest
import torch

pytest.importorskip("transformers")

from elegans.benchmarks import harness, peers, search

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def setup():
    with peers.quiet():
        return search.set_up(4, CPU, width=16, depth=1, heads=2, ffn=16)


def plain(lm, prompt, continuation):
    start, tokens = (len(lm.tokenizer.encode(text)) for text in (prompt, prompt + continuation))
    ids = torch.tensor([lm.tokenizer.encode(prompt + continuation)])
    with torch.inference_mode():
        rows = lm.model(ids).logits[0].log_softmax(-1)
    return sum(float(rows[i - 1, ids[0, i]]) for i in range(start, tokens))


def test_rewards_are_those_of_a_plain_pass_per_text(setup):
    result = search.ours(setup)
    nodes = [node for node in result.tree.root.walk() if node.parent]
    expected = []
    for node in nodes:
        here = node.parent.trajectory
        prompt, (question, answer) = setup.prompts.policy(here), setup.prompts.judge(here, node.action)
        likelihood = plain(setup.lm, prompt, setup.prompts.action(here, node.action))
        expected.append((likelihood, plain(setup.lm, question, answer), node.visits))
    found = torch.stack(search.our_tree(result), 1)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double), atol=1e-4, rtol=0)
    assert found[:, 2].max() > 1


def test_prompts_are_refreshed_when_the_hand_is_empty(setup):
    world, state = setup.problem.world, setup.problem.start
    trajectory = search.Trajectory((state,))
    before = setup.prompts.policy(trajectory)
    taken = world.actions(state)[0]
    holding = trajectory.then(taken, world.apply(state, taken))
    assert setup.prompts.policy(holding) == f"{before}{world.render_action(taken)}\n"
    put_down = world.actions(holding.state)[0]
    assert "holding" not in setup.prompts.policy(holding.then(put_down, world.apply(holding.state, put_down)))


def test_a_missing_peer_is_a_line(setup, monkeypatch):
    monkeypatch.setattr(peers, "has_reasoners", lambda: False)
    ours, theirs = search.compare(setup).contenders
    assert (theirs.name, theirs.call) == ("llm-reasoners", None)
    assert ours.facts["nodes"] == theirs.facts["nodes"]
    assert 2 * ours.facts["passes"] < theirs.facts["passes"]


@pytest.mark.skipif(importlib.util.find_spec("reasoners") is None, reason="llm-reasoners is not installed")
def test_the_peer_grows_the_same_tree(setup):
    with peers.quiet():
        theirs = search.their_tree(search.theirs(setup)())
        assert harness.measure(search.compare(setup), harness.make_clock(CPU, 1), quick=True).refused is None
    torch.testing.assert_close(theirs, search.our_tree(search.ours(setup)), atol=1e-4, rtol=0)


def test_without_transformers_there_is_nothing_to_compare(monkeypatch):
    monkeypatch.setattr(peers, "has_transformers", lambda: False)
    assert list(search.cases(True, CPU)) == []
