"""Scorers of transformers' own models against the library's plain forward pass and its generation."""

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")
from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # noqa: E402

from elegans.reasoning import decoding  # noqa: E402
from elegans.reasoning.hf import HFScorer, hf_model  # noqa: E402
from elegans.reasoning.lm import Cursor  # noqa: E402
from elegans.reasoning.scorer import ScorerError  # noqa: E402
from elegans.reasoning.speculative import speculate  # noqa: E402

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

TEXT = "the orange block is on top of the blue block and the red block is on the table, so pick up the red block"
SMALL = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 8}
KINDS = {
    "gpt2": ("GPT2", {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "llama": ("Llama", SMALL),
    "mistral-narrow-window": ("Mistral", SMALL | {"sliding_window": 6}),
    "gemma3-mixed-windows": (
        "Gemma3Text",
        SMALL | {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "mamba": ("Mamba", {"hidden_size": 24, "num_hidden_layers": 2, "state_size": 4}),
}


@pytest.fixture(scope="module")
def tokenizer():
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()
    from tokenizers import decoders

    bpe.decoder = decoders.Metaspace()
    bpe.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "<s>", "</s>"]))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def make(kind, tokenizer, seed=0):
    name, settings = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=2, **settings
    )
    torch.manual_seed(seed)
    model = getattr(
        transformers, {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}.get(name, f"{name}ForCausalLM")
    )(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and not name.endswith(("A_log", "conv1d.weight")):
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    return model.eval()


def naive(model, tokenizer, prefix, continuation):
    head, whole = tokenizer(prefix)["input_ids"], tokenizer(prefix + continuation)["input_ids"]
    assert whole[: len(head)] == head
    with torch.no_grad():
        rows = model(torch.tensor([whole])).logits[0].float().log_softmax(-1)[len(head) - 1 : -1]
    return rows, whole[len(head) :]


ACTIONS = (" pick up the red block", " put it on the table", " the", " is on top of the orange block, so")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_one_plain_pass_per_pair(kind, tokenizer):
    model = make(kind, tokenizer)
    scorer = HFScorer(model, tokenizer)
    for prefix in (TEXT, TEXT + " and the blue block", "the block", TEXT[:40]):
        for got, action in zip(scorer.score([(prefix, a) for a in ACTIONS], distributions=True), ACTIONS, strict=True):
            rows, tokens = naive(model, tokenizer, prefix, action)
            assert got.tokens == tuple(tokens)
            torch.testing.assert_close(got.distributions, rows, atol=2e-5, rtol=0)
            np.testing.assert_allclose(got.log_probs, rows.gather(-1, torch.tensor(tokens)[:, None])[:, 0], atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cursor_goes_back(kind, tokenizer):
    model = make(kind, tokenizer)
    cursor, text = Cursor(hf_model(model)), list(range(3, 25))
    cursor.read(text)
    cursor.rewind(9)
    got = cursor.read([5, 6, 7], last=2)
    with torch.no_grad():
        want = model(torch.tensor([[*text[:9], 5, 6, 7]])).logits[0, -2:]
    torch.testing.assert_close(got, want, atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral-narrow-window", "mamba"])
def test_greedy_text_equals_the_librarys_with_and_without_a_draft(kind, tokenizer):
    model, draft = make(kind, tokenizer), make("llama", tokenizer, seed=1)
    tokens = torch.tensor([tokenizer(TEXT)["input_ids"]])
    want = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=20, do_sample=False)
    want = tuple(want[0, tokens.shape[1] :].tolist())
    for small in (None, draft):
        (got,) = HFScorer(model, tokenizer, draft=small).generate(TEXT, max_tokens=20)
        assert got.tokens == want
    one = decoding.beam(hf_model(model), tokens[0].tolist(), width=1, max_tokens=20)[0]
    assert tuple(one.tokens[: len(want)]) == want


def test_assisted_generation_of_the_library_says_the_same(tokenizer):
    scorer = HFScorer(make("llama", tokenizer), tokenizer)
    assistant = HFScorer(make("gpt2", tokenizer, seed=1), tokenizer)
    got = scorer.assisted(TEXT, assistant, max_tokens=12)
    (want,) = scorer.generate(TEXT, max_tokens=12)
    assert (got.text, got.tokens, got.ended) == (want.text, want.tokens, want.ended)
    np.testing.assert_allclose(got.log_probs, want.log_probs, atol=1e-4)


def test_sampling_speculates(tokenizer):
    expert, draft = hf_model(make("llama", tokenizer)), hf_model(make("gpt2", tokenizer, seed=1))
    made = [speculate(expert, draft, [5, 6], max_tokens=12, temperature=1.0, seed=s) for s in (0, 0, 1)]
    assert made[0].tokens == made[1].tokens != made[2].tokens


def test_a_prefix_is_read_once(tokenizer):
    scorer = HFScorer(make("llama", tokenizer), tokenizer)
    scorer.log_probs(TEXT, ACTIONS)
    read = scorer.usage.read_tokens
    assert scorer.usage.passes == 2
    longest = max(len(tokenizer(a)["input_ids"]) for a in ACTIONS)
    scorer.log_probs(TEXT, ACTIONS)
    assert scorer.usage.passes == 3 and scorer.usage.read_tokens - read < 4 * longest


def test_a_directory_is_loaded_and_anything_else_refused(tokenizer, tmp_path):
    model = make("llama", tokenizer)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    scorer = HFScorer.load(tmp_path / "model", draft=tmp_path / "model", gamma=2)
    assert scorer.ends == (2,) and scorer.gamma == 2
    for a, b in zip(scorer.log_probs(TEXT, ACTIONS), HFScorer(model, tokenizer).log_probs(TEXT, ACTIONS), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    with pytest.raises(ValueError, match="no directory of a Hugging Face model"):
        HFScorer.load(tmp_path / "nothing")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        HFScorer.load(tmp_path / "broken")


def test_what_does_not_fit_is_refused(tokenizer):
    scorer = HFScorer(make("llama", tokenizer), tokenizer)
    with pytest.raises(ValueError, match="do not fit"):
        scorer.log_probs(TEXT * 9, ACTIONS)
    with pytest.raises(ValueError, match="has an encoder"):
        hf_model(
            transformers.T5ForConditionalGeneration(
                transformers.T5Config(d_model=8, num_layers=1, num_heads=1, d_ff=8, d_kv=8, vocab_size=9)
            )
        )
    torch.nn.init.constant_(scorer.raw.lm_head.weight, float("nan"))
    with pytest.raises(ScorerError, match="not a finite number"):
        scorer.log_probs(TEXT, ACTIONS)
