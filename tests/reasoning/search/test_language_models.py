"""Rewards that language models give, and searches with them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr

from elegans.models.registry import build
from elegans.reasoning import ZooScorer, default_search, solve
from elegans.reasoning.scorer import Capabilities, Generation, PairScorer, ScorerError, Usage
from elegans.reasoning.search import (
    MCTS,
    ActionReader,
    Budget,
    Choice,
    Composite,
    ContrastiveLogRatio,
    GeneratedWorld,
    JSDivergence,
    LogLikelihood,
    Prompts,
    RandomReward,
    SelfEvaluation,
    Trajectory,
    jensen_shannon,
    trace,
)
from elegans.reasoning.search.contrast import kl_to_mixture
from elegans.tasks.planning import Problem

from .conftest import Walk

WORDS = [f"n{i}" for i in range(6)] + [f"e{i}" for i in range(3)] + ["at", "go", "good", "bad", "S"]
WORLD = Walk(((1, 2, 0), (3, 0), (4,), (5, 1), (2, 5), (5,)), 5)
PROBLEM = Problem(WORLD, 0, "walk")
PROMPTS = Prompts(
    policy=lambda t: "S " + " ".join(f"at n{state}" for state in t.states),
    action=lambda _, action: f" go e{action} " + "S" * (action == 1),
    judge=lambda t, action: (f"S at n{t.state} go e{action}", " good"),
)


def scorer(seed, vocab=14, kind="gpt"):
    extra = {"heads": 2, "std": 0.4, "embedding_std": 1.0} if kind == "gpt" else {}
    return ZooScorer(build(kind, vocab=vocab, width=16, depth=2, seed=seed, **extra).double(), WORDS)


def choice(state=0):
    actions = WORLD.actions(state)
    return Choice(Trajectory((state,)), actions, lambda k: WORLD.apply(state, actions[k]))


def by_hand(model, text):
    tokens = [WORDS.index(word) for word in text.split()]
    with torch.no_grad():
        rows = model.model.model(torch.tensor([tokens]))[0].log_softmax(-1)
    return [float(rows[i - 1, tokens[i]]) for i in range(1, len(tokens))], rows[:-1]


def test_log_likelihood_by_action_and_by_sequence():
    expert = scorer(0)
    reader = ActionReader(PROMPTS, expert)
    texts = ["S at n0 go e0", "S at n0 go e1 S", "S at n0 go e2"]
    values = [by_hand(expert, text)[0] for text in texts]
    np.testing.assert_allclose(LogLikelihood(reader)(choice()), [sum(v[2:]) for v in values], atol=1e-9)
    np.testing.assert_allclose(
        LogLikelihood(reader, reduce="mean")(choice()), [np.mean(v[2:]) for v in values], atol=1e-9
    )
    np.testing.assert_allclose(LogLikelihood(reader, span="sequence")(choice()), [sum(v) for v in values], atol=1e-9)


def divergence(p, q):
    """Jensen and Shannon's, of relative entropies to the mixture."""
    return (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum() / 2


def test_contrastive_rewards_by_hand():
    expert, amateur = scorer(0), scorer(1)
    reader = ActionReader(PROMPTS, expert, amateur)
    text = "S at n0 go e1 S"
    (e, e_rows), (a, a_rows) = by_hand(expert, text), by_hand(amateur, text)
    jsd = [divergence(p, q) for p, q in zip(e_rows.exp().numpy(), a_rows.exp().numpy(), strict=True)]
    assert math.isclose(JSDivergence(reader)(choice())[1], np.mean(jsd[2:]), rel_tol=1e-9)
    assert math.isclose(ContrastiveLogRatio(reader)(choice())[1], sum(e[2:]) - sum(a[2:]), rel_tol=1e-9)
    masked = ContrastiveLogRatio(reader, alpha=0.5, beta=0.25)(choice())[1]
    plausible = [math.exp(e[i] - float(e_rows[i].max())) >= 0.5 for i in (2, 3, 4)]
    assert math.isclose(
        masked, sum(1.25 * e[i] - a[i] * p for i, p in zip((2, 3, 4), plausible, strict=True)), rel_tol=1e-9
    )
    released = ActionReader(PROMPTS, expert, amateur, divergence="kl-to-mixture")
    m = (e_rows.exp() + a_rows.exp()) / 2
    kl = (m * (m.log() - (e_rows + a_rows) / 2)).sum(-1)
    assert math.isclose(JSDivergence(released, reduce="sum")(choice())[1], float(kl[2:].sum()), rel_tol=1e-9)


def test_self_evaluation_is_the_log_probability_of_good():
    expert = scorer(0)
    want = [by_hand(expert, f"S at n0 go e{k} good")[0][-1] for k in range(3)]
    np.testing.assert_allclose(SelfEvaluation(ActionReader(PROMPTS, expert))(choice()), want, atol=1e-9)


def test_an_amateur_that_is_the_expert_speaks_for_nothing():
    reader = ActionReader(PROMPTS, scorer(0), scorer(0))
    for state in range(6):
        assert (
            JSDivergence(reader)(choice(state))
            == ContrastiveLogRatio(reader)(choice(state))
            == [0.0] * len(WORLD.actions(state))
        )


def test_the_first_token_diverges_alike_for_all_actions_of_a_choice():
    reader = ActionReader(PROMPTS, scorer(0), scorer(1))
    for state in range(6):
        scores = reader.actions(choice(state))
        first = [s.divergence[0] for s in scores]
        np.testing.assert_allclose(first, first[0], rtol=1e-9)
        assert first[0] > 1e-3
    later = [s.divergence[1:].mean() for s in reader.actions(choice(0))]
    assert np.ptp(later) > 0.0
    one_token = Prompts(PROMPTS.policy, lambda _, action: f" e{action}")
    assert np.ptp(JSDivergence(ActionReader(one_token, scorer(0), scorer(1)))(choice(0))) < 1e-9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-30, 30), min_size=4, max_size=4), min_size=2, max_size=2))
def test_the_divergence_is_symmetric_bounded_and_the_mean_of_relative_entropies(rows):
    p, q = (torch.tensor([row]).double().log_softmax(-1) for row in rows)
    value = float(jensen_shannon(p, q))
    assert 0 <= value <= math.log(2) and math.isclose(value, float(jensen_shannon(q, p)), abs_tol=1e-12)
    assert math.isclose(value, divergence(p[0].exp().numpy(), q[0].exp().numpy()), abs_tol=1e-9)
    assert float(jensen_shannon(p, p)) == 0.0
    assert float(kl_to_mixture(p, q)) >= -1e-12


def test_the_divergence_of_distributions_that_share_nothing_is_ln_2():
    p, q = torch.tensor([[0.0, -math.inf]]), torch.tensor([[-math.inf, 0.0]])
    assert float(jensen_shannon(p, q)) == math.log(2)


def run(remember, selection_seed=0, amateur=True):
    reader = ActionReader(PROMPTS, scorer(0), scorer(1) if amateur else None, remember=remember)
    factors = [LogLikelihood(reader), SelfEvaluation(reader), *([JSDivergence(reader)] if amateur else [])]
    search = MCTS(rewards=Composite(factors), depth_limit=5, budget=Budget(iterations=12))
    return reader, search.search(PROBLEM)


def test_memory_saves_passes_and_changes_nothing():
    reader, result = run(remember=True)
    plain_reader, plain = run(remember=False)
    mine, theirs = trace(result)["nodes"], trace(plain)["nodes"]
    assert [(n["id"], n["visits"], n["chosen"]) for n in mine] == [(n["id"], n["visits"], n["chosen"]) for n in theirs]
    for a, b in zip(mine, theirs, strict=True):
        assert a["factors"] == pytest.approx(b["factors"], abs=1e-9)
    before = reader.expert.usage.passes
    again = MCTS(
        rewards=Composite([LogLikelihood(reader), SelfEvaluation(reader), JSDivergence(reader)]),
        depth_limit=5,
        budget=Budget(iterations=12),
    ).search(PROBLEM)
    assert reader.expert.usage.passes == before and again.tree.spent == Usage()
    assert [n["value"] for n in trace(again)["nodes"]] == [n["value"] for n in mine]
    assert plain_reader.expert.usage.passes >= before
    reader.forget()
    LogLikelihood(reader)(choice())
    assert reader.expert.usage.passes > before


def test_all_actions_of_a_node_are_read_in_one_pass():
    _, result = run(remember=True, amateur=False)
    assert 0 < result.tree.spent.passes <= 2 * result.tree.expanded
    prompts = Prompts(PROMPTS.policy, PROMPTS.action)
    alone = default_search(scorer(0), prompts, depth_limit=5).search(PROBLEM)
    assert alone.tree.spent.passes == alone.tree.expanded >= 3


def test_five_lines_solve_a_world():
    class Named(Walk):
        def render_state(self, state):
            return f"S at n{state}"

        def render_action(self, action):
            return f"go e{action}"

    expert = scorer(0)
    expert.tokenizer.encode = lambda text: [WORDS.index(w) for w in text.replace("Action:", "").split()]
    result = solve(Problem(Named(WORLD.edges, 5), 0, "named"), expert, depth_limit=5)
    assert result.solved and result.tree.iterations == 10


@pytest.mark.parametrize("kind", ["gpt", "mamba"])
def test_searches_agree_between_runs(kind):
    one, other = (default_search(scorer(0, kind=kind), PROMPTS, depth_limit=5).search(PROBLEM) for _ in range(2))
    ignored = {"seconds"}
    assert {k: v for k, v in trace(one).items() if k not in ignored} == {
        k: v for k, v in trace(other).items() if k not in ignored
    }


def test_a_prompt_beyond_the_context_is_a_fault_that_keeps_the_tree():
    short = ZooScorer(build("gpt", vocab=len(WORDS), width=16, depth=1, heads=2, context=12, seed=0).double(), WORDS)
    result = default_search(short, Prompts(PROMPTS.policy, PROMPTS.action), depth_limit=30).search(
        Problem(Walk(((0, 0), ()), 1), 0, "loop")
    )
    assert result.status == "fault" and "do not fit" in result.fault
    assert not result.solved and result.tree.iterations == 0 and result.actions == []


class Writer(PairScorer):
    """Writes next states, some of them wrong."""

    capabilities = Capabilities(log_probs=False, distributions=False)

    def __init__(self, fails=0):
        self.usage, self.asked, self.fails = Usage(), [], fails

    def tokenize(self, text):
        return []

    def generate(self, prompt, **_):
        if self.fails:
            self.fails -= 1
            raise ScorerError("no answer within 3 s")
        self.asked.append(prompt)
        state, action = map(int, prompt.split())
        text = "nonsense" if (state, action) == (0, 0) else str(WORLD.apply(state, action))
        return [Generation(text, (), (), "stop")]


def generated(writer):
    return GeneratedWorld(WORLD, writer, lambda s, a: f"{s} {a}", lambda s, a, text: int(text), max_tokens=5)


def test_states_can_be_generated_and_nonsense_is_an_action_refused():
    writer = Writer()
    search = MCTS(rewards=Composite([RandomReward(2)]), depth_limit=6, budget=Budget(iterations=25))
    result = search.search(Problem(generated(writer), 0, "written"))
    assert result.solved and result.actions[0] != 0
    refused = [node for node in result.tree.root.walk() if node.invalid]
    assert {node.action for node in refused if node.parent.trajectory.state == 0} == {0}
    assert all("nonsense" in node.invalid for node in refused) and len(writer.asked) == len(set(writer.asked))


def test_a_world_whose_model_fails_is_a_fault():
    world = generated(Writer(fails=1))
    search = MCTS(rewards=Composite([RandomReward(2)]), depth_limit=6, budget=Budget(iterations=25))
    broken = search.search(Problem(world, 0, "written"))
    assert (broken.status, broken.fault, broken.solved) == ("fault", "no answer within 3 s", False)
    healed = search.search(broken.tree.problem, broken.tree)
    whole = search.search(Problem(generated(Writer()), 0, "written"))
    assert healed.status == "iterations" and trace(healed)["nodes"] == trace(whole)["nodes"]


def test_what_scorers_cannot_do_is_refused_before_the_search():
    with pytest.raises(ValueError, match="cannot score given actions"):
        ActionReader(PROMPTS, Writer())
    reader = ActionReader(Prompts(PROMPTS.policy, PROMPTS.action), scorer(0))
    for factor in (JSDivergence, ContrastiveLogRatio):
        with pytest.raises(ValueError, match="needs an amateur"):
            factor(reader)
    with pytest.raises(ValueError, match="needs prompts"):
        SelfEvaluation(reader)
    blind = scorer(1)
    blind.capabilities = Capabilities(distributions=False)
    with pytest.raises(ValueError, match="no whole distributions"):
        ActionReader(PROMPTS, scorer(0), blind)
    for wrong in ({"span": "all"}, {"reduce": "max"}, {"span": "sequence", "reduce": "mean"}):
        with pytest.raises((ValueError, TypeError), match=r"must be|is a sum|Literal"):
            LogLikelihood(reader, **wrong)


def test_another_tokenization_of_the_amateur_is_a_fault():
    other = scorer(1)
    other.tokenizer.encode = lambda text: [WORDS.index(w) for w in text.replace("go", "go go").split()]
    reader = ActionReader(PROMPTS, scorer(0), other)
    result = MCTS(rewards=Composite([JSDivergence(reader)]), depth_limit=3).search(PROBLEM)
    assert result.status == "fault" and "one tokenizer" in result.fault


def test_padded_tables_are_compared_on_the_common_tokens():
    reader = ActionReader(PROMPTS, scorer(0), scorer(0, vocab=len(WORDS) + 3))
    values = JSDivergence(reader)(choice())
    assert all(0 <= value <= math.log(2) for value in values)
