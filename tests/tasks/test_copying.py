import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.base import IGNORE
from elegans.tasks.copying import StringCopy

quick = settings(max_examples=40, deadline=None)
VARIANTS = ("copy", "prefix_ngram", "suffix_ngram")


@st.composite
def worlds(draw):
    variant, ngram = draw(st.sampled_from(VARIANTS)), draw(st.integers(1, 3))
    low = draw(st.integers(1 if variant == "copy" else ngram + 1, 8))
    return dict(
        alphabet=draw(st.integers(1, 5)),
        min_length=low,
        max_length=low + draw(st.integers(0, 4)),
        variant=variant,
        ngram=ngram,
        seed=draw(st.integers(0, 9)),
    )


def text(task, batch):
    """Every sequence as text with its scored part marked by upper case (and ``!`` for a scored dot)."""
    names = dict(enumerate("abcdefghijklmnopqrstuvwxyz"[: task.alphabet] + "$|.*"))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        letters = [names[tokens[0]]]
        for token, target in zip([*tokens[1:], None], targets, strict=True):
            assert target in (IGNORE, token) or token is None
            last = target if token is None and target != IGNORE else token
            if last is not None:
                letters.append(names[last].upper().replace(".", "!") if target != IGNORE else names[last])
        yield "".join(letters)


def is_example(task, line):
    """Whether a marked text is one example of the variant, by the definition."""
    n = task.ngram
    if task.variant == "copy":
        word, answer = line[1:].split("|")
        expected = word
    elif task.variant == "prefix_ngram":
        gram, word, answer = line[1:].split("|")
        expected = word[word.index(gram) + n :]
    else:
        word, rest = line[1:].split("|")
        gram, answer = rest[:n], rest[n:]
        expected = word[word.index(gram) + n :]
    right = answer == expected.upper() + "!" and answer != "!" and line[0] == "$"
    return right and task.min_length <= len(word) <= task.max_length and (task.variant == "copy" or len(gram) == n)


@quick
@given(worlds(), st.sampled_from(["train", "test", "duplicate"]))
def test_rows_are_examples(config, split):
    task = StringCopy(**config)
    if split not in task.splits:
        split = "select"
    for line in text(task, task.batch(split, 20, step=1)):
        word = line.rstrip("*")
        assert is_example(task, word)
        if split == "duplicate":
            word, n = word[1:].split("|")[0], task.ngram
            grams = [word[i : i + n] for i in range(len(word) - n + 1)]
            assert any(gram in grams[i + n :] for i, gram in enumerate(grams))


@quick
@given(worlds(), st.integers(0, 30))
def test_packed_rows_are_examples_and_a_cut_one_is_not_scored(config, more):
    task = StringCopy(**config, layout="packed", context_length=2 * config["max_length"] + 4 + more)
    batch = task.batch("train", 10)
    assert batch.tokens.shape == (10, task.context_length)
    for line in text(task, batch):
        *whole, cut = (f"${part}" for part in line.split("$")[1:])
        if cut.endswith("!"):
            whole.append(cut)
        else:
            assert cut == cut.lower() and "!" not in cut
        assert all(is_example(task, example) for example in whole)
    assert all(line.startswith("$") and line.count("$") == 1 for line in text(task, task.batch("test", 5)))


@quick
@given(worlds(), st.integers(1, 4))
def test_oracle_answers_prompts_of_one_length(config, more):
    task = StringCopy(**{**config, "n_eval": 10}).at_length(config["max_length"] + more)
    prompts, items = task.prompts("test", 10), task.dataset("test")
    answers = task.oracle(prompts)
    for answer, targets in zip(answers.tolist(), items.targets.tolist(), strict=True):
        assert [t for t in answer if t != task.pad] == [t for t in targets if t != IGNORE]
    scores = task.verify(prompts, answers)
    assert scores.string_accuracy.min() == scores.char_accuracy_free.min() == 1


def test_verify_sees_every_wrong_token():
    task = StringCopy(alphabet=4, n_eval=3).at_length(5)
    prompts = task.prompts("test", 3)
    answers = task.oracle(prompts)
    for place in range(6):
        wrong = answers.clone()
        wrong[1, place] = (wrong[1, place] + 1) % 4
        scores = task.verify(prompts, wrong)
        assert scores.string_accuracy.values.tolist() == [1, 0, 1]
        assert scores.char_accuracy_free.values[1] == (0.8 if place < 5 else 1)
    short = task.verify(prompts, answers[:, :3])
    assert short.string_accuracy.max() == 0 and short.char_accuracy_free.values == pytest.approx(0.6)


def test_duplicated_places_are_uniform():
    task = StringCopy(alphabet=26, min_length=8, max_length=8, ngram=3, n_eval=30_000)
    words = task.dataset("duplicate").tokens[:, 1:9]
    pairs = [(i, j) for i in range(6) for j in range(i + 3, 6)]
    counts = torch.tensor([(words[:, i : i + 3] == words[:, j : j + 3]).all(1).sum() for i, j in pairs])
    assert (counts.double() / 30_000 - 1 / len(pairs)).abs().max() < 0.02


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_shuffled_copy_says_nothing(variant):
    task = StringCopy(alphabet=4, min_length=6, max_length=6, variant=variant, shuffled=True, n_eval=4000)
    prompts, items = task.prompts("test", 4000), task.dataset("test")
    truth = task.oracle(prompts)
    start = prompts.shape[1] - 1
    right = (truth[:, 0] == items.targets[:, start]).double().mean()
    assert right == pytest.approx(0.25, abs=0.04)


def test_scores_of_a_model_name_their_decoding():
    task = StringCopy(alphabet=5, min_length=2, max_length=6, n_eval=50)

    class Copier(torch.nn.Module):
        def forward(self, tokens):
            place = torch.arange(tokens.shape[1])
            length = (tokens == task.separator).int().argmax(1, keepdim=True) - 1
            source = (place - length).clamp(min=0)
            said = tokens.gather(1, source).where(place <= 2 * length, task.eos)
            said = torch.where(place == 2 * length + 1, task.eos, said)
            return 50 * torch.nn.functional.one_hot(said, task.vocab_size).double()

    found = task.evaluate(Copier(), "test")
    assert set(found.data_vars) == {"nll", "char_accuracy", "string_accuracy"}
    assert found.char_accuracy.min() == found.string_accuracy.min() == 1
    lengths = (task.dataset("test").targets != IGNORE).sum(1).double()
    assert found.attrs["chance_nll"] == pytest.approx(lengths.mean().item() * math.log(9))
    assert found.attrs["chance_char_accuracy"] == 0.2
    assert found.attrs["chance_string_accuracy"] == pytest.approx((5 ** (1 - lengths)).mean().item())


def test_batches_are_pure():
    task, again = (StringCopy(layout="packed", context_length=60) for _ in range(2))
    task.batch("train", 7)
    for split in task.splits:
        first = task.batch(split, 5, step=2, seed=4).tokens
        assert torch.equal(first, again.batch(split, 5, step=2, seed=4).tokens)
        assert not torch.equal(first, task.batch(split, 5, step=3, seed=4).tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_length": 0}, r"min_length must be from 1 to 16 \(max_length\), got 0"),
        ({"variant": "suffix_ngram", "min_length": 3}, "min_length must be from 4 to 16"),
        ({"layout": "packed", "context_length": 33}, "context_length must be at least 34, got 33"),
    ],
)
def test_sizes_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        StringCopy(**change)


def test_prompts_need_one_length():
    with pytest.raises(ValueError, match="at_length"):
        StringCopy().prompts("test", 3)
    assert "duplicate" not in StringCopy(max_length=5).splits
