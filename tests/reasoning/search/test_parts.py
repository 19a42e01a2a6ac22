"""Back-ups, selections, normalization and composites against hand computation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.reasoning.scorer import ScorerError
from elegans.reasoning.search import (
    PUCT,
    UCT,
    Choice,
    Composite,
    GoalFraction,
    MaxBackup,
    MeanBackup,
    Node,
    ProgressBackup,
    RandomReward,
    RegionalNormalizer,
    ScaleFreeUCT,
    SumBackup,
    Trajectory,
    collect,
    standardized,
)

from .conftest import Table, Walk


def path(rewards, fractions=None):
    nodes = [Node()]
    for reward in rewards:
        nodes.append(Node(parent=nodes[-1], reward=reward))
    for node, fraction in zip(nodes, fractions or (), strict=False):
        node.goal_fraction = fraction
    return nodes


def test_sums_and_means_run_from_a_node_to_the_leaf():
    nodes = path([-1.0, 2.0, 4.0])
    assert SumBackup().returns(nodes) == [5.0, 5.0, 6.0, 4.0]
    assert MeanBackup().returns(nodes) == [5 / 3, 5 / 3, 3.0, 4.0]
    assert MaxBackup("sum").returns(nodes) == [5.0, 5.0, 6.0, 4.0]
    assert [b.returns(path([])) for b in (SumBackup(), MeanBackup(), MaxBackup())] == [[0.0]] * 3


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_values_are_the_mean_or_the_best_of_credits(credits):
    for backup, of in (
        (SumBackup(), np.mean),
        (MeanBackup(), np.mean),
        (ProgressBackup(), np.mean),
        (MaxBackup(), max),
    ):
        node = Node()
        for credit in credits:
            node.visits += 1
            node.value = backup.aggregate(node, credit)
        assert math.isclose(node.value, of(credits), rel_tol=1e-9, abs_tol=1e-9)


def test_progress_rewards_gains_and_forgives_losses():
    nodes = path([1.0, 1.0, 1.0], [0.0, 0.25, 0.2, 0.7])
    gains = [0.25, 0.5 * -0.05, 0.5]
    below = [sum(gains) - 0.4, sum(gains) - 0.4, sum(gains[1:]) - 0.3, gains[2] - 0.2]
    np.testing.assert_allclose(ProgressBackup().returns(nodes), below)
    np.testing.assert_allclose(ProgressBackup(scope="path").returns(nodes), [below[0]] * 4)
    mixed = ProgressBackup(weight=2.0, base=MeanBackup()).returns(nodes)
    np.testing.assert_allclose(mixed, 1.0 + 2 * np.array(below))
    deep = ProgressBackup().returns(path([0.0], [0.9, 0.1]))
    np.testing.assert_allclose(deep, [0.5 * -0.1 - 0.2] * 2)


def test_progress_of_values_starts_at_the_first_action():
    nodes = path([0.25, 0.75, 0.5])
    gains = [0.0, 0.5, 0.5 * -0.1]
    want = [sum(gains) - 0.4, sum(gains) - 0.4, sum(gains[1:]) - 0.3, gains[2] - 0.2]
    np.testing.assert_allclose(ProgressBackup(signal="value").returns(nodes), want)
    with pytest.raises((ValueError, TypeError), match=r"no signal|Literal"):
        ProgressBackup(signal="nothing")


def siblings():
    parent = Node(visits=5, value=1.5)
    parent.children = [
        Node(parent=parent, index=0, estimate=-1.0, visits=4, value=2.0),
        Node(parent=parent, index=1, estimate=-0.5),
        Node(parent=parent, index=2, estimate=-3.0),
    ]
    return parent, parent.children


def test_uct_by_hand_with_each_first_play():
    parent, children = siblings()
    bonus = [math.sqrt(math.log(5) / n) for n in (4, 1, 1)]
    for first_play, unvisited in (("reward", (-0.5, -3.0)), ("parent", (1.5, 1.5 - 2.5)), ("always", (math.inf,) * 2)):
        want = np.array([2.0, *unvisited]) + 0.3 * np.array(bonus)
        np.testing.assert_allclose(UCT(0.3, first_play).scores(parent, children), want)


def test_puct_by_hand():
    parent, children = siblings()
    prior = np.exp(np.array([-1.0, -0.5, -3.0]) / 2)
    prior /= prior.sum()
    want = np.array([2.0, -0.5, -3.0]) + 1.5 * prior * math.sqrt(5) / np.array([5, 1, 1])
    np.testing.assert_allclose(PUCT(1.5, temperature=2.0).scores(parent, children), want)
    for child in children:
        child.factors["policy"] = 0.0
    flat = np.array([2.0, -0.5, -3.0]) + 1.5 / 3 * math.sqrt(5) / np.array([5, 1, 1])
    np.testing.assert_allclose(PUCT(1.5, prior="policy").scores(parent, children), flat)


def test_the_scale_free_constant_is_the_spread_of_values_in_the_tree():
    parent, children = siblings()
    children[0].children = [Node(parent=children[0], visits=1, value=v) for v in (1.0, 4.0)]
    want = UCT(2.0 * np.std([2.0, 1.0, 4.0])).scores(parent, children)
    np.testing.assert_allclose(ScaleFreeUCT(2.0).scores(parent, children), want)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40), st.lists(st.floats(-1e3, 1e3), max_size=20))
def test_online_updates_give_the_moments_of_all_values_so_far(sample, more):
    normalizer = RegionalNormalizer.fit(sample)
    for value in more:
        normalizer([value])
    seen = np.array(sample + more)
    assert math.isclose(normalizer.means[0], seen.mean(), rel_tol=1e-6, abs_tol=1e-6)
    assert math.isclose(normalizer.stds[0], seen.std(), rel_tol=1e-5, abs_tol=1e-3)
    assert normalizer.counts[0] == len(seen)


def test_regions_have_moments_of_their_own_and_boundaries_stay():
    sample = [0.0, 2.0, 10.0, 14.0, 12.0]
    normalizer = RegionalNormalizer.fit(sample, [5.0])
    np.testing.assert_allclose(normalizer([2.0, 5.0, 13.0]), [1.0, -7 / np.std([10, 14, 12]), 1 / np.std([10, 14, 12])])
    np.testing.assert_allclose(normalizer.means, [np.mean([0, 2, 2]), np.mean([10, 14, 12, 5, 13])])
    assert normalizer.boundaries.tolist() == [5.0]
    fixed = RegionalNormalizer.fit(sample, [5.0], online=False)
    assert fixed([1.0]) == fixed([1.0]) and fixed.counts.tolist() == [2, 3]


@pytest.mark.parametrize("how", ["gaps", "mixture"])
def test_boundaries_are_found_between_modes(how):
    rng = np.random.default_rng(0)
    sample = np.concatenate([rng.normal(center, 0.3, 200) for center in (-8.0, 0.0, 6.0)])
    normalizer = RegionalNormalizer.fit(sample, how, regions=3)
    assert len(normalizer.boundaries) == 2
    assert -7 < normalizer.boundaries[0] < -1 and 1 < normalizer.boundaries[1] < 5
    np.testing.assert_allclose(normalizer.means, [-8, 0, 6], atol=0.1)


def test_one_region_is_standardization():
    sample = np.random.default_rng(1).normal(3.0, 2.0, 50)
    one = RegionalNormalizer.fit(sample, "gaps", regions=1)
    np.testing.assert_allclose(one(sample), (sample - sample.mean()) / sample.std())
    np.testing.assert_allclose(standardized(sample)(sample), (sample - sample.mean()) / sample.std())


def test_a_region_without_values_takes_the_moments_of_all_and_a_constant_does_not_blow_up():
    normalizer = RegionalNormalizer.fit([1.0, 3.0], [10.0])
    assert normalizer.means.tolist() == [2.0, 2.0]
    assert standardized([0.0, 0.0, 0.0])([0.0]).tolist() == [0.0]
    with pytest.raises(ValueError, match="two finite values"):
        standardized([1.0])
    with pytest.raises(ValueError, match="two finite values"):
        standardized([1.0, math.nan])
    with pytest.raises(ValueError, match="rising boundaries"):
        RegionalNormalizer([1.0, 0.0], [0.0] * 3, [1.0] * 3, [1] * 3)


def choice(address=(), actions=(0, 1, 2)):
    return Choice(Trajectory((0,)), actions, lambda k: k, address)


def test_a_composite_is_the_weighted_sum_of_normalized_factors():
    one, two = (
        Table({(0,): 1.0, (1,): 2.0, (2,): 3.0}, name="one"),
        Table({(k,): float(k) for k in range(3)}, name="two"),
    )
    composite = Composite([one, two], {"two": -2.0}, {"two": RegionalNormalizer([], [1.0], [0.5], [9], online=False)})
    values = composite.factors_of(choice())
    assert values == {"one": [1.0, 2.0, 3.0], "two": [0.0, 1.0, 2.0]}
    np.testing.assert_allclose(composite.combined(values), [1 + 4, 2, 3 - 4])


def test_a_factor_put_on_its_own_scale_has_mean_zero_and_deviation_one():
    composite = Composite([Table(seed=1), RandomReward()], {"random": 2.0})
    choices = [choice((k,)) for k in range(30)]
    sample = collect(composite, choices)
    assert {name: len(values) for name, values in sample.items()} == {"table": 90, "random": 90}
    ready = composite.normalized(sample)
    rewards = np.concatenate([ready.combined({"table": composite.factors_of(c)["table"]}) for c in choices])
    assert abs(rewards.mean()) < 1e-9 and abs(rewards.std() - 1) < 1e-9 and ready.weights == {"random": 2.0}


def test_a_fresh_composite_learns_by_itself():
    composite = Composite([Table()], normalizers={"table": RegionalNormalizer.fit([0.0, 1.0])})
    fresh = composite.fresh()
    fresh.combined({"table": [5.0]})
    assert (fresh.normalizers["table"].counts[0], composite.normalizers["table"].counts[0]) == (3, 2)


@pytest.mark.parametrize("values", [[math.nan, 0, 0], [math.inf, 0, 0], [0, 0]])
def test_a_factor_that_is_no_number_or_too_short_is_a_fault(values):
    class Bad:
        name = "bad"

        def __call__(self, _):
            return values

    with pytest.raises(ScorerError, match="the factor bad did not give"):
        Composite([Bad()]).factors_of(choice())


def test_random_rewards_are_a_function_of_seed_and_address():
    assert RandomReward(1)(choice((0, 2))) == RandomReward(1)(choice((0, 2)))
    different = {tuple(RandomReward(s)(choice(a))) for s in (0, 1) for a in ((), (0,), (0, 0), (1,))}
    assert len(different) == 8
    assert all(0 <= value < 1 for values in different for value in values)


def test_the_goal_fraction_is_that_of_the_state_after():
    world = Walk(((1, -1, 3), (1,), (), ()), 3)

    def successor(k):
        return world.apply(0, k)

    judged = Choice(Trajectory((0,)), (0, 1, 2), successor)
    assert GoalFraction(world)(judged) == [0.125, 0.0, 1.0]
    gain = GoalFraction(world, gain=True)
    assert gain(Choice(Trajectory((1,)), (0,), lambda _: 1)) == [0.0]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=6))
def test_a_trajectory_grows_by_steps(actions):
    trajectory = Trajectory((0,))
    for action in actions:
        trajectory = trajectory.then(action, trajectory.state + action)
    assert trajectory.actions == tuple(actions) and trajectory.state == sum(actions)
    assert len(trajectory.states) == len(actions) + 1
