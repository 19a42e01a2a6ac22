import numpy as np
import pytest
import torch

from elegans.lm import answers, choice_log_probs, encode, encode_pairs, few_shot_prompt, score_answers
from elegans.lm.prompting import next_log_probs
from elegans.lm.reading import begin, has_plain_cache
from elegans.tasks.base import token_nll

pytest.importorskip("transformers")

KINDS = ["gpt2", "llama", "qwen2", "gpt_neox", "mistral", "gpt_neo"]
SHOTS = few_shot_prompt([("a b =", " c"), ("c d e =", " f g")] * 3, "", separator=" . ").strip()
PROMPTS = {
    "alike": [f"{SHOTS} {query} =" for query in ("a", "b c", "b c d e", "h", "b c d e")],
    "different": ["a b", "h", "c d e f g h a b c d e f g h = = a", "b b b", "a a a a a a a"],
    "one": [f"{SHOTS} a b ="],
}
CHOICES = [" a", " b c", " b", " c . d <eos>"]


def naive(lm, prompt, answer):
    """Sum of log-probabilities of the answer's tokens, prompt and answer alone in the batch."""
    (prompt_ids,), (ids,) = encode(lm.tokenizer, [prompt]), encode(lm.tokenizer, [prompt + answer])
    logits = lm.net(torch.tensor([ids]))[0].log_softmax(-1).detach()
    return sum(logits[at - 1, ids[at]].item() for at in range(len(prompt_ids), len(ids)))


def naive_answer(lm, prompt, length):
    ids, said = list(encode(lm.tokenizer, [prompt])[0]), []
    while len(said) < length:
        token = lm.net(torch.tensor([ids + said]))[0, -1].argmax().item()
        if token == lm.tokenizer.eos_token_id:
            break
        said.append(token)
    return lm.tokenizer.decode(said, skip_special_tokens=True).strip()


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("kind", KINDS)
def test_choices_score_as_each_text_does_by_itself(kind, prompts, make):
    lm, prompts = make(kind), PROMPTS[prompts]
    expected = [[naive(lm, prompt, choice) for choice in CHOICES] for prompt in prompts]
    for size in (2, 32):
        found = choice_log_probs(lm, prompts, CHOICES, batch_size=size)
        np.testing.assert_allclose(found, expected, rtol=1e-8 if kind == "gpt_neo" else 1e-10)  # attends in float32
    assert found.dims == ("item", "choice") and found.choice.to_numpy().tolist() == CHOICES
    assert found.num_tokens[0].to_numpy().tolist() == [1, 2, 1, 4]


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_answers_as_each_prompt_does_by_itself(kind, prompts, make):
    lm, prompts = make(kind), PROMPTS[prompts]
    expected = [naive_answer(lm, prompt, 7) for prompt in prompts]
    assert answers(lm, prompts, max_new_tokens=7, batch_size=3) == expected


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_half_precision_scores_in_single_precision(kind, make):
    lm = make(kind, torch.bfloat16)
    found = choice_log_probs(lm, PROMPTS["alike"], CHOICES)
    expected = [[naive(lm, prompt, choice) for choice in CHOICES] for prompt in PROMPTS["alike"]]
    np.testing.assert_allclose(found, expected, atol=0.3)
    assert np.exp(choice_log_probs(lm, ["a"], [f" {word}" for word in "abcdefgh"])).sum() < 1
    assert len(answers(lm, PROMPTS["alike"], max_new_tokens=3)) == 5


def test_answers_are_those_of_generate(make):
    lm = make("llama")
    (ids,) = encode(lm.tokenizer, PROMPTS["one"])
    tokens = torch.tensor([ids])
    said = lm.model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=6, do_sample=False)
    expected = lm.tokenizer.decode(said[0, len(ids) :], skip_special_tokens=True).strip()
    assert answers(lm, PROMPTS["one"], max_new_tokens=6) == [expected]


def test_an_answer_ends_before_a_stop_string(make):
    lm = make("llama")
    whole = [text.split() for text in answers(lm, PROMPTS["different"], max_new_tokens=5)]
    marks = [words[2] for words in whole]
    for prompt, words, mark in zip(PROMPTS["different"], whole, marks, strict=True):
        (text,) = answers(lm, [prompt], max_new_tokens=5, stop=["?", mark])
        assert text.split() == words[: words.index(mark)]


def test_the_common_beginning_is_read_once_where_the_cache_is_plain(make):
    lm, rows = make("llama"), [[2] * 30 + [3], [2] * 30 + [4, 5], [2] * 30]
    assert begin(lm, rows)[0] == 29
    assert begin(lm, [[2] * 5, [2] * 6])[0] == 0
    assert [has_plain_cache(make(kind)) for kind in KINDS] == [True] * 4 + [False] * 2


def test_choices_that_merge_with_the_prompt_are_scored_as_their_texts_are(make, bpe):
    lm, prompts, choices = (
        make("llama", tokenizer=bpe),
        ["the res", "the answer is "],
        ["ult is", "w", "ponse", "wonderful"],
    )
    for prompt, row in zip(prompts, choice_log_probs(lm, prompts, choices), strict=True):
        for choice, value in zip(choices, row, strict=True):
            batch = encode_pairs(bpe, [(prompt, choice)])
            nll = token_nll(lm.net(batch.tokens), batch.targets).sum()
            np.testing.assert_allclose(value, -nll.item(), rtol=1e-10)


def test_scores_of_answers_are_those_of_the_choices(make):
    lm = make("gpt2")
    items = [(prompt, choice) for prompt in PROMPTS["different"] for choice in CHOICES]
    found = score_answers(lm, items, batch_size=3)
    expected = choice_log_probs(lm, PROMPTS["different"], CHOICES)
    np.testing.assert_allclose(found.nll, -expected.to_numpy().ravel(), rtol=1e-10)
    np.testing.assert_array_equal(found.num_tokens, expected.num_tokens.to_numpy().ravel())
    said = answers(lm, PROMPTS["different"], max_new_tokens=2)
    right = score_answers(lm, [(p, " " + said[i]) for i, p in enumerate(PROMPTS["different"])])
    assert right.accuracy.min() == 1 and found.accuracy.mean() < 1


def test_next_tokens_have_the_probabilities_of_the_last_position(make):
    lm = make("gpt_neox")
    found = next_log_probs(lm, PROMPTS["alike"], [3, 5, 3])
    for row, prompt in zip(found, PROMPTS["alike"], strict=True):
        logits = lm.net(torch.tensor(encode(lm.tokenizer, [prompt])))[0, -1].log_softmax(-1)
        torch.testing.assert_close(row, logits[[3, 5, 3]].detach(), rtol=1e-10, atol=0)


def test_a_prompt_of_shots_has_its_parts_in_order():
    shots = [("1+1=", "2"), ("2+2=", "4")]
    assert few_shot_prompt(shots, "3+3=", instruction="Add.") == "Add.\n1+1=2\n2+2=4\n3+3="
    assert few_shot_prompt([], "3+3=") == "3+3="


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda lm: choice_log_probs(lm, [], [" a"]), "at least one text"),
        (lambda lm: choice_log_probs(lm, "a b", [" a"]), "expected a list"),
        (lambda lm: choice_log_probs(lm, ["a"], []), "at least one text"),
        (lambda lm: choice_log_probs(lm, ["a =", ""], [" a"]), "prompt 1: item 0: the prompt '' has no token"),
        (lambda lm: choice_log_probs(lm, ["a " * 97], [" b"]), "97 tokens, the model reads at most 96"),
        (lambda lm: choice_log_probs(lm, ["a"], [" z"]), "'z' is not in the vocabulary"),
        (lambda lm: choice_log_probs(lm, ["a"], [" b"], batch_size=0), "batch_size"),
        (lambda lm: answers(lm, ["a", " "], max_new_tokens=1), "prompt 1 .* has no token"),
        (lambda lm: answers(lm, ["a " * 90], max_new_tokens=8), "prompt 0 takes 97 tokens"),
        (lambda lm: answers(lm, ["a"], max_new_tokens=0), "max_new_tokens"),
        (lambda lm: score_answers(lm, [("a " * 90, "b " * 8)]), "item 0 takes 97 tokens"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(call, named, make):
    with pytest.raises(ValueError, match=named) as caught:
        call(make("gpt2"))
    assert "\n" not in str(caught.value)
