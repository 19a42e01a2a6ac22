"""A study small enough to be killed many times; importable by worker processes.

``TOY_PAUSE`` (seconds per step) slows training down and ``TOY_LOG`` counts who trained; neither changes a number.
"""

import os
import time
from dataclasses import dataclass

import numpy as np
import xarray as xr

from elegans.study import Arm, Claim, Config, Curves, Heatmap, Needs, Paper, Study, setting


@dataclass(frozen=True, kw_only=True)
class Toy(Config):
    """A small language model."""

    steps: int = setting(40, "updates", at_least=1)
    width: int = setting(8, "residual stream", at_least=2)
    lr: float = setting(1e-2, "learning rate", above=0)
    model: str = setting("gpt", "a model")
    ema: bool = setting(False, "average the weights")
    sizes: tuple[int, ...] = setting((1, 2), "some sizes", at_least=1)


@dataclass(frozen=True, kw_only=True)
class Reader(Toy):
    """Reads what a language model in a directory says."""

    lm: str = setting("", "directory of a language model; empty: none")


def log(name, seed):
    if path := os.environ.get("TOY_LOG"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{name} {seed}\n")


def train(config, seed, run):
    """Trains a transformer with dropout and leaves its final loss as an artefact."""
    from elegans.models.registry import build
    from elegans.tasks.reversal import ReversalPairs
    from elegans.training import EMA, Optim, fit
    from elegans.training.loop import mean_nll

    log(f"train-{config.width}-{config.lr}-{config.model}", seed)
    task = ReversalPairs(n_symbols=8, n_pairs=8, n_both=5, seed=seed)
    model = build(config.model, vocab=task.vocab_size, width=config.width, heads=2, depth=1, dropout=0.1, seed=seed)
    pause = float(os.environ.get("TOY_PAUSE", "0"))

    def objective(model, batch):
        time.sleep(pause)
        return mean_nll(model, batch)

    history = fit(
        model,
        task,
        steps=config.steps,
        batch_size=8,
        optim=Optim(lr=config.lr, clip=1.0, warmup=5, schedule="cosine"),
        seed=seed,
        objective=objective,
        ema=EMA(0.9) if config.ema else None,
        run=run,
        checkpoint_every=3,
    )
    (run.artifact_dir / "loss.txt").write_text(repr(float(history.nll.isel(step=-1).sel(split="train").mean())))
    return history


def double(config, seed, run):
    """Needs what `train` left."""
    log("double", seed)
    return xr.Dataset({"loss": 2 * float((run.artifact("base") / "loss.txt").read_text())})


def together(config, seeds, run):
    """All seeds in one job."""
    log("together", ",".join(map(str, seeds)))
    return xr.Dataset({"x": ("seed", np.array(seeds) * 1.0)}, coords={"seed": list(seeds)})


def broken(config, seed, run):
    """Fails."""
    raise RuntimeError(f"no luck with seed {seed}")


def deadly(config, seed, run):
    """Kills its worker."""
    os._exit(9)


def final(r, arm):
    nll = r[arm].nll.isel(step=-1).sel(split="train")
    return nll.isel(weights=0, drop=True) if "weights" in nll.dims else nll


def study(**arms):
    return Study(
        name="toy",
        title="A toy",
        paper=Paper(arxiv="0000.00000", title="None", authors="Nobody"),
        question="Does it train?",
        arms={scale: arms for scale in ("smoke", "laptop", "paper")},
        claims=[
            Claim(
                name="it-trains",
                statement="The loss falls.",
                source="ours",
                value=lambda r: final(r, "a"),
                at_most=3.5,
                controls={"start": lambda r: r["a"].nll.isel(step=0).sel(split="train") + 2},
            ),
            Claim(
                name="b-exists",
                statement="The other arm was run.",
                source="ours",
                value=lambda r: r["b"].loss,
                at_least=0.0,
                controls={"minus": lambda r: -r["b"].loss},
            ),
        ],
        figures=[
            Curves(name="loss", caption="Loss.", data=lambda r: r["a"].nll, x="step", color="split"),
            Heatmap(name="b", caption="b", data=lambda r: r["b"].loss.expand_dims(x=[0]), x="x", y="seed"),
        ],
        seeds=2,
        expected_minutes={"laptop": 0.1},
    )


A = Arm("toys:train", Toy())
B = Arm("toys:double", Toy(), needs={"base": Needs("a")})
STUDY = study(a=A, a2=Arm("toys:train", Toy(width=16, ema=True)), b=B)
FAILING = study(a=A, b=Arm("toys:broken", Toy()), c=Arm("toys:double", Toy(), needs={"base": Needs("b")}))
DEADLY = study(a=A, b=Arm("toys:deadly", Toy()))
TOGETHER = study(a=A, b=Arm("toys:together", Toy(), seeds_per_job=2))
SHARED = study(a=A, b=Arm("toys:double", Toy(), needs={"base": Needs("a", seed=7)}))
PREPARED = study(a=Arm("toys:train", Toy(), seed=100), b=B)
CIRCULAR = study(a=Arm("toys:double", Toy(), needs={"base": Needs("b")}), b=B)
READING = study(a=Arm("toys:train", Reader()), b=B)
