"""Vocabulary, prompts, and training sequences, read back word by word and judged by the oracle."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.base import IGNORE
from elegans.tasks.blocksworld import (
    Action,
    Blocksworld,
    BlocksworldSequences,
    Compact,
    Goal,
    Oracle,
    Words,
    blocksworld_of,
    buffered,
    draw_problems,
    from_below,
    from_stacks,
    legal_actions,
    make_goal,
    part_of,
    policy_prompt,
    relational,
    self_evaluation_prompt,
    state_space,
    step,
    world_model_prompt,
)
from elegans.tasks.blocksworld.sequence_tables import _visits
from elegans.tasks.planning import execute

quick = settings(max_examples=15, deadline=None)
SEEDS = st.integers(0, 10**6)
TASK = BlocksworldSequences()
PLACES = {"table": -1, "none": -3}


def read(batch):
    """Every item as (words, whether each was scored), checked to be one teacher-forced sequence."""
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        n_tokens = sum(token != 0 for token in tokens)
        assert all(tokens[:n_tokens]) and all(target == IGNORE for target in targets[n_tokens:])
        last = targets[n_tokens - 1]
        sequence = [*tokens[:n_tokens], *([last] if last != IGNORE else [])]
        for position, target in enumerate(targets[: len(sequence) - 1]):
            assert target in (IGNORE, sequence[position + 1])
        scored = [False, *(target != IGNORE for target in targets[: len(sequence) - 1])]
        yield [TASK.words.words[token] for token in sequence], scored


def items(split, seed=0, size=64):
    return read(TASK.batch(split, size, step=2, seed=seed))


def shown(words):
    """Start, goal and notation of relational words."""
    facts = [word.split(":") for word in words]
    compact = Compact([name for name, _, _ in facts])
    index = {name: x for x, name in enumerate(compact.names)} | PLACES
    assert list(compact.names) == sorted(compact.names)
    start = from_below([index[on] for _, on, _ in facts])
    return start, Goal(tuple(index[wanted] for _, _, wanted in facts)), compact


def split_words(words, *marks):
    parts, rest = [], words
    for mark in marks:
        place = rest.index(mark)
        parts.append(rest[:place])
        rest = rest[place + 1 :]
    return [*parts, rest]


# ------------------------------------------------------------------------------------------------ sequences


@quick
@given(SEEDS)
def test_policies_follow_optimal_plans(seed):
    for words, scored in items("policy", seed):
        assert words[0] == "S"
        front, rest = split_words(words[1:], "P")
        start, goal, compact = shown(front)
        assert part_of(start, goal) == "dev" and not goal.holds(start)
        plan, oracle = compact.parse_plan(" ".join(rest)), Oracle(goal)
        states = execute(Blocksworld(goal, compact), start, plan)
        lengths = [oracle.distance(state) for state in states]
        first = len(compact.action(plan[0]).split())
        mistaken = not scored[len(front) + 2]
        assert scored[len(front) + 2 :] == [not mistaken] * first + [True] * (len(rest) - first)
        assert np.diff(lengths)[mistaken:].tolist() == [-1] * (len(plan) - mistaken)
        assert (rest[-1] == "E") == (lengths[-1] == 0)
        assert rest[-1] == "E" or len(plan) == 4


@quick
@given(SEEDS)
def test_transitions_are_true(seed):
    for words, scored in items("world_model", seed):
        front, action, after = split_words(words[1:], "A", "N")
        compact = Compact(front[::2])
        expected = step(compact.parse_state(" ".join(front)), compact.parse_action(" ".join(action)))
        assert words[0] == "W" and after[-1] == "E" and " ".join(after[:-1]) == compact.state(expected)
        assert scored == [False] * (len(words) - len(after)) + [True] * len(after)


@quick
@given(SEEDS)
def test_judgments_are_those_of_the_oracle(seed):
    for words, scored in items("self_evaluation", seed):
        front, action, answer = split_words(words[1:], "A", "V")
        relations = [word for word in front if ":" in word]
        start, goal, compact = shown(relations)
        state = start
        for taken in compact.parse_plan(" ".join(front[len(relations) :])):
            assert taken.operator in ("pick-up", "unstack")
            state = step(state, taken)
        proposed = compact.parse_action(" ".join(action))
        lower = Oracle(goal).distance(step(state, proposed)) < Oracle(goal).distance(state)
        assert words[0] == "Q" and answer == ["good" if lower else "bad"] and part_of(start, goal) == "dev"
        assert scored == [False] * (len(words) - 1) + [True]


def test_no_held_out_problem_is_a_training_prompt():
    for words, _ in items("train", size=1000):
        if words[0] in "SQ":
            start, goal, _ = shown([word for word in words if ":" in word])
            assert part_of(start, goal) == "train"


def test_shares():
    size = 4000
    counts, policies, mistakes, cut, lengths = Counter(), 0, 0, 0, Counter()
    for words, scored in items("train", size=size):
        counts[words[0]] += 1
        if words[0] == "S":
            policies += 1
            mistakes += not scored[words.index("P") + 1]
            cut += words[-1] != "E"
            lengths[sum(":" in word for word in words)] += 1
    shares = {"S": 0.55, "W": 0.15, "Q": 0.30}
    assert all(abs(counts[word] / size - share) < 0.03 for word, share in shares.items())
    assert abs(mistakes / policies - 0.2) < 0.03
    assert 0.2 < cut / policies < 0.35
    assert abs(lengths[5] / policies - 0.6) < 0.04 and abs(lengths[3] / policies - 0.1) < 0.03


def test_answers_are_balanced():
    answers = Counter(words[-1] for words, _ in items("self_evaluation", size=4000))
    assert abs(answers["good"] / 4000 - 0.5) < 0.03
    judged = items("self_evaluation", size=1000)
    full = sum(words[words.index("A") - 1] in TASK.words.names for words, _ in judged)
    assert 400 < full < 600


def test_more_starts_are_later_in_plans_if_asked():
    def mean_length(task):
        batch = task.batch("train", 800)
        return (batch.targets != IGNORE).sum(1).double().mean()

    early, late = (
        BlocksworldSequences(advanced=share, mistaken=0.0, cut=0.0, mix=(1.0, 0.0, 0.0)) for share in (0.0, 1.0)
    )
    assert mean_length(late) < mean_length(early) - 3


def test_visits_follow_all_optimal_plans_at_once():
    space = state_space(3)
    goals = [make_goal([(0, 1)], 3), make_goal([(0, 1), (1, 2)], 3)]
    distances = space.distances(goals).T
    legal = space.successors >= 0
    lower = (distances[:, np.where(legal, space.successors, 0)] < distances[..., None]) & legal
    found = _visits(distances, lower, space.successors, space.n_free)
    for goal, visits in zip(goals, found, strict=True):
        expected = np.zeros(len(space.below))

        def walk(state, weight, goal=goal, expected=expected):
            expected[space.index(state)] += weight
            choices = Oracle(goal).optimal_actions(state)
            for action in choices:
                walk(step(state, action), weight / len(choices))

        for row in range(space.n_free):
            walk(space.state(row), 1.0)
        assert np.allclose(visits, expected)


def test_an_operator_alone_does_not_tell_the_answer():
    answers = {}
    for words, _ in items("self_evaluation", size=3000):
        answers.setdefault(words[words.index("A") + 1], Counter())[words[-1]] += 1
    assert len(answers) == 4
    assert sum(max(counts.values()) for counts in answers.values()) < 0.72 * 3000


# ------------------------------------------------------------------------------------------------ the task


def test_batches_are_functions_of_their_address():
    one, again = TASK.batch("train", 32, step=5, seed=1), BlocksworldSequences().batch("train", 32, step=5, seed=1)
    assert torch.equal(one.tokens, again.tokens) and torch.equal(one.targets, again.targets)
    for other in (TASK.batch("train", 32, step=6, seed=1), TASK.batch("train", 32, step=5, seed=2)):
        assert other.tokens.shape != one.tokens.shape or not torch.equal(one.tokens, other.tokens)


def test_splits_have_fixed_items_and_levels_of_a_guess():
    for split in TASK.splits:
        assert len(TASK.dataset(split)) == 512 and TASK.dataset(split) is TASK.dataset(split)
        assert TASK.chance(split)["nll"] > 0
    assert 0.5 <= TASK.chance("self_evaluation")["accuracy"] < 0.6
    with pytest.raises(KeyError, match="no split 'test'"):
        TASK.batch("test", 2)


def test_only_plain_words_are_predicted():
    for split in TASK.splits:
        assert TASK.dataset(split).targets.max() < TASK.words.n_plain


def test_only_answers_weigh_more():
    weights = TASK.token_weights
    heavy = {TASK.words.words[token] for token in weights.nonzero()[:, 0].tolist() if weights[token] != 1}
    assert heavy == {"good", "bad"} and weights.max() == 4 and weights.shape == (TASK.vocab_size,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"advanced": 2.0}, "advanced must be a share"),
        ({"mix": (1.0, -1.0, 0.5)}, "mix must be three shares"),
        ({"blocks": {}}, "blocks must be numbers of blocks"),
        ({"blocks": {5: 1.0}, "names": "abcd"}, "5 blocks need as many names, got 4"),
        ({"blocks": {6: 1.0}}, "n_blocks must be from 2 to 5"),
        ({"blocks": {2: 1.0}}, "too few problems"),
        ({"names": ["a", "b", "c", "d", "E"]}, "the name of another word"),
    ],
)
def test_impossible_tasks(options, message):
    with pytest.raises(ValueError, match=message):
        BlocksworldSequences(**options)


# ------------------------------------------------------------------------------------------------ words and prompts


def test_vocabulary():
    words = Words()
    assert (words.n_plain, len(words)) == (23, 23 + 6 * 7 * 8)
    assert (
        words.decode(words.encode("S a:b:none b:table:table P pick-up a E")) == "S a:b:none b:table:table P pick-up a E"
    )
    with pytest.raises(ValueError, match="'g' is not a word"):
        words.encode("pick-up g")


def test_factors_tell_words_apart():
    words = Words()
    table = words.factor_table
    assert table.shape == (len(words), 3) and table.max() == words.n_factors - 1
    assert len({tuple(row) for row in table.tolist()}) == len(words)
    assert (table[0] == 0).all() and (table[1 : words.n_plain, 1:] == 0).all()
    rows = {text: table[words.token(text)] for text in ("a", "a:b:none", "a:b:c", "d:b:c")}
    assert rows["a"][0] == rows["a:b:none"][0] == rows["a:b:c"][0] != rows["d:b:c"][0]
    assert rows["a:b:none"][1] == rows["a:b:c"][1] == rows["d:b:c"][1]
    assert rows["a:b:none"][2] != rows["a:b:c"][2] == rows["d:b:c"][2]


def test_prompts():
    world = Blocksworld(make_goal([(0, 2)], 3), Compact("bde"))
    start = from_stacks([[1, 0], [2]])
    problem = buffered(draw_problems("hard")[0])
    state = type(problem.start)(start, (), start)
    assert policy_prompt(world, state) == "S b:d:e d:table:none e:table:none P"
    held = type(state)(start, (Action("unstack", 0, 1),), step(start, Action("unstack", 0, 1)))
    assert policy_prompt(world, held) == "S b:d:e d:table:none e:table:none P unstack b d"
    assert self_evaluation_prompt(world, held, Action("stack", 0, 2)) == (
        "Q b:d:e d:table:none e:table:none unstack b d A stack b e V"
    )
    assert world_model_prompt(world, held.current, Action("put-down", 0)) == "W b hand d table e table A put-down b N"
    with pytest.raises(ValueError, match="relational words show states with an empty hand"):
        relational(held.current, world.goal, "bde")


def test_prompts_are_those_of_training():
    for words, _ in items("policy", size=50):
        start, goal, compact = shown(words[1 : words.index("P")])
        state = buffered(draw_problems("hard")[0]).start._replace(refreshed=start, current=start)
        assert words[: words.index("P") + 1] == policy_prompt(Blocksworld(goal, compact), state).split()


def test_every_prompt_of_a_search_is_in_the_vocabulary():
    words = Words()
    for problem in draw_problems()[:5]:
        searched, world = buffered(problem), blocksworld_of(problem)
        state = searched.start
        for action in Oracle(world.goal).plan(problem.start):
            for prompt in (
                policy_prompt(world, state),
                self_evaluation_prompt(world, state, action),
                world_model_prompt(world, state.current, legal_actions(state.current)[0]),
            ):
                assert words.decode(words.encode(prompt)) == prompt
            state = searched.world.apply(state, action)
