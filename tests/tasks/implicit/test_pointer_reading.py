import math
from collections import Counter

import numpy as np
import pytest
import torch

from elegans.models.registry import build
from elegans.tasks.base import IGNORE
from elegans.tasks.implicit import PointerPretraining, PointerReading
from elegans.training.loop import fit

TASK = PointerReading()
IDS = {word: token for token, word in enumerate(TASK.vocabulary(), 2)}


def solved(document):
    """The words of a document as (question, answer)."""
    words = document.split()
    items = [words[i : i + 9] for i in range(0, len(words), 9)]
    return [(" ".join(item[:-1]), item[-1]) for item in items]


def test_documents_are_solved_questions_that_end_where_the_pattern_says():
    documents = TASK.documents(300, "train", seed=1)
    for text, pattern in zip(documents.texts(), documents.pattern, strict=True):
        for question, answer in solved(text):
            assert TASK.formal(question) == answer
            if pattern >= 0:
                assert TASK.at_pattern(int(pattern)).shortcut(question) == answer
    ends = TASK.ends(documents.questions.reshape(-1, 7)).reshape(300, 8)
    assert ((ends == documents.pattern[:, None]).all(1) == (documents.pattern >= 0)).mean() > 0.99


def test_documents_are_items_with_their_separator():
    item = TASK.items("normal", 1)[0]
    prompt, answer = TASK.pair(item)
    assert prompt + answer == TASK.text(item) == f"{item.question} {item.answer}"
    first, second, *_ = solved(TASK.documents(1).texts()[0])
    assert TASK.documents(1).texts()[0].startswith(TASK.separator.join([" ".join(first), " ".join(second)]))


def test_shares_of_documents():
    pattern = TASK.documents(6000).pattern
    assert abs((pattern < 0).mean() - 0.4) < 0.02
    assert set(pattern) == {-1, 0, 1, 2, 3, 4} and TASK.held_out == (5,)
    assert abs((pattern == 3).mean() - 0.12) < 0.02
    assert set(TASK.documents(50, normal=0.0, patterns=[5]).pattern) == {5}


def test_normal_questions_end_anywhere():
    documents = TASK.documents(2000, normal=1.0)
    ends = np.bincount(TASK.ends(documents.questions.reshape(-1, 7)), minlength=6) / 16000
    assert np.abs(ends - 1 / 6).max() < 0.01
    assert np.abs(np.bincount(documents.questions[..., 1:].ravel()) / 96000 - 1 / 12).max() < 0.005


def test_documents_of_a_split_have_its_questions_only():
    train = {q for text in TASK.documents(200, "train").texts() for q, _ in solved(text)}
    tested = {item.question for item in TASK.items("normal", 400, "test")}
    assert not train & tested
    test_documents = {q for text in TASK.documents(50, "test").texts() for q, _ in solved(text)}
    assert not train & test_documents


def test_four_hundred_thousand_questions_come_at_once():
    assert len(TASK.documents(50_000)) == 50_000


def test_rates_of_the_shortcut_and_of_a_constant_answer():
    task = TASK.at_pattern(2)
    assert abs(task.shortcut_rate("normal", count=4000, split="train") - 0.24) < 0.03
    implicit = Counter(int(item.answer) for item in task.items("implicit", 4000))
    assert abs(sum(n for answer, n in implicit.items() if answer % 6 == 2) / 4000 - 0.46) < 0.04
    assert abs(max(implicit.values()) / 4000 - 0.23) < 0.03


def test_sequences_score_the_answers():
    task = PointerPretraining(TASK, IDS, bos=1, n_eval=16)
    batch = task.batch("train", 5, step=3, seed=2)
    words = {token: word for word, token in IDS.items()}
    assert batch.tokens.shape == (5, 72) and (batch.tokens[:, 0] == 1).all()
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        whole = [words[token] for token in [*tokens[1:], targets[-1]]]
        scored = [place for place, target in enumerate(targets) if target != IGNORE]
        assert len(scored) == 8 and all(words[tokens[place]] == "=" for place in scored)
        for (question, answer), place in zip(solved(" ".join(whole)), scored, strict=True):
            assert TASK.formal(question) == answer == words[targets[place]]


def test_texts_and_tokens_agree():
    documents = TASK.documents(20)
    assert documents.tokens(IDS).tolist() == [[IDS[word] for word in text.split()] for text in documents.texts()]


def test_batches_are_pure():
    task = PointerPretraining(TASK, IDS, n_eval=16)
    assert torch.equal(task.batch("train", 5, step=2).tokens, task.batch("train", 5, step=2).tokens)
    assert not torch.equal(task.batch("train", 5, step=2).tokens, task.batch("train", 5, step=3).tokens)
    assert task.batch("train", 2).tokens.shape == (2, 71) and task.vocab_size == 15
    assert task.chance("test")["nll"] == pytest.approx(8 * math.log(15))


def test_a_model_trains_on_them():
    task = PointerPretraining(TASK, IDS, n_eval=8)
    model = build("gpt", vocab=task.vocab_size, width=16, depth=1, heads=2, context=71, seed=0)
    history = fit(model, task, steps=20, batch_size=8, evaluate_at=1)
    assert float(history.nll.sel(split="train")[-1]) < float(history.nll.sel(split="train")[0])


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="a pattern must be from 0 to 5"):
        PointerReading(pattern=6)
    with pytest.raises(ValueError, match="n_values must be at least 6"):
        PointerReading(n_values=5)
    with pytest.raises(ValueError, match="no token for the word '11'"):
        PointerPretraining(TASK, {word: i for word, i in IDS.items() if word != "11"})
    with pytest.raises(ValueError, match="normal must be in"):
        TASK.documents(2, normal=0.5, patterns=[])
