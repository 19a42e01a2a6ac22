"""Classes up to renaming, their division, and the sets of problems drawn from it."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.ops.rng import numpy_rng
from elegans.tasks.blocksworld import (
    MIXES,
    English,
    Goal,
    Mix,
    Oracle,
    blocksworld_of,
    canonical,
    draw_problems,
    from_below,
    from_stacks,
    goal_of,
    part_of,
    problem_table,
    random_state,
    state_space,
)
from elegans.tasks.blocksworld.instances import NAMES

quick = settings(max_examples=40, deadline=None)


def rename(places, order):
    renamed = [0] * len(places)
    for x, y in enumerate(places):
        renamed[order[x]] = order[y] if y >= 0 else y
    return renamed


@quick
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.permutations(range(6)))
def test_a_class_does_not_depend_on_names(first, second, order):
    space = state_space(6)
    start, goal = space.state(first % space.n_free), goal_of(space.state(second % space.n_free))
    other = from_below(rename(start.below, order)), Goal(tuple(rename(goal.wants, order)))
    assert canonical(*other) == canonical(start, goal) and part_of(*other) == part_of(start, goal)


@pytest.mark.parametrize("n_blocks", [2, 3])
def test_classes_are_the_orbits_of_renaming(n_blocks):
    space, table = state_space(n_blocks), problem_table(n_blocks)
    orbits = {}
    for row, column in np.ndindex(table.lengths.shape):
        start, goal = space.state(row), table.goal(column)
        orbit = frozenset(
            (tuple(rename(start.below, order)), tuple(rename(goal.wants, order)))
            for order in itertools.permutations(range(n_blocks))
        )
        assert orbits.setdefault(orbit, (table.classes[row, column], canonical(start, goal))) == (
            table.classes[row, column],
            canonical(start, goal),
        )
        assert table.lengths[row, column] == Oracle(goal).distance(start)
    assert len(set(orbits.values())) == len(orbits) == len(table.places)


def test_numbers_of_classes():
    assert [len(problem_table(n).places) for n in (2, 3, 4, 5)] == [3, 26, 223, 2104]


def test_the_table_divides_as_the_hash_does():
    space, table = state_space(4), problem_table(4)
    shares = {part: table.in_part(part) for part in ("train", "dev", "test")}
    assert (sum(share.astype(int) for share in shares.values()) == (table.lengths > 0)).all()
    for part, share in shares.items():
        for row, column in np.argwhere(share)[::50]:
            assert part_of(space.state(row), table.goal(column)) == part
    classes = {part: set(table.classes[share].tolist()) for part, share in shares.items()}
    assert not (
        classes["train"] & classes["test"] or classes["train"] & classes["dev"] or classes["dev"] & classes["test"]
    )


def test_about_a_tenth_is_kept_for_each_test():
    places = problem_table(5).places
    assert abs((places < 0.1).mean() - 0.1) < 0.02 and abs((places < 0.2).mean() - 0.2) < 0.03


def test_a_class_needs_an_empty_hand():
    with pytest.raises(ValueError, match="empty hand"):
        canonical(from_stacks([[0]], held=1), goal_of(from_stacks([[0, 1]])))


@pytest.mark.parametrize("part", ["dev", "test"])
@pytest.mark.parametrize("name", MIXES)
def test_sets_are_what_they_say(name, part):
    mix, names = MIXES[name], "abcdefgh"
    problems = draw_problems(name, part=part, names=names)
    assert Counter(len(p.start.below) for p in problems) == dict(mix.counts)
    assert len({p.name for p in problems}) == len(problems)
    kinds = set()
    for problem in problems:
        world = blocksworld_of(problem)
        assert part_of(problem.start, world.goal) == part
        assert mix.lengths[0] <= problem.optimal_length <= mix.lengths[1]
        assert list(world.notation.names) == sorted(world.notation.names) and set(world.notation.names) <= set(names)
        kinds.add(canonical(problem.start, world.goal))
    assert len(kinds) == len(problems)
    for problem in problems[:: max(1, len(problems) // 15)]:
        assert Oracle(blocksworld_of(problem).goal).distance(problem.start) == problem.optimal_length


def test_lengths_can_be_spread():
    mix = Mix(counts=((5, 66),), lengths=(2, 12), by="length", distinct=False)
    lengths = Counter(p.optimal_length for p in draw_problems(mix))
    assert lengths == dict.fromkeys([2, 4, 6, 8, 10, 12], 11)


def test_sets_are_reproducible():
    def drawn(seed):
        return [(p.start, blocksworld_of(p).goal, blocksworld_of(p).notation.names) for p in draw_problems(seed=seed)]

    assert drawn(0) == drawn(0) != drawn(1)


def test_the_notation_is_the_callers():
    problem = draw_problems("hard", notation=English)[0]
    assert problem.world.render_state(problem.start).startswith("the ")


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("easy", "there is no mix 'easy'; there are standard"),
        (Mix(counts=((7, 1),)), "7 blocks need as many names, got 6"),
        (Mix(counts=((3, 50),)), "part 'test' has only . of 50 such problems with 3 blocks"),
    ],
)
def test_impossible_sets(mix, message):
    with pytest.raises(ValueError, match=message):
        draw_problems(mix)


def test_random_states_are_uniform():
    rng = numpy_rng("uniform")
    counts = Counter(random_state(3, rng) for _ in range(2600))
    assert len(counts) == 13 and max(abs(count - 200) for count in counts.values()) < 60
    assert random_state(1, rng) == from_stacks([[0]]) and len(NAMES) == 6
