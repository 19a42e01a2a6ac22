"""What a reader of the paper expects to see."""

from __future__ import annotations

import numpy as np
import xarray as xr

from elegans.studies.in_context_recall.claims import RATES, end
from elegans.study import Bars, Curves, Figure, Results

MODELS = {"linear": "reparam", "reparam-w": "reparam-w", "origin": "origin"}
SPLITS = {"id": "seen answers", "ood": "unseen answers"}
NOISES = (0, 20, 50, 80)
FLOOR = 1e-6


def by_split(results: Results, arm: str, name: str) -> xr.DataArray:
    """A final measurement on both splits, labelled."""
    values = xr.concat([end(results, arm, name, split) for split in SPLITS], "answers")
    return values.assign_coords(answers=list(SPLITS.values()))


def rates(results: Results) -> xr.DataArray:
    """Excess over updates for 1, 5 and 10 triggers, with the lines that theory draws."""
    measured = xr.concat([results[arm].excess.sel(split="id", drop=True) for arm in RATES], "triggers")
    labels = [f"{arm.removeprefix('rate-')} triggers" for arm in RATES]
    lines = []
    for arm in RATES:
        data = results[arm]
        start = data.excess.sel(split="id", drop=True)
        line = xr.DataArray(np.log1p(59 * np.exp(-data.step * data.lr / np.sqrt(data.n_triggers))))
        lines.append(line.broadcast_like(start))
    theory = xr.concat(lines, "triggers")
    both = xr.concat([measured.clip(min=FLOOR), theory.clip(min=FLOOR)], "what")
    return both.assign_coords(triggers=labels, what=["measured", "ln(1 + (N - 1) exp(-lr t / sqrt Q))"])


def excess(results: Results) -> xr.DataArray:
    """Final excess by model, noise and kind of answer."""
    return _grid(results, "excess").clip(min=FLOOR)


def recall(results: Results) -> xr.DataArray:
    """Final recall by model, noise and kind of answer."""
    return _grid(results, "recall")


def _grid(results: Results, name: str) -> xr.DataArray:
    rows = []
    for noise in NOISES:
        cells = [by_split(results, f"{prefix}-{noise}", name) for prefix in MODELS]
        rows.append(xr.concat(cells, "model").assign_coords(model=list(MODELS.values())))
    return xr.concat(rows, "noise").assign_coords(noise=[f"noise {noise / 100:g}" for noise in NOISES])


def noise_rate(results: Results) -> xr.DataArray:
    """P(tau) on unseen answers over the true rate."""
    arms = {"linear": "reparam", "reparam-w": "reparam-w", "origin": "origin"}
    rows = [
        xr.concat([end(results, f"{prefix}-{noise}", "p_noise", "ood") for noise in NOISES[1:]], "alpha")
        for prefix in arms
    ]
    perfect = rows[0] * 0 + xr.DataArray([n / 100 for n in NOISES[1:]], dims="alpha")
    return xr.concat([*rows, perfect], "model").assign_coords(
        alpha=[n / 100 for n in NOISES[1:]], model=[*arms.values(), "Bayes"]
    )


def which_block(results: Results) -> xr.DataArray:
    """Recall and P(tau) with one block of weights free, noise 0.5, short sentences."""
    arms = {
        "reparam-w-50-short": "attention W",
        "free-v-50": "value V",
        "free-f-50": "feed-forward F",
        "origin-50-short": "all",
    }
    parts = [
        results.over(arms, lambda data, n=name: data[n].isel(step=-1, drop=True)) for name in ("recall", "p_noise")
    ]
    both = xr.concat(parts, "measure").sel(split="ood", drop=True)
    return both.assign_coords(measure=["recall", "P(tau), should be 0.5"])


def diversity(results: Results) -> xr.DataArray:
    """Loss on unseen answers over the number of answers seen, all weights free."""
    arms = {"origin-answers-4": 4, "origin-answers-16": 16, "origin-answers-32": 32, "origin-answers-48": 48}
    rows = [by_split(results, arm, "nll") for arm in arms]
    return xr.concat(rows, "outputs").assign_coords(outputs=list(arms.values()))


FIGURES: tuple[Figure, ...] = (
    Curves(
        name="rates",
        caption="Loss of tied linear attention under normalized gradient descent, noiseless task. The theory's line "
        "has no free parameter; the printed rate lr / Q would be slower for every Q above 1.",
        data=rates,
        x="step",
        y_label="excess (nats)",
        color="what",
        facet="triggers",
        log_y=True,
    ),
    Bars(
        name="excess",
        caption="Excess over the Bayes risk after training. Unseen answers are tokens that training shows as filler "
        "only. Tied weights do not tell them apart; free weights fail on them; with only W free it depends on noise.",
        data=excess,
        x="model",
        y_label="excess (nats)",
        color="answers",
        facet="noise",
        log_y=True,
    ),
    Bars(
        name="recall",
        caption="Share of sentences whose answer has the largest logit of all tokens but tau.",
        data=recall,
        x="model",
        y_label="recall",
        color="answers",
        facet="noise",
    ),
    Curves(
        name="noise-rate",
        caption="Probability of the noise token on unseen answers, over its true rate.",
        data=noise_rate,
        x="alpha",
        x_label="noise rate alpha",
        y_label="P(tau)",
        color="model",
    ),
    Bars(
        name="which-block",
        caption="One block of weights free at a time, noise 0.5, sentences of 32 tokens, unseen answers. V carries "
        "the recall: its rows for never-answered tokens see only negative gradients. F carries the noise rate.",
        data=which_block,
        x="arm",
        x_label="trained freely",
        y_label="share, probability",
        color="measure",
    ),
    Curves(
        name="diversity",
        caption="Loss of the free model over the number of different answers that training gives, of 54. With one-hot "
        "embeddings no weight is shared between seen and unseen answers.",
        data=diversity,
        x="outputs",
        x_label="answers seen in training",
        y_label="loss (nats)",
        color="answers",
        rules={"uniform guess": float(np.log(60))},
    ),
)
