"""Problems solved by dynamic programming, with the table written out as a chain of thought or with the answer alone.

Sources: Feng et al. 2023 (arXiv 2305.15408); Ren et al. 2024 (arXiv 2410.03810). Shapes: B batch, T positions, N
problems, P tokens of a prompt, C of a chain, A of an answer, O of an output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from elegans.ops.rng import numpy_rng
from elegans.tasks.base import IGNORE, Batch, facts
from elegans.tasks.stream import StreamTask, concatenate, constant
from elegans.tasks.words import check_range

if TYPE_CHECKING:
    import xarray as xr

View = Literal["cot", "direct"]

PAD, SEP, EOS, FIRST = 0, 1, 2, 3
"""Padding; the end of the question and of a line of the chain (``=``); the end of the output; the first other token."""

PARTS = 8
"""A hash divides all prompts into so many parts: one is the split ``test``, one ``select``, the others ``train``."""


@dataclass(frozen=True)
class Problems:
    """Problems with a solution each, as tokens.

    Attributes:
        prompts: [N, P] questions, padded in front, with `SEP` at the end.
        chains: [N, C] what is written between question and answer, padded at the end; no token of it is `PAD`.
        answers: [N, A] answers, all of one length.
    """

    prompts: np.ndarray
    chains: np.ndarray
    answers: np.ndarray

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, index: np.ndarray) -> Problems:
        """The problems at `index`, a mask or numbers."""
        return Problems(self.prompts[index], self.chains[index], self.answers[index])

    @staticmethod
    def join(parts: list[Problems]) -> Problems:
        """The problems of several lists, in order."""
        return Problems(*(np.concatenate([getattr(p, name) for p in parts]) for name in Problems.__annotations__))


class DynamicProgram(StreamTask):
    """Question, chain of thought, answer; a subclass says what is asked (`sample`) and how it is solved (`solve`).

    A sequence is the question, padded in front so that all questions end at the same place, and the output: in the view
    ``cot`` chain, answer and `EOS`, in the view ``direct`` answer and `EOS`; then padding. The output is scored, the
    question is not. Both views draw the same questions.

    A prompt belongs to one split by a hash of its tokens and `seed`, so ``test`` and ``select`` (for stopping and
    choosing) hold no prompt of ``train``, and batch t still needs no history.

    Attributes:
        prompt_length: P. Sequences have P + `output_length` - 1 input tokens.
        output_length: O, the longest possible output of the view; how many tokens to generate.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        prompt_length: int,
        chain_length: int,
        answer_length: int = 1,
        view: View,
        n_eval: int,
        seed: int,
    ) -> None:
        if view not in ("cot", "direct"):
            raise ValueError(f"view must be 'cot' or 'direct', got {view!r}")
        self.view, self.prompt_length, self.answer_length = view, prompt_length, answer_length
        self.output_length = (chain_length if view == "cot" else 0) + answer_length + 1
        self._salt = numpy_rng(self.address, "split", seed).integers(1, 2**63, 1).astype(np.uint64)
        super().__init__(vocab_size, n_eval=n_eval, seed=seed)

    # ------------------------------------------------------------------------------------------ what a task defines

    def sample(self, rng: np.random.Generator, size: int) -> Problems:
        """About `size` random problems, of all splits."""
        raise NotImplementedError

    def solve(self, prompts: np.ndarray) -> Problems:
        """The problems of prompts [N, P], each with its chain (one legal chain, where there are several)."""
        raise NotImplementedError

    @property
    def locality(self) -> int:
        """m: from a token of the chain at most so many tokens back stands every token it is computed from."""
        raise NotImplementedError

    # --------------------------------------------------------------------------------------------------------- use

    def prompts(self, split: str, n: int) -> Int[Tensor, "N P"]:
        """The questions of the first `n` items of `dataset(split)`, for free-running decoding."""
        check_range("n", n, 1, self.n_eval, "n_eval")
        return self.dataset(split).tokens[:n, : self.prompt_length]

    def verify(self, prompts: Int[Tensor, "N P"], generated: Int[Tensor, "N O"]) -> xr.Dataset:
        """What is right in outputs generated after `prompts`; tokens after the first `EOS` do not count.

        Per item: `answer`, 1 if the tokens before `EOS` are the answer, whatever came before; and in the view ``cot``
        `chain`, 1 if every line of the chain is right and so are answer and end; `progress`, the share of the output
        before the first mistake.
        """
        import xarray as xr

        truth = self.solve(prompts.cpu().numpy())
        given = self._until_eos(generated.cpu().numpy())
        end = (given == EOS).argmax(1)  # 0 without EOS
        start = np.maximum(end - self.answer_length, 0)[:, None]
        said = np.take_along_axis(given, start + np.arange(self.answer_length), axis=1)
        found = {"answer": (said == truth.answers).all(1) & (end >= self.answer_length)}
        if self.view == "cot":
            progress = self._progress(truth, given)
            found |= {"chain": progress == 1, "progress": progress}
        return xr.Dataset({name: ("item", np.asarray(value, dtype=float)) for name, value in found.items()})

    def chance(self, split: str) -> Mapping[str, float]:
        """`answer`: the share of the most frequent answer among the fixed items; `nll` of a guess among all tokens."""
        answers = self.solve(self.dataset(split).tokens[:, : self.prompt_length].numpy()).answers
        most = np.unique(answers, axis=0, return_counts=True)[1].max() / len(answers)
        return {"nll": self._uniform_nll(split), "answer": float(most)}

    def problems(self, split: str, size: int, rng: np.random.Generator) -> Problems:
        """`size` problems of a split. Raises `ValueError` if it seems to have none."""
        share = (PARTS - 2 if split == "train" else 1) / PARTS
        parts, missing = [], size
        for _ in range(200):
            drawn = self.sample(rng, int(1.1 * missing / share) + 16)
            parts.append(drawn.take(self._in_split(drawn.prompts, split)))
            missing -= len(parts[-1])
            if missing <= 0:
                return Problems.join(parts).take(np.arange(size))
        raise ValueError(f"found {size - missing} of {size} problems for split {split!r}; there are too few prompts")

    # --------------------------------------------------------------------------------------------------- machinery

    def outputs(self, problems: Problems) -> np.ndarray:
        """[N, O] what should follow each prompt in this view, padded at the end."""
        size = len(problems)
        chain = [(problems.chains, (problems.chains != PAD).sum(1))] if self.view == "cot" else []
        pieces = [*chain, (problems.answers, self.answer_length), (constant(size, EOS), 1)]
        return concatenate(pieces, width=self.output_length, fill=PAD)

    def _draw(self, split: str, size: int, step: int, rng: np.random.Generator) -> Batch:
        problems = self.problems(split, size, rng)
        items = facts(torch.from_numpy(problems.prompts), torch.from_numpy(self.outputs(problems)))
        return Batch(items.tokens, items.targets.where(items.targets != PAD, IGNORE))

    def _progress(self, truth: Problems, given: np.ndarray) -> np.ndarray:
        """[N] share of the output before the first mistake, where only one output is right."""
        expected = self.outputs(truth)
        wrong = given != expected
        leading = np.where(wrong.any(1), wrong.argmax(1), self.output_length)
        return np.minimum(leading / (expected != PAD).sum(1), 1)

    def _until_eos(self, generated: np.ndarray) -> np.ndarray:
        """Generated tokens [N, O], padded after the first `EOS` and where fewer were given."""
        given = np.full((len(generated), self.output_length), PAD, dtype=np.int64)
        width = min(self.output_length, generated.shape[1])
        given[:, :width] = generated[:, :width]
        ended = np.cumsum(given == EOS, axis=1) - (given == EOS) > 0
        return np.where(ended, PAD, given)

    def _in_split(self, prompts: np.ndarray, split: str) -> np.ndarray:
        part = _hash(prompts, self._salt) % np.uint64(PARTS)
        return part > 1 if split == "train" else part == (split == "test")


def _hash(prompts: np.ndarray, salt: np.ndarray) -> np.ndarray:
    """[N] 64-bit hashes of rows of tokens: each token is added and mixed in by a round of splitmix64."""
    found = np.repeat(salt, len(prompts))
    for token in prompts.astype(np.uint64).T:
        found = found + token + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found = found ^ (found >> np.uint64(31))
    return found
