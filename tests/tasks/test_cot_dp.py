"""Every task of the folder: labels against brute force, splits, views, and what the verifier accepts."""

import itertools
import random
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.base import IGNORE
from elegans.tasks.cot_dp import (
    EOS,
    PAD,
    SEP,
    EditDistance,
    LinearEquations,
    LongestIncreasingSubsequence,
    ModularArithmetic,
    PrefixSum,
)
from elegans.tasks.cot_dp.arithmetic import Algebra
from elegans.tasks.cot_dp.base import FIRST

quick = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10**6)

TASKS = {
    "prefix sum": lambda **more: PrefixSum(n=6, modulus=3, **more),
    "lis": lambda **more: LongestIncreasingSubsequence(n=7, n_values=9, **more),
    "lis planted": lambda **more: LongestIncreasingSubsequence(n=7, n_values=9, planted=True, **more),
    "edit distance": lambda **more: EditDistance(n=4, n_letters=5, letters_used=(3, 4), **more),
    "edit distance equal": lambda **more: EditDistance(
        n=4, n_letters=4, letters_used=(4, 4), equal_length=True, **more
    ),
    "arithmetic": lambda **more: ModularArithmetic(modulus=5, n_operators=3, **more),
    "arithmetic random": lambda **more: ModularArithmetic(modulus=5, n_operators=3, order="random", **more),
    "equations": lambda **more: LinearEquations(n_variables=2, modulus=5, **more),
}
every_task = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)


def read(batch, task):
    """Every item as (question without padding, output), by walking the tokens; the output is what is scored."""
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        start = task.prompt_length - 1
        assert tokens[start] == SEP
        assert all(target == IGNORE for target in targets[:start])
        output = [target for target in targets if target != IGNORE]
        assert output[-1] == EOS and EOS not in output[:-1] and PAD not in output
        padded = output + [PAD] * (len(targets) - start - len(output))
        assert tokens[start + 1 :] == padded[:-1], "the output is teacher-forced"
        yield [token for token in tokens[: start + 1] if token != PAD], output


def items(task, seed=0, size=40):
    return read(task.batch("train", size, step=1, seed=seed), task)


def outputs(batch, task):
    """What a perfect model generates, [N, O]."""
    return batch.targets[:, task.prompt_length - 1 :].clamp(min=PAD)


# ------------------------------------------------------------------------------------------------ labels


@quick
@given(st.integers(2, 9), st.integers(2, 7), SEEDS)
def test_prefix_sums(n, modulus, seed):
    task = PrefixSum(n=n, modulus=modulus)
    for question, output in items(task, seed):
        s = [token - FIRST for token in question[:-1]]
        assert len(s) == n
        assert [token - FIRST for token in output[:-1]] == [sum(s[: i + 1]) % modulus for i in range(n)]


def longest_ending_at(s, place):
    subsets = itertools.chain.from_iterable(itertools.combinations(s[:place], k) for k in range(place + 1))
    chains = [(*subset, s[place]) for subset in subsets]
    return max(len(c) for c in chains if all(a < b for a, b in itertools.pairwise(c)))


@quick
@given(st.integers(3, 6), st.booleans(), SEEDS)
def test_longest_increasing_subsequences(n, planted, seed):
    task = LongestIncreasingSubsequence(n=n, n_values=8, planted=planted)
    for question, output in items(task, seed, size=10):
        s = [token - FIRST - n for token in question[:-1]]
        assert len(s) == n and all(0 <= value < 8 for value in s)
        *dp, sep, answer, _ = output
        assert [token - FIRST + 1 for token in dp] == [longest_ending_at(s, place) for place in range(n)]
        assert sep == SEP and answer == max(dp)


def test_planted_runs_are_longer_and_as_in_the_source():
    uniform, planted = (LongestIncreasingSubsequence(n=30, n_values=200, planted=p, n_eval=4000) for p in (False, True))
    means = [float(np.mean([output[-2] for _, output in read(t.dataset("test"), t)])) for t in (uniform, planted)]
    rng, source = random.Random(0), []
    for _ in range(4000):
        total, runs = rng.randint(3, 30), rng.randint(1, 3)
        lengths = [total]
        if runs == 2:
            lengths = [rng.randint(1, total // 2 + 1)]
        if runs == 3:
            lengths = [rng.randint(1, total // 3 + 1)]
            lengths.append(rng.randint(1, (total - lengths[0]) // 2 + 1))
        lengths += [total - sum(lengths)] * (runs > 1)
        values = [rng.randrange(200) for _ in range(30)]
        written = [value for length in lengths for value in sorted(rng.sample(range(200), length))]
        for place, value in zip(sorted(rng.sample(range(30), total)), written, strict=True):
            values[place] = value
        best = []
        for place, value in enumerate(values):
            best.append(1 + max([best[i] for i in range(place) if values[i] < value], default=0))
        source.append(max(best) + FIRST - 1)
    assert means[1] == pytest.approx(np.mean(source), abs=0.5)
    assert means[0] < means[1] - 3


def edit_table(a, b):
    def cell(i, j):
        if not i or not j:
            return i + j
        return min(cell(i - 1, j) + 2, cell(i, j - 1) + 2, cell(i - 1, j - 1) + 3 * (a[i - 1] != b[j - 1]))

    return [[cell(i, j) for j in range(1, len(b) + 1)] for i in range(1, len(a) + 1)]


@quick
@given(st.booleans(), SEEDS)
def test_edit_distances(equal, seed):
    task = EditDistance(n=4, n_letters=6, letters_used=(2, 3), equal_length=equal)
    for question, output in items(task, seed, size=10):
        bar = question.index(task.bar)
        a, b = question[:bar], question[bar + 1 : -1]
        assert len(set(a + b)) <= 3 and set(a + b) <= set(range(FIRST, FIRST + 6))
        if equal:
            assert len(a) == len(b) == 4
        else:
            assert 1 <= len(a) <= len(b) < 7 and 4 in (len(a), len(b)) and a != b
        zero = task.bar + 2
        table = edit_table(a, b)
        rows = [token for row in table for token in [*(cell + zero for cell in row), task.comma]]
        assert output == [*rows, SEP, table[-1][-1] + zero, EOS]


def test_pairs_of_strings_are_as_in_the_source():
    task = EditDistance(n=6, n_letters=26, n_eval=4000)
    found = [len(question) - 2 for question, _ in read(task.dataset("test"), task)]
    rng, source = random.Random(0), Counter()

    def partner(a, used, edits):
        if rng.random() < 0.4:
            return [rng.randrange(used) for _ in range(rng.randrange(3, 9))]
        b = a[:]
        for _ in range(edits):
            kind = rng.randrange(3)
            if kind == 0 and len(b) > 2:
                b.pop(rng.randrange(len(b)))
            elif kind == 1:
                b[rng.randrange(len(b))] = rng.randrange(used)
            else:
                b.insert(rng.randrange(len(b) + 1), rng.randrange(used))
        return b

    for _ in range(4000):
        used, edits, a, b = rng.randint(3, 10), rng.randint(1, 6), [], []
        while a == b or not 3 <= len(b) < 9:
            a = [rng.randrange(used) for _ in range(6)]
            b = partner(a, used, edits)
        source[len(a) + len(b)] += 1
    counts = Counter(found)
    assert set(counts) == set(source)
    assert max(abs(counts[size] - source[size]) for size in source) / 4000 < 0.05


class Mod(int):
    """A number of a field of prime order P."""

    P = 5

    def __add__(self, other):
        return Mod(int.__add__(self, other) % self.P)

    def __sub__(self, other):
        return Mod(int.__sub__(self, other) % self.P)

    def __mul__(self, other):
        return Mod(int.__mul__(self, other) % self.P)

    def __truediv__(self, other):
        return self * Mod(pow(int(other), -1, self.P))


def formula(symbols, modulus):
    """The text of an expression."""
    return " ".join(str(s) if s < modulus else "+-*/()"[s - modulus] for s in symbols)


def value(symbols):
    return int(eval(re.sub(r"(\d+)", r"Mod(\1)", formula(symbols, 5)), {"Mod": Mod}))


def lines(question, output):
    text = [*question, *output]
    marks = [i for i, token in enumerate(text) if token in (SEP, EOS)]
    return [[t - FIRST for t in text[a + 1 : b]] for a, b in itertools.pairwise([-1, *marks])]


def brute_reductions(symbols):
    """Carry out every operation whose brackets would change nothing, judged on random real numbers."""
    rng, p, found = random.Random(0), 5, []
    names = [f"x[{i}]" if s < p else "+-*/()"[s - p] for i, s in enumerate(symbols)]
    for i in range(1, len(symbols) - 1):
        if not (symbols[i - 1] < p <= symbols[i] < p + 4 and symbols[i + 1] < p):
            continue
        bracketed = [*names[: i - 1], "(", *names[i - 1 : i + 2], ")", *names[i + 2 :]]
        x = {"x": [rng.uniform(1, 2) for _ in symbols]}
        if abs(eval("".join(names), x) - eval("".join(bracketed), x)) < 1e-9:
            part = formula(symbols[: i - 1], p), value(symbols[i - 1 : i + 2]), formula(symbols[i + 2 :], p)
            found.append(re.sub(r"\( (\d+) \)", r"\1", " ".join(map(str, part)).strip()))
    return found


@quick
@given(st.integers(1, 5), st.sampled_from(["canonical", "random"]), SEEDS)
def test_every_line_of_arithmetic_carries_out_one_operation(n, order, seed):
    task = ModularArithmetic(modulus=5, n_operators=n, order=order)
    for question, output in items(task, seed, size=10):
        steps = lines(question, output)
        assert len(steps) == n + 1 and len(steps[-1]) == 1
        assert sum(5 <= s < 9 for s in steps[0]) == n
        for line, following in itertools.pairwise(steps):
            assert formula(following, 5) in brute_reductions(line)
            assert value(line) == value(following)
            assert sorted(formula(r, 5) for r in task.algebra.reductions(line)) == sorted(brute_reductions(line))


def test_the_canonical_order():
    algebra = Algebra(7)
    names = {c: i for i, c in enumerate([*"0123456", *"+-*/()"])}
    chain = algebra.canonical([names[c] for c in "2-3*(6/(1+2)-4)"])
    assert [formula(line, 7).replace(" ", "") for line in chain] == [
        "2-3*(6/(1+2)-4)",
        "2-3*(6/3-4)",
        "2-3*(2-4)",
        "2-3*5",
        "2-1",
        "1",
    ]


@pytest.mark.parametrize("p", [2, 3, 5])
def test_terms_have_the_odds_of_the_source(p):
    algebra = Algebra(p)
    for x in range(p):
        odds = Counter()
        for op, a, other in itertools.product("+-*/", range(p), range(p)):
            b = next((b for b in range(p) if op == "*" and a and a * b % p == x), other)
            if op in "+-":
                b = (x - a if op == "+" else a - x) % p
            if op == "/" and a and x:
                b = next(b for b in range(1, p) if x * b % p == a)
            if (op == "*" and a * b % p != x) or (op == "/" and (not b or x * b % p != a)):
                continue
            odds[f"{a}{op}{b}"] += 1
        grid = 5000
        drawn = Counter(
            formula(algebra.grow(x, [[0.0, (k + 0.5) / grid]])[-1], p).replace(" ", "") for k in range(grid)
        )
        total = sum(odds.values())
        assert set(drawn) == set(odds)
        assert all(abs(drawn[term] / grid - odds[term] / total) < 2 / grid for term in odds)


@quick
@given(st.integers(1, 3), st.sampled_from([3, 5]), SEEDS)
def test_elimination(n, p, seed):
    task = LinearEquations(n_variables=n, modulus=p)
    names = {FIRST + v: str(v) for v in range(p)} | {FIRST + p + j: "abc"[j] for j in range(n)}
    names |= {task.plus: "+", task.equals: "=", task.comma: ",", SEP: ";", EOS: ";"}
    for question, output in items(task, seed, size=10):
        states = "".join(names[token] for token in [*question, *output]).rstrip(";").split(";")
        assert len(states) == n + 1
        solutions = []
        for k, state in enumerate(states):
            rows = []
            for i, line in enumerate(state.split(",")):
                left, right = line.split("=")
                terms = [re.fullmatch(r"(\d*)([abc])", term).groups() for term in left.split("+")]
                bare = [name for number, name in terms if not number]
                assert bare == (["abc"[i]] if i < k else [])
                assert [name for number, name in terms if number] == list("abc"[k:n])
                rows.append(({name: int(number or 1) for number, name in terms}, int(right)))
            fits = [
                dict(zip("abc", x, strict=False))
                for x in itertools.product(range(p), repeat=n)
                if all(
                    sum(c * dict(zip("abc", x, strict=False))[v] for v, c in terms.items()) % p == r
                    for terms, r in rows
                )
            ]
            assert len(fits) == 1
            solutions.append(fits[0])
        assert all(solution == solutions[0] for solution in solutions)
        assert states[-1] == ",".join(f"{name}={v}" for name, v in solutions[0].items())


# ------------------------------------------------------------------------------------------------ all tasks alike


@every_task
def test_both_views_ask_the_same_and_answer_the_same(make):
    cot, direct = make(view="cot"), make(view="direct")
    for split in cot.splits:
        pairs = zip(read(cot.batch(split, 20), cot), read(direct.batch(split, 20), direct), strict=True)
        for (question, chain), (same_question, answer) in pairs:
            assert question == same_question
            assert len(answer) == direct.answer_length + 1 == direct.output_length
            assert chain[-len(answer) :] == answer


@every_task
def test_splits_share_no_prompt(make):
    task = make(n_eval=100)
    seen = {split: {tuple(question) for question, _ in read(task.batch(split, 200), task)} for split in task.splits}
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(seen.values(), 2))
    for split in ("select", "test"):
        assert {tuple(question) for question, _ in read(task.dataset(split), task)}.isdisjoint(seen["train"])


def test_the_seed_divides_all_prompts_into_the_splits():
    def division(seed):
        task = PrefixSum(n=6, modulus=3, seed=seed)
        return [{tuple(q) for q, _ in read(task.batch(split, 20_000), task)} for split in task.splits]

    train, select, test = division(0)
    assert len(train) + len(select) + len(test) == len(train | select | test) == 3**6
    assert all(60 < len(part) < 130 for part in (select, test))
    assert division(1)[2] & train


@every_task
def test_batches_are_pure(make):
    task, again = make(), make()
    task.batch("train", 7)
    for split in task.splits:
        first = task.batch(split, 9, step=2, seed=4)
        same = again.batch(split, 9, step=2, seed=4)
        assert torch.equal(first.tokens, same.tokens) and torch.equal(first.targets, same.targets)
        assert not torch.equal(first.tokens, task.batch(split, 9, step=3, seed=4).tokens)
    assert first.tokens.shape == (9, task.prompt_length + task.output_length - 1)
    assert int(first.tokens.max()) < task.vocab_size


@every_task
@pytest.mark.parametrize("view", ["cot", "direct"])
def test_the_verifier_accepts_what_the_task_teaches(make, view):
    task = make(view=view, n_eval=60)
    truth = outputs(task.dataset("test"), task)
    prompts = task.prompts("test", 60)
    assert torch.equal(prompts, task.dataset("test").tokens[:, : task.prompt_length])
    after_the_end = torch.where(
        truth == PAD, torch.randint(task.vocab_size, truth.shape, generator=torch.Generator()), truth
    )
    for generated in (truth, after_the_end, torch.cat([truth, truth], dim=1)):
        scores = task.verify(prompts, generated)
        assert all(scores[name].min() == 1 for name in scores)
    assert set(scores.data_vars) == ({"answer", "chain", "progress"} if view == "cot" else {"answer"})


@every_task
def test_the_verifier_sees_every_wrong_token(make):
    task = make(n_eval=4)
    truth, prompts = outputs(task.dataset("test"), task), task.prompts("test", 4)
    for row in range(4):
        end = int((truth[row] == EOS).int().argmax())
        changes = [(place, token) for place in range(end + 1) for token in range(task.vocab_size)]
        wrong = truth[row].repeat(len(changes), 1)
        places, tokens = torch.tensor(changes).T
        wrong[torch.arange(len(changes)), places] = tokens
        scores = task.verify(prompts[row].repeat(len(changes), 1), wrong)
        legal = tokens == truth[row][places]
        if isinstance(task, ModularArithmetic) and task.order == "random":
            question = [token for token in prompts[row].tolist() if token != PAD]
            legal = torch.tensor([is_legal(question, output) for output in wrong.tolist()])
        assert scores.chain.values.tolist() == legal.tolist()
        assert (scores.progress.values < 1).tolist() == (~legal).tolist()
        in_answer = (places >= end - task.answer_length) & (tokens != truth[row][places]) & (tokens != EOS)
        assert not scores.answer.values[in_answer].any()


def is_legal(question, output):
    if EOS not in output:
        return False
    text = output[: output.index(EOS) + 1]
    steps = lines(question, text)
    if SEP not in question or any(not step for step in steps) or len(steps[-1]) != 1 or PAD in text:
        return False
    pairs = itertools.pairwise(steps)
    return all(
        formula(following, 5) in brute_reductions(line) if valid(following) else False for line, following in pairs
    )


def valid(symbols):
    return all(0 <= s < 11 for s in symbols)


@every_task
def test_an_answer_counts_without_its_chain_but_not_without_its_end(make):
    task = make(n_eval=5)
    truth, prompts = task.solve(task.prompts("test", 5).numpy()), task.prompts("test", 5)
    answers = torch.from_numpy(truth.answers)
    end = torch.full((5, 1), EOS)
    bare = task.verify(prompts, torch.cat([answers, end], dim=1))
    assert bare.answer.min() == 1 and bare.chain.max() == 0
    assert task.verify(prompts, answers).answer.max() == 0
    assert task.verify(prompts, torch.full((5, 3), SEP)).answer.max() == 0


def test_progress_is_the_share_before_the_first_mistake():
    task = PrefixSum(n=4, modulus=5, n_eval=1)
    truth, prompts = outputs(task.dataset("test"), task), task.prompts("test", 1)
    found = []
    for place in range(5):
        wrong = truth.clone()
        wrong[0, place] = PAD
        found.append(task.verify(prompts, wrong).progress.item())
    assert found == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    task = ModularArithmetic(modulus=5, n_operators=2, order="random", n_eval=1)
    truth, prompts = outputs(task.dataset("test"), task), task.prompts("test", 1)
    truth[truth == EOS] = SEP
    assert task.verify(prompts, truth).progress.item() == 0.5


def test_locality_is_the_farthest_look_back():
    n = 5
    assert PrefixSum(n=n).locality == max((n + 1 + i) - i for i in range(n))
    assert LongestIncreasingSubsequence(n=n).locality == max((n + 1 + place) - 0 for place in range(n))
    for task, sizes in ((EditDistance(n=n, equal_length=True), [(5, 5)]), (EditDistance(n=n), [(5, 7), (2, 5)])):
        looks = [
            a + b + 2 + (i * (b + 1) + j) - source
            for a, b in sizes
            for i in range(a)
            for j in range(b)
            for source in (i, a + 1 + j)
        ]
        assert task.locality == max(looks)
    task = ModularArithmetic(n_operators=2, modulus=5)
    longest = max(
        len(line) + 1 + len(following)
        for question, output in items(task, size=500)
        for line, following in itertools.pairwise(lines(question, output))
    )
    assert longest == task.locality == 11
    equations = LinearEquations(n_variables=2)
    assert equations.locality == equations.prompt_length + (equations.output_length - 8) - 1


def test_levels():
    task = PrefixSum(n=5, modulus=4, view="direct", n_eval=400)
    most = Counter(output[0] for _, output in read(task.dataset("test"), task)).most_common(1)[0][1]
    assert task.chance("test") == {"nll": pytest.approx(2 * np.log(7)), "answer": most / 400}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrefixSum(n=1), "n must be at least 2, got 1"),
        (lambda: LongestIncreasingSubsequence(n=9, n_values=8, planted=True), "n_values must be at least 9, got 8"),
        (lambda: ModularArithmetic(modulus=9), "modulus must be a prime, got 9"),
        (lambda: LinearEquations(modulus=1), "modulus must be a prime, got 1"),
        (lambda: EditDistance(n=3), "n must be at least 4, got 3"),
        (lambda: EditDistance(letters_used=(3, 30)), r"letters_used must be from 3 to 26 \(n_letters\), got 30"),
        (lambda: EditDistance(p_related=1.5), r"p_related must be in \[0, 1\], got 1.5"),
        (lambda: PrefixSum(n_eval=0), "n_eval must be at least 1, got 0"),
        (lambda: PrefixSum(n_eval=5).prompts("test", 6), r"n must be from 1 to 5 \(n_eval\), got 6"),
        (lambda: LinearEquations(n_variables=1, modulus=2, seed=2).dataset("test"), "too few prompts"),
    ],
)
def test_sizes_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_split_is_named():
    with pytest.raises(KeyError, match="no split 'id'"):
        PrefixSum().batch("id", 3)
