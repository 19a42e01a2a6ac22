"""Questions about a part of a line: what a model answers, with all edges and without some, and what flows into it.

Works with every fast tokenizer: parts are found by characters. Shapes: N questions, C options, B sequences, T tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Int
from torch import Tensor, nn

from elegans.ops.rng import numpy_rng
from elegans.probes.flow import Edges, attention_knockout, edge_flow, saliency_flow
from elegans.tasks.base import IGNORE, evaluating, token_nll
from elegans.tasks.hybrid.formats import PARTS, Line, Piece

ANSWER, ROWS = "answer", "rows"
SOURCES = {
    "text": "text",
    "entity": "entities",
    "copy": "spans",
    "type": "types",
    "label": "label",
    "marker": "markers",
}
"""The parts that flow comes from, as figures name them."""


@dataclass(frozen=True)
class Question:
    """A text that an answer follows after a space; `pieces` are the parts of the text, in characters."""

    text: str
    pieces: tuple[Piece, ...]
    answer: str

    def after(self, prefix: str) -> "Question":
        """The same behind a prefix, which is no part."""
        shift = len(prefix)
        return Question(
            prefix + self.text, tuple(Piece(p, a + shift, b + shift) for p, a, b in self.pieces), self.answer
        )


def question(line: Line, part: Literal["label", "type"]) -> Question:
    """A line up to the first label or type that is to be predicted. Raises `ValueError` where it predicts none."""
    for number, (name, start, end) in enumerate(line.pieces):
        if name == part and start >= line.prompt_end:
            return Question(line.text[: start - 1], line.pieces[:number], line.text[start:end])
    raise ValueError(f"the line {line.text!r} does not predict a {part}")


class Sheet(NamedTuple):
    """Questions with answers as tokens, padded on the right.

    `targets` holds at each position the answer's token that follows, or `IGNORE`. `groups` says which tokens belong to
    each of `PARTS`, to the ``answer``, and which are the ``rows`` that predict it; a token belongs to the part that its
    last character is in.
    """

    tokens: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    groups: dict[str, Bool[Tensor, "B T"]]


def sheet(tokenizer: Any, questions: Sequence[Question], answers: Sequence[str]) -> Sheet:
    """Each question with an answer."""
    texts = [f"{q.text} {answer}" for q, answer in zip(questions, answers, strict=True)]
    found = tokenizer(texts, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
    shape = len(texts), max(map(len, found["input_ids"]))
    tokens, parts = np.zeros(shape, dtype=np.int64), np.full(shape, -1)
    for row, (asked, ids, spans) in enumerate(zip(questions, found["input_ids"], found["offset_mapping"], strict=True)):
        part_of = np.full(len(texts[row]) + 1, -1)  # the last entry is that of tokens without characters
        for part, start, end in asked.pieces:
            part_of[start:end] = PARTS.index(part)
        part_of[len(asked.text) : -1] = len(PARTS)
        tokens[row, : len(ids)] = ids
        parts[row, : len(ids)] = part_of[[end - 1 for _, end in spans]]
    groups = {name: torch.from_numpy(parts == i) for i, name in enumerate((*PARTS, ANSWER))}
    groups[ROWS] = groups[ANSWER].roll(-1, 1)
    groups[ROWS][:, -1] = False
    if not (groups[ANSWER].any(1) & ~groups[ANSWER][:, 0]).all():
        raise ValueError("an answer has no token, or nothing stands before it")
    ids = torch.from_numpy(tokens)
    return Sheet(ids, torch.where(groups[ROWS], ids.roll(-1, 1), IGNORE), groups)


# ---------------------------------------------------------------------------------------------------- edges

Cut = Callable[[Sheet, Sequence[int]], Edges]
"""Which edges to cut, of a sheet and the numbers of its questions."""


def out_of(*parts: str) -> Cut:
    """All edges out of the tokens of some parts, but for those among themselves."""

    def cut(page: Sheet, _: Sequence[int]) -> Edges:
        keys = torch.stack([page.groups[part] for part in parts]).any(0)
        return Edges(keys, _later(keys) & ~keys)

    return cut


def out_of_text(*parts: str, seed: int) -> Cut:
    """The control of `out_of`: as many random tokens of the text in place of those of the parts, to the same queries.

    Where the parts stand behind the text these are at least as many edges. Each question has its own tokens, whatever
    it is answered with.
    """

    def cut(page: Sheet, numbers: Sequence[int]) -> Edges:
        own = torch.stack([page.groups[part] for part in parts]).any(0)
        keys = torch.zeros_like(own)
        for row, number in enumerate(numbers):
            text = page.groups["text"][row].nonzero()[:, 0].numpy()
            count = min(int(own[row].sum()), len(text))
            rng = numpy_rng("mutual-reinforcement", "edges", seed, number)
            keys[row, rng.choice(text, count, replace=False)] = True
        return Edges(keys, _later(own) & ~own & ~keys)

    return cut


def _later(keys: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """The positions behind the first one."""
    return keys.cumsum(1) > 0


# ---------------------------------------------------------------------------------------------------- measurements


def log_probs(
    net: nn.Module,
    tokenizer: Any,
    questions: Sequence[Question],
    options: Sequence[str],
    *,
    cut: Cut | None = None,
    batch_size: int = 256,
) -> np.ndarray:
    """Log-probability of each option as the answer to each question, nats, summed over its tokens: [N, C].

    Args:
        net: a model with sites, ``TextModel.adapted``.
        tokenizer: of the model.
        questions, options: see above.
        cut: the edges that carry nothing.
        batch_size: sequences per pass.
    """
    single = _single_tokens(tokenizer, questions[0], options)
    asked = [(number, option) for number in range(len(questions)) for option in (options[:1] if single else options)]
    found = np.zeros((len(questions), len(options)))
    place = {option: column for column, option in enumerate(options)}
    device = next(net.parameters()).device
    for at in range(0, len(asked), batch_size):
        numbers, answers = zip(*asked[at : at + batch_size], strict=True)
        page = sheet(tokenizer, [questions[number] for number in numbers], answers)
        with evaluating(net), attention_knockout(net, cut(page, numbers)) if cut else nullcontext():
            logits = net(page.tokens.to(device)).float().cpu()
        if single:
            rows = page.groups[ROWS].int().argmax(1)
            chosen = logits[torch.arange(len(rows)), rows].log_softmax(-1)[:, single]
            found[list(numbers)] = chosen.numpy()
        else:
            found[list(numbers), [place[answer] for answer in answers]] = (
                -token_nll(logits, page.targets).sum(1).numpy()
            )
    return found


def _single_tokens(tokenizer: Any, asked: Question, options: Sequence[str]) -> list[int]:
    """The token of each option where all have one, else nothing; one pass then serves all options."""
    page = sheet(tokenizer, [asked] * len(options), options)
    if (page.groups[ANSWER].sum(1) > 1).any():
        return []
    return page.tokens[page.groups[ANSWER]].tolist()


def answer_flow(net: nn.Module, tokenizer: Any, questions: Sequence[Question], *, batch_size: int = 256) -> xr.Dataset:
    """Saliency flow into the rows that predict the true answers, and between the parts of the lines; means over questions.

    ============ ================================================================================
    `mean`       per edge from a part into the answer's rows, (source, layer)
    `share`      of all flow into these rows, (source, layer)
    `uniform`    the share if all edges into these rows carried alike, (source,)
    `map`        flow per edge between parts over that of an average edge, (source, target, layer)
    ============ ================================================================================

    Parts that the lines do not have are NaN.
    """
    parts: list[xr.Dataset] = []
    for at in range(0, len(questions), batch_size):
        some = questions[at : at + batch_size]
        parts.append(_flow(net, sheet(tokenizer, some, [q.answer for q in some])))
    return xr.concat(parts, "item").mean("item", skipna=True)


def _flow(net: nn.Module, page: Sheet) -> xr.Dataset:
    targets = page.targets.to(next(net.parameters()).device)
    flow = saliency_flow(net, page.tokens, lambda logits: -token_nll(logits.float(), targets).sum(1))
    rows, real = page.groups[ROWS], torch.stack([*page.groups.values()]).any(0)
    sources: Mapping[str, Tensor] = {label: page.groups[name] for name, label in SOURCES.items()}
    into = edge_flow(flow, {"all": (real, rows), **{name: (mask, rows) for name, mask in sources.items()}})
    every, own = into.sel(group="all", drop=True), into.sel(group=list(sources)).rename(group="source")
    ends = {**{name: mask & ~rows for name, mask in sources.items()}, ANSWER: rows}
    pairs = {f"{a}>{b}": (keys, queries) for a, keys in sources.items() for b, queries in ends.items()}
    between = edge_flow(flow, {"all": (real, real), **pairs})["mean"]
    ratio = (between.sel(group=list(pairs)) / between.sel(group="all", drop=True)).to_numpy()
    return xr.Dataset(
        {
            "mean": own["mean"],
            "share": own["share"] / every["share"],
            "uniform": (own["uniform"] / every["uniform"]).isel(layer=0, drop=True),
            "map": (("source", "target", "layer", "item"), ratio.reshape(len(sources), len(ends), *ratio.shape[1:])),
        },
        coords={"target": list(ends)},
    )
