"""Small random language models of several architectures, in double precision."""

import pytest
import torch

from elegans.lm import TextModel, word_tokenizer

WORDS = [*"abcdefgh", "=", "."]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 96}
SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
GLU = {**SIZES, "intermediate_size": 24}
CONFIGS = {
    "gpt2": ("GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 96}),
    "llama": ("LlamaConfig", {**GLU, "num_key_value_heads": 2}),
    "qwen2": ("Qwen2Config", {**GLU, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "gpt_neox": ("GPTNeoXConfig", {**SIZES, "intermediate_size": 24}),
    "mistral": ("MistralConfig", {**GLU, "num_key_value_heads": 2, "sliding_window": 5}),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 4,
            "max_position_embeddings": 96,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 5,
        },
    ),
}


@pytest.fixture(scope="session")
def bpe():
    """A byte-level BPE like GPT-2's, trained here, that puts a token of its own in front."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the answer is wonderful, the result is wondrous \u00fc\u4e2d"] * 20, trainer)
    ends = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = tokenizers.processors.Sequence(
        [
            tokenizers.processors.ByteLevel(trim_offsets=True),
            tokenizers.processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends),
        ]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture
def make():
    """`make(kind)` is a random model of an architecture, by default with a tokenizer of words."""
    transformers = pytest.importorskip("transformers")

    def make(kind="llama", dtype=torch.float64, tokenizer=None):
        name, sizes = CONFIGS[kind]
        tokenizer = tokenizer or word_tokenizer(WORDS)
        config = getattr(transformers, name)(**sizes, **SPECIAL, vocab_size=len(tokenizer))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(config)
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        return TextModel(model.to(dtype).eval(), tokenizer)

    return make
