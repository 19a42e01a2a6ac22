"""One training step of N models one after another, and of the same models as a vmapped `Ensemble`.

The correctness gate comes first: after the same steps the members have the weights of the single models.

Both are measured in one process, turn by turn, in CPU time; the table has medians. A ratio above 1 means that the stack
is faster. It supports `CPU_LIMIT` in `elegans.training.ensemble`.

    OMP_NUM_THREADS=1 python benchmarks/ensemble.py [--json] [--rounds 7]
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable

import torch

from elegans.models.registry import build
from elegans.tasks.base import Batch, facts
from elegans.training.ensemble import CPU_LIMIT, Ensemble
from elegans.training.loop import mean_nll
from elegans.training.optim import Optim

MODELS, WIDTHS, MEMBERS = ("bilinear", "one-layer", "gpt"), (8, 16, 32, 64), (4, 8)
ROUND_SECONDS = 0.05


def make(name: str, width: int, seed: int) -> torch.nn.Module:
    """A model of the size that a study would give it: for the theory models the width is that of the vocabulary."""
    if name == "gpt":
        return build("gpt", vocab=64, width=width, depth=2, heads=2, context=8, seed=seed)
    if name == "bilinear":
        return build("bilinear", vocab=64, width=width, init_std=0.1, seed=seed)
    return build("one-layer", vocab=width, seed=seed)


def items(vocab: int, seed: int) -> Batch:
    """64 prompts of 3 tokens, each with an answer of one."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocab, (64, 4), generator=generator)
    return facts(tokens[:, :3], tokens[:, 3:])


def stepper(model: torch.nn.Module, batch: Batch) -> Callable[[], None]:
    """A function that takes one training step."""
    optimizer = Optim(lr=1e-3).build(model)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        mean_nll(model, batch).sum().backward()
        optimizer.step()

    return step


def measure(step: Callable[[], None], repeats: int) -> float:
    """CPU seconds per call."""
    started = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - started) / repeats


def compare(name: str, width: int, members: int, rounds: int) -> dict[str, float | int | str]:
    models = [make(name, width, seed) for seed in range(members)]
    vocab = width if name == "one-layer" else 64
    batches = [items(vocab, seed) for seed in range(members)]
    together = Batch(torch.stack([b.tokens for b in batches]), torch.stack([b.targets for b in batches]))
    ensemble = Ensemble(models)
    stacked = stepper(ensemble, together)
    single = [stepper(model, batch) for model, batch in zip(models, batches, strict=True)]

    def loop() -> None:
        for step in single:
            step()

    for warm_up in (loop, stacked) * 3:
        warm_up()
    for alone, member in zip(models, ensemble.members(), strict=True):
        torch.testing.assert_close(
            dict(member.named_parameters()), dict(alone.named_parameters()), atol=1e-4, rtol=1e-3
        )
    repeats = max(1, round(ROUND_SECONDS / max(measure(loop, 1), measure(stacked, 1))))
    times = [(measure(loop, repeats), measure(stacked, repeats)) for _ in range(rounds)]
    parameters = sum(p.numel() for p in models[0].parameters() if p.requires_grad)
    return {
        "model": name,
        "width": width,
        "members": members,
        "parameters": parameters,
        "loop_ms": 1e3 * statistics.median(a for a, _ in times),
        "stack_ms": 1e3 * statistics.median(b for _, b in times),
        "ratio": statistics.median(a / b for a, b in times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A loop of models against a vmapped stack of them, by size.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    show = (lambda text: None) if arguments.json else (lambda text: print(text, flush=True))
    show(f"{'model':10} {'width':>5} {'N':>2} {'parameters':>10} {'loop ms':>8} {'stack ms':>8} {'ratio':>6}")
    rows = []
    for name, width, members in itertools.product(MODELS, WIDTHS, MEMBERS):
        row = compare(name, width, members, arguments.rounds)
        rows.append(row)
        times = f"{row['loop_ms']:8.2f} {row['stack_ms']:8.2f} {row['ratio']:6.2f}"
        show(f"{name:10} {width:5} {members:2} {row['parameters']:10,} {times}")
    show(f"CPU_LIMIT is {CPU_LIMIT:,} parameters")
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "cpu_limit": CPU_LIMIT, "rows": rows}))


if __name__ == "__main__":
    main()
