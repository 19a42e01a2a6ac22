"""Greedy decoding with a draft against without one, ours and Hugging Face's: the same text, four tokens guessed ahead.

The expert is the draft under blocks that add nothing to it, so it takes more than 12 times as long and agrees with every
guess. That is the upper end of what a draft saves; weights that were not trained together have no middle. A draft of
other weights, with which it agrees on nothing, is the lower end.
"""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from torch import Tensor

from elegans.benchmarks import peers
from elegans.benchmarks.harness import Case, Contender, Goal, make_clock
from elegans.models.base import SequenceModel
from elegans.models.registry import build
from elegans.ops.rng import torch_rng
from elegans.reasoning import LanguageModel, greedy, speculate, zoo_model
from elegans.studies.contrastive_mcts.speculation import padded

VOCAB, WIDTH, BLOCKS, NUM_PROMPT, NUM_NEW, GAMMA = 256, 64, 24, 16, 64, 4


def seconds(model: LanguageModel, num: int, repeats: int = 15) -> float:
    """Of a pass over so many tokens after as many as the prompt has, the median."""
    clock, times = make_clock(model.device, torch.get_num_threads()), []
    tokens = torch.zeros(1, NUM_PROMPT + num, dtype=torch.long, device=model.device)
    _, state = model.extend(tokens[:, num:])
    for _ in range(repeats):
        begun = clock()
        model.extend(tokens[:, :num], state)
        times.append(clock() - begun)
    return median(times)


def ours(
    name: str, expert: LanguageModel, draft: LanguageModel, prompt: list[int], num: int, goal: Goal | None = None
) -> Contender:
    """With a draft.

    Its facts: `passes` of the expert; `latency`, the time of a pass of the expert over one token in passes of the draft;
    `predicted`, what these latencies and the counts of passes say of the time, in percent of that without a draft.
    """
    one, check, guess = seconds(expert, 1), seconds(expert, GAMMA + 1), seconds(draft, 1)
    stats = speculate(expert, draft, prompt, max_tokens=num, gamma=GAMMA).stats
    predicted = (stats.expert_calls * check + stats.drafted * guess) / (num * one)
    return Contender(
        name=name,
        call=lambda: speculate(expert, draft, prompt, max_tokens=num, gamma=GAMMA).tokens,
        values=as_numbers,
        goal=goal,
        facts={"passes": stats.expert_calls, "latency": round(one / guess), "predicted": round(100 * predicted)},
    )


def theirs(expert: SequenceModel, draft: SequenceModel | None, prompt: list[int], num: int) -> Callable[[], list[int]]:
    """Hugging Face's greedy or assisted generation by models of the same weights."""
    large: Any = peers.copy_of(expert).eval()
    settings: dict[str, Any] = {"max_new_tokens": num, "do_sample": False, "use_cache": True}
    if draft is not None:
        small: Any = peers.copy_of(draft).eval()
        settings["assistant_model"] = small
        small.generation_config.update(
            num_assistant_tokens=GAMMA, num_assistant_tokens_schedule="constant", assistant_confidence_threshold=0.0
        )
    tokens = torch.tensor([prompt], device=large.device)

    @torch.inference_mode()
    def generate() -> list[int]:
        return large.generate(tokens, attention_mask=torch.ones_like(tokens), **settings)[0, len(prompt) :].tolist()

    return generate


def as_numbers(tokens: list[int]) -> list[Tensor]:
    """Tokens as something to compare."""
    return [torch.tensor(tokens, dtype=torch.double)]


def cases(quick: bool, device: torch.device) -> Iterator[Case]:
    """One text by a model of 24 blocks and a draft of one."""
    blocks, num = (3, 12) if quick else (BLOCKS, NUM_NEW)
    sizes: dict[str, Any] = {"vocab": VOCAB, "width": WIDTH, "depth": 1, "context": NUM_PROMPT + NUM_NEW}
    draft, other = (build("gpt", **sizes, std=0.4, embedding_std=0.5, seed=seed).to(device).eval() for seed in (0, 1))
    expert = padded(draft, blocks)
    slow = zoo_model(expert)
    prompt = torch.randint(VOCAB, (NUM_PROMPT,), generator=torch_rng("benchmark", "speculation")).tolist()
    with peers.quiet():
        has = peers.has_transformers()
        yield Case(
            name=f"gpt, D{WIDTH} L{blocks} by L1",
            contenders=(
                Contender(
                    name="greedy",
                    call=lambda: greedy(slow, prompt, max_tokens=num).tokens,
                    values=as_numbers,
                    facts={"passes": num},
                ),
                ours("drafted, all right", slow, zoo_model(draft), prompt, num, Goal(at_most=0.62)),
                ours("drafted, all wrong", slow, zoo_model(other), prompt, num),
                *(
                    Contender(
                        name=f"{peers.HF}, {how}",
                        call=theirs(expert, assistant, prompt, num) if has else None,
                        values=as_numbers,
                    )
                    for how, assistant in (("greedy", None), ("drafted", draft))
                ),
            ),
            tolerance=0.0,
        )
