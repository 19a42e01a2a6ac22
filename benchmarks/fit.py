"""What `fit` costs over a training loop written by hand.

Both train the same GPT on the same batches, interleaved in one process; the figure is the median over rounds of the
ratio of their times. The correctness gate comes first: after equal steps both models have equal weights.

    python benchmarks/fit.py [--rounds 30] [--steps 20] [--json]
"""

import argparse
import json
import platform
import statistics
import time

import torch
from torch.nn import functional as F

from elegans.models.gpt import GPT
from elegans.tasks.base import Batch
from elegans.training import Optim, fit

VOCAB, BATCH, LENGTH = 128, 64, 32


class RandomText:
    """Random tokens, every position scored: the data costs both loops the same."""

    vocab_size, splits = VOCAB, ("train",)

    def __init__(self) -> None:
        tokens = torch.randint(VOCAB, (64, BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))
        self.batches = [Batch(t[:, :-1].contiguous(), t[:, 1:].contiguous()) for t in tokens]

    def batch(self, split: str, size: int, *, step: int = 0, seed: int = 0) -> Batch:
        return self.batches[step % len(self.batches)]

    def dataset(self, split: str) -> Batch:
        return self.batches[0]

    def chance(self, split: str) -> dict[str, float]:
        return {}


class Watched:
    """A run that takes progress and never saves: what the lab costs between two checkpoints."""

    device = torch.device("cpu")

    def progress(self, step: int, total: int, **metrics: float) -> None: ...

    def checkpoint(self, name: str):
        class Slot:
            def load(self): ...
            def save(self, point): ...

        return Slot()


def bare(model: GPT, task: RandomText, steps: int) -> None:
    """The loop that one would write by hand."""
    undecayed = model.undecayed()
    groups = [
        {"params": [p for n, p in model.named_parameters() if n not in undecayed], "weight_decay": 0.1},
        {"params": [p for n, p in model.named_parameters() if n in undecayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    for step in range(steps):
        batch = task.batches[step % len(task.batches)]
        loss = F.cross_entropy(model(batch.tokens).flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def ours(model: GPT, task: RandomText, steps: int) -> None:
    fit(model, task, steps=steps, optim=Optim(lr=1e-3, weight_decay=0.1), evaluate_at=[], run=Watched())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = RandomText()

    models = [GPT(vocab=VOCAB, width=64, depth=2, heads=4, context=LENGTH) for _ in range(2)]
    for loop, model in zip((bare, ours), models, strict=True):
        loop(model, task, options.steps)
    for a, b in zip(*(m.parameters() for m in models), strict=True):
        torch.testing.assert_close(a, b)

    times: dict[str, list[float]] = {"bare": [], "fit": []}
    for round_ in range(options.rounds):
        pair = [("bare", bare, models[0]), ("fit", ours, models[1])]
        for name, loop, model in pair if round_ % 2 else pair[::-1]:
            started = time.process_time()
            loop(model, task, options.steps)
            times[name].append((time.process_time() - started) / options.steps)
    ratios = sorted(f / b for f, b in zip(times["fit"], times["bare"], strict=True))
    result = {
        "what": f"GPT width 64, 2 layers, batch {BATCH} x {LENGTH}",
        "bare_ms_per_step": 1e3 * statistics.median(times["bare"]),
        "fit_ms_per_step": 1e3 * statistics.median(times["fit"]),
        "overhead": statistics.median(ratios) - 1,
        "overhead_quartiles": [ratios[len(ratios) // 4] - 1, ratios[3 * len(ratios) // 4] - 1],
        "machine": f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread",
    }
    if options.json:
        print(json.dumps(result))
    else:
        low, high = result["overhead_quartiles"]
        print(
            f"{result['what']}: bare {result['bare_ms_per_step']:.1f} ms, fit {result['fit_ms_per_step']:.1f} ms a step"
        )
        print(f"overhead {100 * result['overhead']:+.1f} % (quartiles {100 * low:+.1f} to {100 * high:+.1f} %)")


if __name__ == "__main__":
    main()
