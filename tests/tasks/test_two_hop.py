import math
from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elegans.tasks.base import IGNORE
from elegans.tasks.two_hop import TwoHopFacts

quick = settings(max_examples=40, deadline=None)
ENTITIES = 12


@st.composite
def worlds(draw, **fixed):
    n_relations = draw(st.integers(2, 5))
    return dict(
        n_entities=draw(st.integers(4, ENTITIES)),
        n_relations=n_relations,
        out_degree=draw(st.integers(1, n_relations)),
        ood_share=draw(st.sampled_from([0.0, 0.2, 0.5])),
        test_share=draw(st.sampled_from([0.0, 0.1])),
        lam=draw(st.sampled_from([0.0, 0.3])),
        seed=draw(st.integers(0, 99)),
        **fixed,
    )


def build(config):
    try:
        return TwoHopFacts(**config)
    except ValueError as error:
        assume("two-hop facts to train on" not in str(error))
        raise


def read(batch, pad):
    """Every item as (tokens without padding, {position: target})."""
    items = []
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        kept = tuple(token for token in tokens if token != pad)
        assert kept == tuple(tokens[: len(kept)]), "padding stands at the end"
        items.append((kept, {place: target for place, target in enumerate(targets) if target != IGNORE}))
    return items


def facts_of(task):
    """f as a dictionary, and which of its facts are OOD, from the atomic splits alone."""
    known = {}
    for split in ("id_atomic", "ood_atomic"):
        for (h, r), answer in read(task.dataset(split), task.pad_token):
            assert (h, r) not in known and set(answer) == {1}
            known[h, r] = (answer[1], split == "ood_atomic")
    return known


def brute_force(known, hops):
    """Every walk as (relations, entities, which hops are OOD)."""
    heads = {h for h, _ in known}
    relations = {r for _, r in known}
    for h, *path in product(heads, *[relations] * hops):
        entities, ood = [h], []
        for r in path:
            if (entities[-1], r) not in known:
                break
            tail, out = known[entities[-1], r]
            entities.append(tail)
            ood.append(out)
        else:
            yield tuple(path), tuple(entities), tuple(ood)


def walks(task, split):
    entities, relations = task.chains[split]
    return [(tuple(r), tuple(e)) for r, e in zip(relations.tolist(), entities.tolist(), strict=True)]


@quick
@given(worlds())
def test_the_graph_has_the_sizes_asked_for(config):
    task = build(config)
    known = facts_of(task)
    n_facts = config["n_entities"] * config["out_degree"]
    assert len(known) == n_facts
    assert set(Counter(h for h, _ in known).values()) == {config["out_degree"]}
    assert sum(ood for _, ood in known.values()) == round(config["ood_share"] * n_facts)
    entities, relations = config["n_entities"], config["n_relations"]
    assert all(h < entities <= r < entities + relations and t < entities for (h, r), (t, _) in known.items())
    assert task.vocab_size == entities + relations + 1 == task.pad_token + 1
    for (h, r), (t, _) in known.items():
        assert task.table[h, r - entities] == t
    assert (task.table >= 0).sum() == n_facts


@quick
@given(worlds())
def test_splits_hold_the_walks_that_brute_force_finds(config):
    task = build(config)
    known = facts_of(task)
    kinds = {}
    for path, entities, ood in brute_force(known, 2):
        kinds.setdefault(ood, set()).add((path, entities))
    for split, ood in (("test_ood", (True, True)), ("mixed_first", (True, False)), ("mixed_second", (False, True))):
        found = walks(task, split)
        assert len(found) == len(set(found)) and set(found) == kinds.get(ood, set())
    inside = kinds.get((False, False), set())
    test, trained = walks(task, "test_id"), walks(task, "train_two_hop")
    assert set(test) | set(trained) <= inside and not set(test) & set(trained)
    assert len(set(test)) == len(test) == round(config["test_share"] * len(inside))
    n_id = sum(not ood for _, ood in known.values())
    assert len(set(trained)) == len(trained) == round(config["lam"] * n_id), "lambda is exact"
    for split, ood in (("three_hop_id", (False,) * 3), ("three_hop_ood", (True,) * 3)):
        found = walks(task, split)
        possible = {(path, entities) for path, entities, kind in brute_force(known, 3) if kind == ood}
        assert len(set(found)) == len(found) and set(found) <= possible
        assert split == "three_hop_id" or set(found) == possible


@quick
@given(worlds(), st.booleans())
def test_no_ood_fact_is_a_hop_of_a_trained_item(config, without):
    task = build({**config, "without_ood_atomics": without})
    known = facts_of(task)
    seen = Counter()
    for tokens, _ in read(task.dataset("train"), task.pad_token):
        if len(tokens) == 2:
            seen[tokens] += 1
        else:
            h, r1, r2, b = tokens
            assert not known[h, r1][1] and not known[b, r2][1]
    assert seen == Counter({fact: 1 for fact, (_, ood) in known.items() if not (ood and without)})


FORMS = {"after": ("h", "r1", "r2", "b"), "interleaved": ("h", "r1", "b", "r2"), "none": ("h", "r1", "r2")}


@quick
@given(worlds(), st.sampled_from(list(FORMS)))
def test_items_have_the_form_asked_for(config, form):
    cot = form != "none"
    task = build({**config, "cot": cot, "order": form if cot else "after"})
    layout = FORMS[form]
    assert task.positions == {name: place for place, name in enumerate(layout)}
    split_walks = walks(task, "test_ood")
    for (tokens, scored), ((r1, r2), (h, b, t)) in zip(
        read(task.dataset("test_ood"), task.pad_token), split_walks, strict=True
    ):
        values = {"h": h, "r1": r1, "r2": r2, "b": b, "t": t}
        assert tokens == tuple(values[name] for name in layout)
        assert scored == {place: values[name] for name, place in task.outputs.items()}
    assert task.outputs == {"after": {"b": 2, "t": 3}, "interleaved": {"b": 1, "t": 3}, "none": {"t": 2}}[form]
    for split in ("train", "id_atomic", "test_id", "mixed_first"):
        assert task.dataset(split).tokens.shape[1] == len(layout)


@quick
@given(worlds())
def test_three_hop_items_and_their_two_calls(config):
    task, direct = build(config), build({**config, "cot": False})
    for split in ("three_hop_id", "three_hop_ood"):
        first, second = task.two_calls(split)
        batches = (task.dataset(split), first, second, direct.dataset(split))
        columns = [walks(task, split), *(read(batch, task.pad_token) for batch in batches)]
        for ((r1, r2, r3), (h, b, c, t)), item, one, two, short in zip(*columns, strict=True):
            assert item == ((h, r1, r2, r3, b, c), {3: b, 4: c, 5: t})
            assert (one, two) == (((h, r1, r2, b), {2: b, 3: c}), ((b, r2, r3, c), {3: t}))
            assert short == ((h, r1, r2, r3), {3: t})
    with pytest.raises(ValueError, match="does not say where the second starts"):
        direct.two_calls("three_hop_id")


@quick
@given(worlds(), st.sampled_from(list(FORMS)), st.data())
def test_counterfactuals_change_one_token_and_what_follows_from_it(config, form, data):
    cot = form != "none"
    task = build({**config, "cot": cot, "order": form if cot else "after"})
    known = {fact: tail for fact, (tail, _) in facts_of(task).items()}
    position = data.draw(st.sampled_from(FORMS[form]))
    items = task.dataset("mixed_first")
    clean, changed = task.counterfactual(items, position, seed=data.draw(st.integers(0, 5)))
    place = task.positions[position]
    for before, after, said in zip(
        clean.tokens.tolist(), changed.tokens.tolist(), changed.targets.tolist(), strict=True
    ):
        assert [i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]] == [place]
        old, new = dict(zip(FORMS[form], before, strict=True)), dict(zip(FORMS[form], after, strict=True))
        old_b, new_b = known[old["h"], old["r1"]], known.get((new["h"], new["r1"]))
        old_t = known[old_b, old["r2"]]
        follows = new["b"] if position == "b" else new_b
        new_t = known.get((follows, new["r2"]))
        assert new_t != old_t
        if position in ("h", "r1"):
            assert new_b is not None and new_b != old_b
        if position in ("r2", "b") or not cot:
            assert new_t is not None
        expected = {"b": new_b, "t": known.get((new["b"] if cot else new_b, new["r2"]))}
        assert {name: said[task.outputs[name]] for name in task.outputs} == {
            name: IGNORE if expected[name] is None else expected[name] for name in task.outputs
        }
    kept = {tuple(row) for row in clean.tokens.tolist()}
    for row in items.tokens.tolist():
        if tuple(row) not in kept:
            assert not _has_counterfactual(dict(zip(FORMS[form], row, strict=True)), position, known, cot)


def _has_counterfactual(item, position, known, cot):
    bridge = known[item["h"], item["r1"]]
    tail = known[bridge, item["r2"]]
    for token in {x for fact in known for x in fact}:
        new = {**item, position: token}
        follows = token if position == "b" else known.get((new["h"], new["r1"]))
        end = known.get((follows, new["r2"]))
        needed = follows if position in ("h", "r1") and cot else end
        if needed is not None and end != tail and (position not in ("h", "r1") or follows != bridge):
            return True
    return False


def test_counterfactuals_are_uniform_and_repeatable():
    task = TwoHopFacts(n_entities=10, n_relations=4, out_degree=4, lam=1.0, seed=1)
    items = task.dataset("train_two_hop").take(torch.zeros(4000, dtype=torch.long))
    changed = task.counterfactual(items, "b", seed=2).changed.tokens[:, 3]
    counts = torch.bincount(changed)
    possible = counts[counts > 0]
    assert len(possible) > 4 and possible.min() > 0.85 * 4000 / len(possible)
    assert (changed == task.counterfactual(items, "b", seed=2).changed.tokens[:, 3]).all()
    assert (changed != task.counterfactual(items, "b", seed=3).changed.tokens[:, 3]).any()
    direct = TwoHopFacts(cot=False)
    with pytest.raises(ValueError, match="position must be one of h, r1, r2, got 'b'"):
        direct.counterfactual(direct.dataset("test_ood"), "b")


def differs(task, column):
    noisy, clean = task.chains["train_two_hop"].entities, task.chains["train_two_hop_clean"].entities
    return noisy[:, column] != clean[:, column]


@pytest.mark.parametrize(
    ("noise", "first", "second", "both"),
    [
        ({}, 0, 0, 0),
        ({"noise_first": 0.3}, 0.3, 0, 0),
        ({"noise_second": 0.3}, 0, 0.3, 0),
        ({"noise_both": 0.3}, 0.3, 0.3, 0.3),
        ({"noise_first": 0.5, "noise_second": 0.2}, 0.5, 0.2, 0.1),
    ],
)
def test_noise_replaces_what_it_should_as_often_as_it_should(noise, first, second, both):
    task = TwoHopFacts(seed=4, **noise)
    wrong = 59 / 60
    for found, rate in (
        (differs(task, 1), first * wrong),
        (differs(task, 2), second * wrong),
        (differs(task, 1) & differs(task, 2), both * wrong**2),
    ):
        four_errors = 4 * math.sqrt(rate * (1 - rate) / len(found))
        assert found.float().mean() == pytest.approx(rate, abs=four_errors)
    clean = TwoHopFacts(seed=4)
    for split in ("train_two_hop_clean", "test_id", "test_ood", "id_atomic", "ood_atomic"):
        assert (task.dataset(split).tokens == clean.dataset(split).tokens).all(), "the noise changes nothing else"
        assert (task.dataset(split).targets == clean.dataset(split).targets).all()
    trained = task.dataset("train")
    assert (trained.tokens[1800:] == task.dataset("train_two_hop").tokens).all()
    assert (trained.targets[:, 3][1800:] == task.chains["train_two_hop"].entities[:, 2]).all()
    assert (trained.tokens[1800:, 3] == trained.targets[1800:, 2]).all(), (
        "the bridge that is taught is the one that is fed"
    )


def test_a_replaced_bridge_keeps_the_true_tail():
    task = TwoHopFacts(noise_first=1.0, seed=2)
    assert differs(task, 1).float().mean() > 0.95 and not differs(task, 2).any()


def test_more_noise_replaces_the_same_items_and_more():
    some, more = TwoHopFacts(noise_second=0.1), TwoHopFacts(noise_second=0.4)
    assert not (differs(some, 2) & ~differs(more, 2)).any()


@pytest.mark.parametrize(("xi", "effective", "held"), [(0.05, 0.39, 0.35), (0.2, 0.80, 0.75)])
def test_the_released_generator_spoils_later_facts_too(xi, effective, held):
    sizes = dict(n_entities=400, n_relations=60, out_degree=20, ood_share=0.05, lam=3.6, test_share=0.05)
    task = TwoHopFacts(**sizes, noise_first=xi, released_noise=True)
    assert differs(task, 1).float().mean() == pytest.approx(effective, abs=0.02)
    test = task.chains["test_id"]
    true = task.oracle(torch.cat([test.entities[:, :1], test.relations], dim=1))
    assert (true[:, 0] != test.entities[:, 1]).float().mean() == pytest.approx(held, abs=0.03)
    known = facts_of(task)
    entities, relations = task.chains["train_two_hop_clean"]
    second = zip(entities[:, 1].tolist(), relations[:, 1].tolist(), strict=True)
    assert any(known[fact][1] for fact in second), "OOD second hops slip into training"
    ood = task.chains["test_ood"]
    assert (task.oracle(torch.cat([ood.entities[:, :1], ood.relations], dim=1)) == ood.entities[:, 1:]).all()


@quick
@given(worlds(), st.booleans())
def test_the_oracle_knows_every_answer(config, cot):
    task = build({**config, "cot": cot})
    for split, (entities, relations) in task.chains.items():
        prompts = torch.cat([entities[:, :1], relations], dim=1)
        assert (task.oracle(prompts) == (entities[:, 1:] if cot else entities[:, -1:])).all(), split
    items = task.dataset("test_ood")
    assert (task.answers(items.tokens) == items.targets).all()


@quick
@given(worlds(), st.sampled_from(["id_atomic", "test_ood", "mixed_second", "three_hop_ood"]))
def test_chance_is_the_most_frequent_tail(config, split):
    task = build(config)
    found = walks(task, split)
    if found:
        tails = Counter(entities[-1] for _, entities in found)
        answers = len(found[0][0])
        assert task.chance(split) == {
            "accuracy": pytest.approx(max(tails.values()) / len(found)),
            "nll": pytest.approx(answers * math.log(config["n_entities"])),
        }


def test_seed_decides_everything():
    def tokens(seed):
        return (
            TwoHopFacts(n_entities=9, n_relations=3, out_degree=3, lam=1.0, seed=seed).dataset("train").tokens.tolist()
        )

    assert tokens(1) == tokens(1) != tokens(2)


def test_two_hops_only():
    assert not {"three_hop_id", "three_hop_ood"} & set(TwoHopFacts(hops=2).splits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out_degree": 31}, r"out_degree must be from 1 to 30 \(n_relations\), got 31"),
        ({"ood_share": 1.5}, "ood_share must be from 0 to 1, got 1.5"),
        ({"lam": 30.0}, r"must be from 0 to \d+ \(two-hop facts to train on\), got 48600"),
        ({"cot": False, "noise_first": 0.1}, "there is no bridge"),
        ({"released_noise": True}, "give noise_first or noise_both"),
        ({"released_noise": True, "noise_first": 0.1, "noise_second": 0.1}, "give noise_first or noise_both"),
        ({"hops": 4}, "hops"),
    ],
)
def test_wrong_sizes_are_refused(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TwoHopFacts(**change)
