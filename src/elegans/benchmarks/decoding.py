"""One more token after a long context against a short one: what a recurrent state saves over a cache.

The goal: time and memory of recurrent models do not depend on what they have read.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from elegans.benchmarks.harness import Case, Contender, Goal
from elegans.models.base import SequenceModel
from elegans.models.registry import build
from elegans.ops.rng import torch_rng

VOCAB, WIDTH, DEPTH, SHORT, LONG = 256, 64, 2, 64, 4096
RECURRENT = ("mamba", "rwkv4")


@torch.inference_mode()
def contender(model: SequenceModel, tokens: Tensor, goal: Goal | None = None) -> Contender:
    """The step to the last of the tokens; its logits must be those of the parallel form."""
    _, state = model.extend(tokens[:, :-1], model.init_state(1))

    @torch.inference_mode()
    def step() -> list[Tensor]:
        return [model.step(tokens[:, -1], state)[0]]

    @torch.inference_mode()
    def parallel() -> list[Tensor]:
        return [model(tokens)[:, -1]]

    read = tokens.shape[1] - 1
    facts = {"state_bytes": model.state_bytes(read)}
    return Contender(name=f"after {read:,} tokens", call=step, expected=parallel, goal=goal, facts=facts)


def compare(name: str, long: int, device: torch.device) -> Case:
    """A case of one model, batch 1."""
    own: dict[str, Any] = {"gpt": {"context": long + 1}, "rwkv4": {"matrices": "orthogonal"}}.get(name, {})
    model = build(name, vocab=VOCAB, width=WIDTH, depth=DEPTH, **own).to(device).eval()
    tokens = torch.randint(VOCAB, (1, long + 1), generator=torch_rng("benchmark", "decoding")).to(device)
    goal = Goal(at_most=1.2) if name in RECURRENT else None
    return Case(
        name=f"{name}, D{WIDTH} L{DEPTH}",
        contenders=(contender(model, tokens[:, : SHORT + 1]), contender(model, tokens, goal)),
        tolerance=1e-4,
    )


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """The recurrent models, and attention with its cache for contrast."""
    for name in (*RECURRENT, "gpt"):
        yield compare(name, 256 if quick else LONG, device)
