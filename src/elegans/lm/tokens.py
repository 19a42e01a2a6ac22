"""Text to tokens: small tokenizers over a given vocabulary, and prompts with answers as batches.

Works with every fast tokenizer. Rows are padded on the right, and `Batch` needs no mask: a causal model does not see what
comes later, so pads change nothing before them, and their targets are `IGNORE`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from elegans.lm.model import TextModel, library
from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE, Batch

Item = tuple[str, str]
"""A prompt and its answer. The text is one right after the other, so an answer brings its own leading space."""
LossOn = Literal["answer", "all"]


class Tokens(NamedTuple):
    """An item as tokens; those from `start` on are the answer's."""

    ids: list[int]
    start: int


def word_tokenizer(words: Iterable[str], *, pad: str = "<pad>", eos: str = "<eos>") -> Any:
    """A tokenizer of words between white space: token 0 is `pad`, 1 is `eos`, then the words in their order.

    There is no unknown token: a word that is not in the vocabulary raises. Decoding joins with single spaces. Raises
    `ValueError` for a word that is empty or has white space in it.
    """
    words = list(words)
    for word in words:
        if len(word.split()) != 1 or word.strip() != word:
            raise ValueError(f"a word is not empty and has no white space, got {word!r}")
    tokenizers = library("tokenizers")
    return _whole_words(words, pad, eos, tokenizers.pre_tokenizers.WhitespaceSplit(), None)


def char_tokenizer(chars: Iterable[str], *, pad: str = "<pad>", eos: str = "<eos>") -> Any:
    """A tokenizer of characters, white space included: token 0 is `pad`, 1 is `eos`, then the characters in their order.

    There is no unknown token: a character that is not in the vocabulary raises. Decoding gives back the text. Raises
    `ValueError` for anything but single characters.
    """
    chars = list(chars)
    for char in chars:
        if len(char) != 1:
            raise ValueError(f"a vocabulary of characters has single characters only, got {char!r}")
    tokenizers = library("tokenizers")
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), behavior="isolated")
    return _whole_words(chars, pad, eos, split, tokenizers.decoders.Fuse())


def _whole_words(words: list[str], pad: str, eos: str, split: Any, decoder: Any) -> Any:
    tokenizers = library("tokenizers")
    if {pad, eos} & set(words) or pad == eos:
        raise ValueError(f"{pad!r} and {eos!r} are the names of two special tokens and of nothing else")
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys((pad, eos, *words)))}
    # The model needs the name of an unknown token; one outside of the vocabulary makes it raise.
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=""))
    tokenizer.pre_tokenizer = split
    if decoder is not None:
        tokenizer.decoder = decoder
    fast = library("transformers").PreTrainedTokenizerFast
    return fast(tokenizer_object=tokenizer, pad_token=pad, eos_token=eos, clean_up_tokenization_spaces=False)


def pad_id(tokenizer: Any) -> int:
    """What rows are filled up with; real tokenizers often have no pad token, and any token would do."""
    return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts that a model is to continue: with the tokenizer's first token (bos), without a last one (eos).

    Raises `ValueError` for a text with words that the vocabulary lacks.
    """
    return [ids for ids, _ in _encode(tokenizer, texts)]


def encode_items(tokenizer: Any, items: Sequence[Item], *, loss_on: LossOn = "answer") -> list[Tokens]:
    """The tokens of prompt + answer, tokenized as one text, and where the answer starts.

    The answer is every token that ends behind the prompt's last character, so a token across the boundary belongs to it.
    That happens where the space stands at the end of a prompt instead of at the start of the answer.

    Raises `ValueError`, which names the item, where an answer has no token or its first one stands in front of
    everything, so that nothing predicts it.
    """
    found = []
    encoded = _encode(tokenizer, [prompt + answer for prompt, answer in items])
    for number, ((prompt, answer), (ids, ends)) in enumerate(zip(items, encoded, strict=True)):
        start = next((at for at, end in enumerate(ends) if end > len(prompt)), len(ids))
        if start == len(ids):
            raise ValueError(f"item {number}: the answer {answer!r} has no token")
        if start == 0 and (loss_on == "answer" or len(ids) < 2):
            raise ValueError(f"item {number}: the prompt {prompt!r} has no token that the answer could follow")
        found.append(Tokens(ids, start))
    return found


def encode_pairs(tokenizer: Any, items: Sequence[Item], *, loss_on: LossOn = "answer") -> Batch:
    """Prompts with answers as one batch: scored are the tokens of the answer, or with ``all`` those of the prompt too.

    See `encode_items` for the boundary between the two and for what is refused.
    """
    return as_batch(encode_items(tokenizer, items, loss_on=loss_on), pad_id(tokenizer), loss_on)


def as_batch(items: Sequence[Tokens], pad: int, loss_on: LossOn = "answer") -> Batch:
    """Items side by side, filled up on the right."""
    if not items:
        raise ValueError("a batch needs at least one item")
    tokens = filled([ids[:-1] for ids, _ in items], pad)
    targets = filled([ids[1:] for ids, _ in items], IGNORE)
    if _checked(loss_on) == "answer":
        starts = torch.tensor([start for _, start in items])
        targets[torch.arange(targets.shape[1]) < starts[:, None] - 1] = IGNORE
    return Batch(tokens, targets)


class TextTask:
    """Items of different lengths as a task, for `elegans.training.fit`.

    A batch is as wide as its longest item. A split is gone through in a new random order again and again, so that every
    item comes up once before any comes up twice.
    """

    def __init__(self, lm: TextModel, splits: Mapping[str, Sequence[Item]], *, loss_on: LossOn = "answer") -> None:
        self.vocab_size, self.splits = lm.vocab_size, tuple(splits)
        self._pad = pad_id(lm.tokenizer)
        self._loss_on: LossOn = loss_on
        self.items: dict[str, list[Tokens]] = {}
        for name, items in splits.items():
            self.items[name] = encode_items(lm.tokenizer, items, loss_on=loss_on)
            require_fit((len(ids) - 1 for ids, _ in self.items[name]), lm.context, f"{name} item")

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        """The items number `step` * `size` to (`step` + 1) * `size` of an endless sequence of random orders."""
        items = self.items[split]
        if not items:
            raise ValueError(f"split {split!r} is empty, no batch can be drawn from it")
        places = [divmod(at, len(items)) for at in range(step * size, (step + 1) * size)]
        orders = {
            epoch: numpy_rng("text-order", split, seed, epoch).permutation(len(items))
            for epoch in {e for e, _ in places}
        }
        return as_batch([items[orders[epoch][at]] for epoch, at in places], self._pad, self._loss_on)

    def dataset(self, split: str) -> Batch:
        """All items of a split."""
        return as_batch(self.items[split], self._pad, self._loss_on)

    def chance(self, split: str) -> dict[str, float]:
        """What drawing each token from the vocabulary reaches."""
        scored = (self.dataset(split).targets != IGNORE).sum(1).double()
        mean, size = scored.mean().item(), float(self.vocab_size)
        return {"nll": mean * math.log(size), "accuracy": (size**-scored).mean().item()}


def filled(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of different lengths as one matrix of integers."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def require_fit(lengths: Iterable[int], context: int | None, what: str = "item") -> None:
    """Raise `ValueError` for a sequence of more tokens than the model was made for."""
    for number, length in enumerate(lengths):
        if context is not None and length > context:
            raise ValueError(f"{what} {number} takes {length} tokens, the model reads at most {context}")


def require_texts(texts: Sequence[Any]) -> Sequence[Any]:
    """The texts. Raises `ValueError` for none, and for one text in place of a list."""
    if isinstance(texts, str) or not len(texts):
        raise ValueError(f"expected a list of at least one text, got {texts!r}")
    return texts


def _checked(loss_on: LossOn) -> LossOn:
    if loss_on not in get_args(LossOn):
        raise ValueError(f"loss_on must be one of {', '.join(get_args(LossOn))}, got {loss_on!r}")
    return loss_on


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """Per text: its tokens, and for each the character before which it ends."""
    if not texts:
        return []
    try:
        found = tokenizer(
            list(texts),
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            verbose=False,
        )
    except Exception as error:
        raise ValueError(_unknown(tokenizer, texts) or f"a text cannot be tokenized: {error}") from None
    rows = []
    for ids, spans, special in zip(
        found["input_ids"], found["offset_mapping"], found["special_tokens_mask"], strict=True
    ):
        length = len(ids)
        while length and special[length - 1] and spans[length - 1] == (0, 0):
            length -= 1
        rows.append((ids[:length], [end for _, end in spans[:length]]))
    return rows


def _unknown(tokenizer: Any, texts: Sequence[str]) -> str | None:
    """What is wrong with the first text that has a word outside of a vocabulary of words."""
    backend, vocabulary = tokenizer.backend_tokenizer, tokenizer.get_vocab()
    if type(backend.model).__name__ != "WordLevel" or backend.pre_tokenizer is None:
        return None
    special = "|".join(map(re.escape, tokenizer.all_special_tokens)) or r"(?!)"
    for number, text in enumerate(texts):
        for part in re.split(special, text):
            for word, _ in backend.pre_tokenizer.pre_tokenize_str(part):
                if word not in vocabulary:
                    return f"text {number}: {word!r} is not in the vocabulary"
    return None
