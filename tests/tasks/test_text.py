import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans.tasks.base import IGNORE
from elegans.tasks.stories import story
from elegans.tasks.text import SPLITS, TextLM

TEXT = "".join(f"line {i}: {'näh ' * (i % 5)}{i * i}\n" for i in range(400))
BYTES = TextLM(level="byte", n_stories=60, context=8)


@pytest.fixture(scope="module")
def stories():
    return TextLM(n_stories=200, context=32)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.mark.parametrize("level", ["character", "byte"])
def test_a_file_is_cut_into_three_in_order(file, level):
    task = TextLM(file, level=level, context=16)
    assert task.decode(torch.cat([task.text[split] for split in SPLITS])) == TEXT
    total = sum(len(text) for text in task.text.values())
    assert [round(len(task.text[split]) / total, 2) for split in SPLITS] == [0.9, 0.05, 0.05]
    assert task.vocab_size == (256 if level == "byte" else len(set(TEXT)))
    assert task.content_hash == hashlib.sha256(TEXT.encode()).hexdigest()


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=40))
def test_bytes_hold_any_text(text):
    task = BYTES
    assert task.decode(task.encode(text)) == text


def test_characters_that_the_text_does_not_have_are_named(stories):
    sentence = "It was raining, and Anna was glad."
    assert stories.decode(stories.encode(sentence)) == sentence
    with pytest.raises(ValueError, match="the vocabulary of generated has no character '%'"):
        stories.encode("sure %")


def test_windows_are_pieces_of_their_split(stories):
    for split in SPLITS:
        text = stories.decode(stories.text[split])
        batch = stories.batch(split, 20, step=1)
        assert batch.tokens.shape == (20, 32)
        for tokens, targets in zip(batch.tokens, batch.targets, strict=True):
            assert stories.decode(torch.cat([tokens[:1], targets])) in text
            assert torch.equal(tokens[1:], targets[:-1])


def test_batches_are_pure(stories):
    first = stories.batch("train", 6, step=4, seed=2)
    assert torch.equal(first.tokens, stories.batch("train", 6, step=4, seed=2).tokens)
    assert not torch.equal(first.tokens, stories.batch("train", 6, step=5, seed=2).tokens)


def test_the_dataset_scores_every_character_once(stories):
    batch = stories.dataset("test")
    length = batch.targets.numel()
    assert torch.equal(batch.targets.flatten(), stories.text["test"][1 : 1 + length])
    assert 0 <= len(stories.text["test"]) - 1 - length < 32


@settings(max_examples=25, deadline=None)
@given(length=st.integers(33, 200), num=st.none() | st.integers(1, 9))
def test_the_same_characters_are_scored_with_every_context(length, num):
    task = BYTES
    task.text["test"] = torch.arange(length)  # a token is its place
    scored = {}
    for context in (2, 4, 8, 16, 32):
        batch = task.windows("test", context, longest=32, num=num)
        keep = batch.targets != IGNORE
        scored[context] = batch.targets[keep].tolist()
        assert (keep.sum(1) == context // 2).all()
        seen = batch.targets[keep] - batch.tokens[:, :1].expand_as(batch.tokens)[keep]
        assert seen.min() == context // 2 + 1 and seen.max() == context
    places = scored[32]
    assert places == list(range(17, 17 + len(places))) and all(found == places for found in scored.values())
    possible = (length - 1) // 16 - 1
    assert len(places) == 16 * (possible if num is None else min(num, possible))


def test_scores_of_windows(stories):
    class Uniform(torch.nn.Module):
        def forward(self, tokens):
            return torch.zeros(*tokens.shape, stories.vocab_size)

    found = stories.evaluate(Uniform(), "test", context=16, longest=64)
    assert np.isnan(found.nll[:, :8]).all()
    np.testing.assert_allclose(found.nll[:, 8:], math.log(stories.vocab_size), rtol=1e-6)
    assert found.chance_nll == math.log(stories.vocab_size) > found.chance_nll_unigram
    assert stories.evaluate(Uniform(), "select").nll.shape == stories.dataset("select").tokens.shape


def test_stories_are_the_same_everywhere(stories):
    assert hashlib.sha256(story(0, 0).encode()).hexdigest()[:16] == "a0fce37c3d0587d7"
    assert stories.content_hash == TextLM(n_stories=200).content_hash != TextLM(n_stories=200, seed=1).content_hash


@pytest.mark.parametrize("source", ["generated", "python-help"])
def test_documents_are_in_one_split_each(source):
    task = TextLM(source, n_stories=200)
    names = [name for split in SPLITS for name in task.documents[split]]
    assert len(names) == len(set(names)) and all(task.documents.values())
    total = sum(len(text) for text in task.text.values())
    for split in ("select", "test"):
        assert 0.03 < len(task.text[split]) / total < 0.06


def test_no_paragraph_of_the_help_texts_is_in_two_splits():
    task = TextLM("python-help")
    paragraphs = {split: set(task.decode(task.text[split]).split("\n\n")) for split in SPLITS}
    assert not paragraphs["test"] & paragraphs["train"] and not paragraphs["select"] & paragraphs["train"]
    assert not paragraphs["test"] & paragraphs["select"] and len(paragraphs["test"]) > 30


def test_files_that_cannot_be_used_are_named(tmp_path, file):
    with pytest.raises(ValueError, match=r"cannot read .*nowhere.txt: No such file"):
        TextLM(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match=r"cannot read .*: Is a directory"):
        TextLM(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match=r"empty.txt is empty"):
        TextLM(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt is not UTF-8 \(byte 19\); level 'byte' reads any file"):
        TextLM(tmp_path / "latin.txt")
    assert TextLM(tmp_path / "latin.txt", level="byte").vocab_size == 256
    with pytest.raises(ValueError, match=r"split 'select' of .*text.txt has \d+ tokens, a context of 2000 needs 2001"):
        TextLM(file, context=2000)
    task = TextLM(file)
    with pytest.raises(ValueError, match=r"windows of 1024 needs 1025"):
        task.windows("test", 64)
    with pytest.raises(ValueError, match="context must be even and divide the longest, got 48 and 64"):
        task.windows("test", 48, longest=64)
    with pytest.raises(ValueError, match="the shares of the splits must be above 0"):
        TextLM(file, test_share=0.0)
    with pytest.raises(KeyError, match="no split 'ood'; this task has train, select, test"):
        task.batch("ood", 1)
