import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elegans.lm import TextTask, char_tokenizer, encode, encode_pairs, tiny_llama, word_tokenizer
from elegans.tasks.base import IGNORE

pytest.importorskip("transformers")

WORDS = word_tokenizer(["a", "b", "="])


def test_words_have_the_tokens_of_their_order_after_pad_and_eos():
    assert WORDS("b = a <eos>")["input_ids"] == [3, 4, 2, 1]
    assert WORDS.decode([2, 4, 3]) == "a = b"
    assert (WORDS.pad_token_id, WORDS.eos_token_id, len(WORDS)) == (0, 1, 5)


def test_characters_come_back_as_they_were():
    tokenizer = char_tokenizer("ab \n=")
    assert tokenizer.decode(tokenizer("a b\n=")["input_ids"]) == "a b\n="


@pytest.mark.parametrize(("tokenizer", "text"), [(WORDS, "a c"), (char_tokenizer("a "), "a <eos>c")])
def test_an_unknown_word_is_named(tokenizer, text):
    with pytest.raises(ValueError, match="text 1: 'c' is not in the vocabulary"):
        encode(tokenizer, ["a", text])
    with pytest.raises(Exception, match="UNK"):
        tokenizer(text)


@pytest.mark.parametrize(
    "call",
    [
        lambda: word_tokenizer(["a b"]),
        lambda: word_tokenizer([""]),
        lambda: word_tokenizer(["<eos>"]),
        lambda: char_tokenizer(["ab"]),
        lambda: encode_pairs(WORDS, [("a", "")]),
        lambda: encode_pairs(WORDS, [("", "a")]),
        lambda: encode_pairs(WORDS, []),
        lambda: encode_pairs(WORDS, [("a", " b")], loss_on="prompt"),
    ],
)
def test_what_has_no_tokens_or_no_meaning_is_refused(call):
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_pairs_are_padded_on_the_right_and_only_answers_are_scored():
    batch = encode_pairs(WORDS, [("a b =", " b"), ("a a a =", " b <eos>")])
    assert batch.tokens.tolist() == [[2, 3, 4, 0, 0], [2, 2, 2, 4, 3]]
    none = IGNORE
    assert batch.targets.tolist() == [[none, none, 3, none, none], [none, none, none, 3, 1]]


def test_with_the_loss_on_all_every_token_but_the_first_is_scored():
    batch = encode_pairs(WORDS, [("a b =", " b"), ("", "a b")], loss_on="all")
    assert batch.targets.tolist() == [[3, 4, 3], [3, IGNORE, IGNORE]]


TEXT = st.text(alphabet=[*"the answ is", "\u00fc", "\u4e2d", "\n"], min_size=1, max_size=12)


@given(TEXT, TEXT.filter(lambda text: text.strip()))
def test_the_answer_of_a_byte_level_bpe_starts_with_the_token_that_crosses_the_boundary(bpe, prompt, answer):
    (ids,) = encode(bpe, [prompt + answer])
    batch = encode_pairs(bpe, [(prompt, answer)])
    assert ids[0] == 0 and 1 not in ids
    scored = batch.targets[0][batch.targets[0] != IGNORE].tolist()
    assert scored == ids[len(ids) - len(scored) :]
    before = bpe.backend_tokenizer.decoder.decode(bpe.convert_ids_to_tokens(ids[1 : len(ids) - len(scored)]))
    after = bpe.backend_tokenizer.decoder.decode(bpe.convert_ids_to_tokens(scored))
    if "\ufffd" not in before + after:
        assert before + after == prompt + answer
        assert len(before) <= len(prompt) and len(after) >= len(answer)


def test_an_answer_with_its_leading_space_leaves_the_prompts_tokens_alone(bpe):
    (prompt,) = encode(bpe, ["the answer is"])
    batch = encode_pairs(bpe, [("the answer is", " wonderful")])
    assert batch.tokens[0, : len(prompt)].tolist() == prompt
    assert (batch.targets[0] != IGNORE).nonzero()[0].item() == len(prompt) - 1


def test_a_task_goes_through_all_items_before_any_comes_again():
    items = [("a =", " a"), ("b =", " b"), ("a a b =", " a b"), ("b b =", " b"), ("a b =", " a")]
    task = TextTask(tiny_llama(WORDS, width=8, heads=2, depth=1), {"train": items, "test": items[:2]})
    whole = {tuple(row) for row in task.dataset("train").tokens.tolist()}
    drawn = torch.cat(
        [torch.nn.functional.pad(b.tokens, (0, 5 - b.tokens.shape[1])) for b in map(step(task), range(5))]
    )
    for epoch in drawn.split(5):
        assert {tuple(row) for row in epoch.tolist()} == whole
    assert task.batch("test", 4).tokens.shape == (4, 2)
    assert torch.equal(step(task)(3).targets, step(task)(3).targets)
    chance = task.chance("test")
    assert np.allclose([chance["nll"], chance["accuracy"]], [np.log(5), 1 / 5])


def step(task):
    return lambda number: task.batch("train", 3, step=number, seed=1)
