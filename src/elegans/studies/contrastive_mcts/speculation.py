"""Next states written with a draft and without, counted and timed in turn on one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
import xarray as xr

from elegans.lab.run import Run
from elegans.models.base import SequenceModel
from elegans.models.registry import build
from elegans.ops.rng import numpy_rng
from elegans.reasoning import speculative
from elegans.reasoning.decoding import greedy
from elegans.reasoning.lm import LanguageModel
from elegans.reasoning.zoo import zoo_model
from elegans.studies.contrastive_mcts.arms import SpeculationConfig
from elegans.studies.contrastive_mcts.prompting import problems
from elegans.studies.contrastive_mcts.training import trained
from elegans.tasks.blocksworld.notation import END, Compact
from elegans.tasks.blocksworld.words import Words, world_model_prompt
from elegans.tasks.blocksworld.world import blocksworld_of

MAX_TOKENS = 16
T = TypeVar("T")


def speculate(config: SpeculationConfig, seed: int, run: Run) -> xr.Dataset:
    """For each pair of models: `speedup` in seconds, what counts `predict`, whether the text is `identical`.

    Seconds are of this process on its core, the median over rounds of each state, then summed over states. Padding the
    expert with blocks that add nothing makes it slower without changing a word.
    """
    expert, draft, words = trained(run, "expert"), trained(run, "draft"), Words()
    untrained = build(**{**draft.recipe, "seed": 1_000_000 + seed})
    experts = {"deep": padded(expert, config.deep), "middle": padded(expert, config.middle), "as trained": expert}
    models = {name: zoo_model(model) for name, model in experts.items()}
    trained_draft = zoo_model(draft)
    variants: list[tuple[str, str, LanguageModel, int]] = [
        *((f"deep, {gamma} ahead", "deep", trained_draft, gamma) for gamma in config.gammas),
        ("deep, untrained draft", "deep", zoo_model(untrained), 4),
        ("deep, drafts for itself", "deep", zoo_model(experts["deep"]), 4),
        ("middle", "middle", trained_draft, 4),
        ("as trained", "as trained", trained_draft, 4),
    ]
    prompts = _prompts(words, config.states, seed)
    end = words.token(END)
    plain = np.empty((len(experts), len(prompts), config.rounds))
    assisted = np.empty((len(variants), len(prompts), config.rounds))
    written: dict[tuple[str, int], list[int]] = {}
    stats = [speculative.SpeculationStats() for _ in variants]
    same = np.zeros((len(variants), len(prompts)))
    for place, prompt in enumerate(prompts):
        run.progress(place, len(prompts))
        for turn in range(config.rounds):
            for row, (name, model) in enumerate(models.items()):
                plain[row, place, turn], text = _timed(
                    lambda m=model, p=prompt: greedy(m, p, max_tokens=MAX_TOKENS, ends=[end]).tokens
                )
                written[name, place] = text
            for row, (_, slow, quick, gamma) in enumerate(variants):
                assisted[row, place, turn], made = _timed(
                    lambda s=slow, q=quick, g=gamma, p=prompt: speculative.speculate(
                        models[s], q, p, max_tokens=MAX_TOKENS, gamma=g, ends=[end]
                    )
                )
                same[row, place] = made.tokens == written[slow, place]
                stats[row] += made.stats
    alone = [greedy(zoo_model(untrained), p, max_tokens=MAX_TOKENS, ends=[end]).tokens for p in prompts]
    slow_rows = [list(experts).index(slow) for _, slow, _, _ in variants]
    without = np.median(plain, -1).sum(-1)[slow_rows]
    lengths = {name: [len(written[name, place]) for place in range(len(prompts))] for name in experts}
    costs = [
        _predicted(models[slow], quick, gamma, lengths[slow], count, len(prompts[0]), config.rounds * len(prompts))
        for (_, slow, quick, gamma), count in zip(variants, stats, strict=True)
    ]
    return xr.Dataset(
        {
            "speedup": ("variant", without / np.median(assisted, -1).sum(-1)),
            "predicted": ("variant", [cost[0] for cost in costs]),
            "latency_ratio": ("variant", [cost[1] for cost in costs]),
            "identical": ("variant", same.mean(1)),
            "acceptance": ("variant", [count.acceptance for count in stats]),
            "tokens_per_call": ("variant", [count.tokens_per_expert_call for count in stats]),
            "identical_untrained": float(np.mean([alone[k] == written["deep", k] for k in range(len(prompts))])),
            "padding_error": _largest_difference(expert, experts["deep"], prompts[0]),
        },
        coords={"variant": [name for name, *_ in variants]},
    )


def padded(model: SequenceModel, depth: int) -> SequenceModel:
    """The same function in `depth` blocks (at least its own): those on top write zeros to the residual stream."""
    depth = max(depth, model.recipe["depth"])
    deep = build(**{**model.recipe, "depth": depth})
    weights = deep.state_dict() | model.state_dict()
    for name, value in weights.items():
        if name not in model.state_dict() and (".project_out." in name or ".down." in name):
            value.zero_()
    deep.load_state_dict(weights)
    return deep.to(next(model.parameters()).device).eval()


def _prompts(words: Words, count: int, seed: int) -> list[list[int]]:
    """A random action in the start of each of some problems with as many blocks, as tokens of one length or nearly so."""
    found = []
    for problem in problems("test", min(count, 4), max(0, count - 4)):
        world, rng = blocksworld_of(problem), numpy_rng("speculated-actions", problem.name, seed)
        actions = world.actions(problem.start)
        action = actions[int(rng.integers(len(actions)))]
        assert isinstance(world.notation, Compact)
        found.append(words.encode(world_model_prompt(world, problem.start, action)))
    return found


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    begun = time.process_time()
    made = call()
    return time.process_time() - begun, made


def _predicted(
    slow: LanguageModel,
    quick: LanguageModel,
    gamma: int,
    lengths: list[int],
    count: speculative.SpeculationStats,
    prompt: int,
    texts: int,
) -> tuple[float, float]:
    """What single passes and counts say of the speed-up, and the ratio of the latencies of one token."""
    rounds = max(1, texts // len(lengths))
    first, one, check, guess = (
        _latency(model, n) for model, n in ((slow, prompt), (slow, 1), (slow, gamma + 1), (quick, 1))
    )
    opening, drafts = _latency(slow, prompt + gamma), _latency(quick, prompt)
    plain = rounds * sum(first + (n - 1) * one for n in lengths)
    assisted = texts * (opening + drafts) + (count.expert_calls - texts) * check + (count.drafted - texts) * guess
    return plain / assisted, one / guess


def _latency(model: LanguageModel, tokens: int, repeats: int = 7) -> float:
    """Seconds of a pass over so many tokens after ten others, the median."""
    _, state = model.extend(torch.ones(1, 10, dtype=torch.long, device=model.device))
    some = torch.ones(1, tokens, dtype=torch.long, device=model.device)
    return float(np.median([_timed(lambda: model.extend(some, state))[0] for _ in range(repeats)]))


def _largest_difference(model: SequenceModel, other: SequenceModel, prompt: list[int]) -> float:
    tokens = torch.tensor([prompt], device=next(model.parameters()).device)
    with torch.inference_mode():
        return float((model(tokens) - other(tokens)).abs().max())
