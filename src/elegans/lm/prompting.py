"""What a language model says to a prompt: probabilities of given choices, greedy answers, scores of known answers.

Shapes: N prompts, W tokens asked for.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from elegans.lm.model import Net, TextModel
from elegans.lm.reading import Reading, begin, common_prefix
from elegans.lm.tokens import Item, LossOn, Tokens, as_batch, encode, encode_items, pad_id, require_fit, require_texts
from elegans.tasks.base import IGNORE, evaluating, token_nll


def few_shot_prompt(shots: Sequence[Item], query: str, *, instruction: str = "", separator: str = "\n") -> str:
    """The instruction (if any), the solved items and the query, with `separator` between them."""
    solved = [prompt + answer for prompt, answer in shots]
    return separator.join([*([instruction] if instruction else []), *solved, query])


def choice_log_probs(
    lm: TextModel, prompts: Sequence[str], choices: Sequence[str], *, batch_size: int = 32
) -> xr.DataArray:
    """Log-probability of each choice after each prompt, nats, summed over the tokens of the choice.

    A prompt is read once for all choices, and what all prompts begin with (the same shots) once for all prompts; the
    numbers are those of reading every prompt + choice by itself. A choice brings its own leading space; see
    `elegans.lm.tokens.encode_items` for where its tokens start.

    Returns:
        Dimensions (item, choice), with `num_tokens` of each pair as a coordinate.

    Raises `ValueError` for no prompts, a prompt without tokens and a text longer than the model's context.
    """
    items = [_texts(lm, number, prompt, choices) for number, prompt in enumerate(require_texts(prompts))]
    heads = [_head(number, texts) for number, texts in enumerate(items)]
    found = np.zeros((len(items), len(choices)))
    with evaluating(lm.model):
        shared, first = begin(lm, heads)
        for batch in _batches([len(ids) for ids in heads], batch_size):
            logits, read = first.select([0] * len(batch)).extend([heads[i][shared:] for i in batch])
            opening = _log_softmax(logits)
            for choice in range(len(choices)):
                tails = [_after(items[i][choice], len(heads[i])) for i in batch]
                found[batch, choice] = _tail_log_probs(tails, opening, read).numpy()
    counts = [[len(ids) - start for ids, start in texts] for texts in items]
    coords = {"item": np.arange(len(items)), "choice": list(choices), "num_tokens": (("item", "choice"), counts)}
    return xr.DataArray(found, coords, ("item", "choice"), name="log_prob")


def next_log_probs(
    lm: TextModel, prompts: Sequence[str], tokens: Sequence[int], *, batch_size: int = 32
) -> Float[Tensor, "N W"]:
    """Log-probability, nats, of each of `tokens` as the one that follows each prompt."""
    rows = _prompts(lm, prompts)
    found = torch.zeros(len(rows), len(tokens), dtype=torch.float64)
    with evaluating(lm.model):
        shared, first = begin(lm, rows)
        for batch in _batches([len(ids) for ids in rows], batch_size):
            logits, _ = first.select([0] * len(batch)).extend([rows[i][shared:] for i in batch])
            found[batch] = _log_softmax(logits)[:, list(tokens)].double()
    return found


def answers(
    lm: TextModel, prompts: Sequence[str], *, max_new_tokens: int, stop: Sequence[str] = (), batch_size: int = 32
) -> list[str]:
    """What the model goes on with after each prompt, by greedy decoding, without surrounding white space.

    An answer ends before the first `stop` string, at the model's end of text, or after `max_new_tokens`. Options of the
    checkpoint for generation (sampling, penalties) are not used. A batch gives what each prompt gives by itself.

    Raises `ValueError` for no prompts, a prompt without tokens and one that leaves no room in the model's context.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    rows = _prompts(lm, prompts, room=max_new_tokens - 1)
    ends, texts = _end_tokens(lm), [""] * len(rows)
    with evaluating(lm.model):
        shared, first = begin(lm, rows)
        for batch in _batches([len(ids) for ids in rows], batch_size):
            said: dict[int, list[int]] = {i: [] for i in batch}
            logits, read = first.select([0] * len(batch)).extend([rows[i][shared:] for i in batch])
            for left in reversed(range(max_new_tokens)):
                going = []
                for row, (i, token) in enumerate(zip(batch, logits.argmax(-1).tolist(), strict=True)):
                    said[i] += [] if token in ends else [token]
                    texts[i] = lm.tokenizer.decode(said[i], skip_special_tokens=True)
                    if token not in ends and not any(mark in texts[i] for mark in stop):
                        going.append(row)
                if not (going and left):
                    break
                batch = [batch[row] for row in going]
                logits, read = read.select(going).extend([said[i][-1:] for i in batch])
    return [_before(text, stop).strip() for text in texts]


def score_answers(
    lm: TextModel, items: Sequence[Item], *, loss_on: LossOn = "answer", batch_size: int = 32
) -> xr.Dataset:
    """How well known answers are predicted, by item: `nll` (nats, all tokens of the answer), `accuracy`, `num_tokens`.

    `accuracy` is 1 where every token is the most likely one given the true ones before, so that greedy decoding says
    exactly this answer.
    """
    tokens = encode_items(lm.tokenizer, require_texts(items), loss_on=loss_on)
    require_fit((len(ids) - 1 for ids, _ in tokens), lm.context)
    return score_tokens(lm.net, tokens, pad_id(lm.tokenizer), loss_on=loss_on, batch_size=batch_size)


def score_tokens(net: Net, items: Sequence[Tokens], pad: int, *, loss_on: LossOn, batch_size: int) -> xr.Dataset:
    """`score_answers` of items that are tokens already."""
    found = {name: np.zeros(len(items)) for name in ("nll", "accuracy", "num_tokens")}
    device = next(net.parameters()).device
    with evaluating(net):
        for batch in _batches([len(ids) for ids, _ in items], batch_size):
            logits, targets = net.scored(as_batch([items[i] for i in batch], pad, loss_on).to(device))
            scored = targets != IGNORE
            right = (logits.argmax(-1) == targets) | ~scored
            found["nll"][batch] = token_nll(_upcast(logits), targets).sum(-1).cpu().numpy()
            found["accuracy"][batch] = right.all(-1).cpu().numpy()
            found["num_tokens"][batch] = scored.sum(-1).cpu().numpy()
    return xr.Dataset({name: ("item", values) for name, values in found.items()})


def _texts(lm: TextModel, number: int, prompt: str, choices: Sequence[str]) -> list[Tokens]:
    try:
        texts = encode_items(lm.tokenizer, [(prompt, choice) for choice in require_texts(choices)])
        require_fit((len(ids) - 1 for ids, _ in texts), lm.context, "choice")
    except ValueError as error:
        raise ValueError(f"prompt {number}: {error}") from None
    return texts


def _head(number: int, texts: Sequence[Tokens]) -> list[int]:
    """The tokens in front of all choices: those of the prompt, but for what a choice is merged with."""
    head = texts[0].ids[: common_prefix([ids for ids, _ in texts], min(start for _, start in texts))]
    if not head:
        raise ValueError(f"prompt {number} has no token that all choices could follow")
    return head


def _after(text: Tokens, length: int) -> Tokens:
    return Tokens(text.ids[length:], text.start - length)


def _tail_log_probs(tails: Sequence[Tokens], opening: Float[Tensor, "B V"], read: Reading) -> Float[Tensor, " B"]:
    """Of the choices' tokens in each tail, given the log-probabilities of its first token and what stands before."""
    first = opening[torch.arange(len(tails)), torch.tensor([ids[0] for ids, _ in tails])]
    total = first * torch.tensor([start == 0 for _, start in tails])
    longer = [row for row, (ids, _) in enumerate(tails) if len(ids) > 1]
    if longer:
        rest = as_batch([tails[row] for row in longer], 0)
        logits, _ = read.select(longer).extend([tails[row].ids[:-1] for row in longer], last=False)
        total[longer] -= token_nll(_upcast(logits), rest.targets.to(logits.device)).sum(-1).cpu()
    return total


def _prompts(lm: TextModel, prompts: Sequence[str], room: int = 0) -> list[list[int]]:
    rows = encode(lm.tokenizer, require_texts(prompts))
    for number, ids in enumerate(rows):
        if not ids:
            raise ValueError(f"prompt {number} ({prompts[number]!r}) has no token")
    require_fit((len(ids) + room for ids in rows), lm.context, "prompt")
    return rows


def _batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Items of like length together."""
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {size}")
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for at in range(0, len(order), size):
        yield order[at : at + size]


def _upcast(logits: Float[Tensor, "... V"]) -> Float[Tensor, "... V"]:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _log_softmax(logits: Float[Tensor, "N V"]) -> Float[Tensor, "N V"]:
    return _upcast(logits).log_softmax(-1).cpu()


def _end_tokens(lm: TextModel) -> set[int]:
    named = getattr(getattr(lm.bare, "generation_config", None), "eos_token_id", None)
    several = named if isinstance(named, list) else [named]
    return {token for token in (lm.tokenizer.eos_token_id, *several) if token is not None}


def _before(text: str, marks: Sequence[str]) -> str:
    return text[: min((text.find(mark) for mark in marks if mark in text), default=len(text))]
