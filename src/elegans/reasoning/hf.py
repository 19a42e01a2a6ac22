"""Causal language models of Hugging Face's transformers library (extra ``hf``), read from local directories.

Shapes: B batch, T new tokens, L positions whose logits are kept, N sequences to go on with, V vocabulary.
"""

import inspect
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from elegans.reasoning.lm import LanguageModel, Rereader
from elegans.reasoning.local import LocalScorer
from elegans.reasoning.scorer import Generation, ScorerError, Text, Usage


class HFModel:
    """A causal attention model of transformers as a `LanguageModel`.

    The state is the keys and values of each layer, (None, None) where a layer has none. Layers never write into them,
    so one prefix is shared by all its continuations.
    """

    croppable = True

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.vocab_size: int = model.get_output_embeddings().weight.shape[0]
        self.context = _context(model)
        self.device: torch.device = model.device
        self.usage = Usage()
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    def extend(
        self, tokens: Int[Tensor, "B T"], state: Any = None, last: int | None = None
    ) -> tuple[Float[Tensor, "B L V"], Any]:
        """See `LanguageModel.extend`."""
        self.usage.passes += 1
        self.usage.read_tokens += tokens.numel()
        last = last or tokens.shape[1]
        keep = {"logits_to_keep": last} if self._keeps else {}
        with torch.inference_mode():
            output = self.model(input_ids=tokens, past_key_values=_cache(state), use_cache=True, **keep)
        state = tuple((layer.keys, layer.values) for layer in output.past_key_values.layers)
        return output.logits[:, -last:].float(), state

    def select(self, state: Any, index: Int[Tensor, " N"]) -> Any:
        """See `LanguageModel.select`."""
        if len(state[0][0]) == 1:  # a view: layers copy when they append
            return _each(lambda x: x.expand(len(index), -1, -1, -1), state)
        return _each(lambda x: x.index_select(0, index), state)

    def crop(self, state: Any, length: int) -> Any:
        """See `LanguageModel.crop`."""
        return _each(lambda x: x[:, :, :length], state)


def hf_model(model: Any) -> LanguageModel:
    """A causal model of transformers as a `LanguageModel`.

    Models whose state is no cache of keys and values (Mamba, RWKV, hybrids) read the whole sequence in every call.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(f"{type(model).__name__} has an encoder; a causal language model is needed")
    if not model._is_stateful:
        return HFModel(model)
    model.eval()

    def logits(tokens: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(input_ids=tokens, use_cache=False).logits.float()

    vocab_size = model.get_output_embeddings().weight.shape[0]
    return Rereader(logits, vocab_size, _context(model), model.device, Usage())


class HFTokenizer:
    """A tokenizer of transformers; `encode` adds what the model wants at the start of a text, and no end token."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._encode = lru_cache(512)(self._encoded)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        return list(self._encode(text))

    def _encoded(self, text: str) -> tuple[int, ...]:
        tokens = self.tokenizer(text)["input_ids"]
        ended = tokens and tokens[-1] == self.tokenizer.eos_token_id and not text.endswith(self.tokenizer.eos_token)
        if ended and not (len(tokens) == 1 and tokens[0] == self.tokenizer.bos_token_id):
            tokens = tokens[:-1]
        return tuple(tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of generated tokens."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)


class HFScorer(LocalScorer):
    """A causal language model of transformers and its tokenizer as a `Scorer`.

    `draft` is a smaller model with the same tokenizer that guesses ahead when a single text is generated, `gamma` tokens
    at a time; the texts keep their distribution. `max_batch` continuations are read in one pass.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        draft: Any = None,
        gamma: int = 4,
        cached_prefixes: int = 8,
        max_batch: int = 32,
    ) -> None:
        ends = getattr(model.generation_config, "eos_token_id", None)
        ends = tokenizer.eos_token_id if ends is None else ends
        super().__init__(
            hf_model(model),
            HFTokenizer(tokenizer),
            ends=() if ends is None else (ends,) if isinstance(ends, int) else tuple(ends),
            draft=None if draft is None else hf_model(draft),
            gamma=gamma,
            cached_prefixes=cached_prefixes,
            max_batch=max_batch,
        )
        self.raw = model

    @classmethod
    def load(cls, directory: str | Path, *, draft: str | Path | None = None, **settings: Any) -> "HFScorer":
        """From a directory with weights and tokenizer. Nothing is downloaded and no code of the directory is run.

        `settings` are those of the class, and ``device`` (default cpu) and ``dtype`` (default: as stored). Raises
        `ValueError` for a directory that holds no such model.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device, dtype = settings.pop("device", "cpu"), settings.pop("dtype", "auto")

        def read(loader: Any, path: str | Path, **how: Any) -> Any:
            if not Path(path, "config.json").is_file():
                raise ValueError(f"{path} is no directory of a Hugging Face model: it has no config.json")
            try:
                return loader.from_pretrained(path, local_files_only=True, trust_remote_code=False, **how)
            except Exception as error:  # files that are no model fail in every way
                reason = " ".join(str(error).split())[:300]
                raise ValueError(f"{path} cannot be read: {type(error).__name__}: {reason}") from None

        tokenizer = read(AutoTokenizer, directory)
        model, small = (
            None if path is None else read(AutoModelForCausalLM, path, dtype=dtype).to(device)
            for path in (directory, draft)
        )
        return cls(model, tokenizer, draft=small, **settings)

    def assisted(self, prompt: Text, assistant: "HFScorer", *, max_tokens: int) -> Generation:
        """The greedy text, by the library's own assisted generation: `assistant` may have another tokenizer.

        Raises `ScorerError` if the library refuses the pair.
        """
        tokens = torch.tensor([self._tokens(prompt)], device=self.raw.device)
        settings: dict[str, Any] = {"max_new_tokens": max_tokens, "do_sample": False}
        settings |= {"output_logits": True, "return_dict_in_generate": True}
        mine, others = self._hf_tokenizer(), assistant._hf_tokenizer()
        if mine.get_vocab() != others.get_vocab():
            settings |= {"tokenizer": mine, "assistant_tokenizer": others}
        try:
            with torch.inference_mode():
                output = self.raw.generate(
                    tokens, attention_mask=torch.ones_like(tokens), assistant_model=assistant.raw, **settings
                )
        except (ValueError, RuntimeError) as error:
            raise ScorerError(f"assisted generation failed: {' '.join(str(error).split())[:300]}") from None
        new = output.sequences[0, tokens.shape[1] :].tolist()
        log_probs = [float(x[0].float().log_softmax(-1)[t]) for x, t in zip(output.logits, new, strict=False)]
        self.usage.generated_tokens += len(new)
        return self._generation(new, log_probs, ())

    def _hf_tokenizer(self) -> Any:
        assert isinstance(self.tokenizer, HFTokenizer)
        return self.tokenizer.tokenizer


def _context(model: Any) -> int | None:
    """The longest sequence that the model was made for; None where its configuration names none."""
    limit = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def _cache(state: Any) -> Any:
    """The library's cache around a state, without a copy."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = DynamicCache()
    for keys, values in state or ():
        layer = DynamicLayer()
        if keys is not None:
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def _each(function: Any, state: Any) -> Any:
    return tuple((None, None) if keys is None else (function(keys), function(values)) for keys, values in state)
