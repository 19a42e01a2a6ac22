"""What the paper says, as executable claims, with the controls of a fair comparison.

Each value is one number per seed. Losses are nats per character of a held-out text; differences are paired by seed.
"""

import numpy as np
import xarray as xr

from elegans.study import Claim, Results

FREE = ("learned-sink", "softmax1", "bos")
CAUSAL = {"causal-rope": "causal, RoPE", "causal-alibi": "causal, ALiBi", "causal-nope": "causal, no positions"}

# ------------------------------------------------------------------------------------------------ without training


def form_error(results: Results, form: str) -> xr.DataArray:
    """The largest relative error of an output or a gradient."""
    return results["exactness"].error.sel(form=form, drop=True).max("quantity")


def rising(results: Results, mask: str) -> xr.DataArray:
    """The share of steps from one query to the next at which a row keeps more, over heads."""
    steps = results["row-mass"].keep.sel(mask=mask, drop=True).diff("position")
    return (steps > 1e-12).mean(("head", "position"))


def missing_at_the_end(results: Results, mask: str) -> xr.DataArray:
    """What the last row gives away, in the head that gives most."""
    last = results["row-mass"].keep.sel(mask=mask, drop=True).isel(position=-1, drop=True)
    return abs(1 - last).max("head")


def prefix_error(results: Results, mask: str) -> xr.DataArray:
    """How much logits of a prefix depend on how it is read: alone, or from a cache where there is one."""
    data = results["prefix"].sel(mask=mask, drop=True)
    return np.maximum(data.alone, data.cached.fillna(0))


def cost_ratio(results: Results, form: str) -> xr.DataArray:
    """The worst ratio of times to plain attention, over lengths."""
    return results["cost"].ratio.sel(form=form, drop=True).max("length")


# ------------------------------------------------------------------------------------------------ small tasks


def knows(results: Results, arm: str, task: str = "position") -> xr.DataArray:
    """Accuracy on constant input."""
    return results[f"position-{arm}"].accuracy.sel(task=task, drop=True)


def worst(results: Results, arms: tuple[str, ...]) -> xr.DataArray:
    """The least accuracy in saying the position, seed by seed."""
    return xr.concat([knows(results, arm) for arm in arms], "arm").min("arm")


def keep_gap(results: Results, mask: str, *, step: int = -1, labels: str = "true") -> xr.DataArray:
    """What the head keeps at triggers minus what it keeps elsewhere."""
    keep = results[f"backcopy-{mask}"].keep.isel(step=step, drop=True).sel(labels=labels, drop=True)
    return keep.sel(place="on-trigger", drop=True) - keep.sel(place="off-trigger", drop=True)


def backcopy_loss(results: Results, mask: str, place: str) -> xr.DataArray:
    """Loss at the end, at triggers or elsewhere."""
    return results[f"backcopy-{mask}"].nll.isel(step=-1, drop=True).sel(place=place, drop=True)


def first_token(results: Results, mask: str, step: int = -1) -> xr.DataArray:
    """The first token's weight in a normalized row off triggers, over that of uniform attention."""
    data = results[f"backcopy-{mask}"].first.isel(step=step, drop=True)
    return data.sel(rows="normalized", place="off-trigger", drop=True)


def relief(results: Results, mask: str, step: int = -1) -> xr.DataArray:
    """`first_token` over that of causal attention."""
    return first_token(results, mask, step) / first_token(results, "causal", step)


# ------------------------------------------------------------------------------------------------ text


def loss(results: Results, arm: str) -> xr.DataArray:
    """Test loss at the training context."""
    return results[f"text-{arm}"].nll.isel(context=0, drop=True)


def gain(results: Results, arm: str, base: str) -> xr.DataArray:
    """Test loss minus that of another model at the same seed: negative is better."""
    return loss(results, arm) - loss(results, base)


def without_mask(results: Results, positions: str) -> xr.DataArray:
    """Loss of the StableMask model when the mask is taken off after training, minus that of the causal model."""
    return results[f"text-{positions}-stablemask"].nll_without_sink - loss(results, f"{positions}-causal")


def stretch(results: Results, arm: str) -> xr.DataArray:
    """Loss of the same characters in windows of the second context (four times the first) over that in the first."""
    nll = results[f"text-{arm}"].nll
    return nll.isel(context=1, drop=True) / nll.isel(context=0, drop=True)


def has_learned(results: Results, *arms: str) -> xr.DataArray:
    """Whether all models beat the frequencies of characters."""
    names = [f"text-{arm}" for arm in arms]
    return results.over(names, lambda data: data.nll.isel(context=0, drop=True) - data.unigram).max("arm") < 0


def quality(positions: str, name: str) -> list[Claim]:
    """Harm bounded, and gain, with one encoding of positions."""
    mask, base = f"{positions}-stablemask", f"{positions}-causal"
    controls = {"mask taken off after training": lambda r: without_mask(r, positions)}
    guards = {"better than frequencies": lambda r: has_learned(r, mask, base)}
    return [
        Claim(
            name=f"{positions}-harm-is-bounded",
            statement=f"With {name}, StableMask costs at most 0.03 nats per character against causal attention.",
            source="abstract, as far as a laptop can test it",
            value=lambda r: gain(r, mask, base),
            at_most=0.03,
            controls=controls,
            guards=guards,
            unit="nats",
        ),
        Claim(
            name=f"{positions}-gain",
            statement=f"With {name}, StableMask lowers the loss of the causal model, each at its own best rate.",
            source="abstract: improves language models",
            value=lambda r: gain(r, mask, base),
            at_most=0.0,
            controls=controls,
            guards=guards,
            unit="nats",
        ),
    ]


CLAIMS = (
    Claim(
        name="fused-form-is-exact",
        statement="Fused attention scaled by keep, with its own backward pass, equals softmax(A * C + P) * C and all its "
        "gradients; the closed forms of log c equal the sums.",
        source="abstract: integrates with optimized attention; reduction to a sink logit: ours",
        value=lambda r: np.maximum(form_error(r, "fused"), r["exactness"].mass_error),
        at_most=1e-12,
        controls={"scaled without its own backward": lambda r: form_error(r, "scaled")},
        deterministic=True,
    ),
    Claim(
        name="rows-keep-more-and-more",
        statement="With constant scores every row keeps more than the one before, in both forms and all heads.",
        source="abstract: progressively decreasing mask ratio",
        value=lambda r: np.minimum(rising(r, "finite"), rising(r, "endless")),
        at_least=1.0,
        controls={"causal": lambda r: rising(r, "causal")},
        deterministic=True,
    ),
    Claim(
        name="finite-form-ends-whole",
        statement="The last row of the finite form keeps everything.",
        source="figure of the mask",
        value=lambda r: missing_at_the_end(r, "finite"),
        at_most=1e-12,
        controls={"endless form": lambda r: missing_at_the_end(r, "endless")},
        deterministic=True,
    ),
    Claim(
        name="endless-form-can-be-cached",
        statement="In the endless form logits of a prefix do not depend on what follows, and a key-value cache gives them "
        "too; in the finite form, that of training, they do.",
        source="figure of the mask for inference",
        value=lambda r: prefix_error(r, "stablemask"),
        at_most=1e-5,
        controls={"finite form": lambda r: prefix_error(r, "stablemask-finite")},
    ),
    Claim(
        name="costs-little",
        statement="Forward and backward together take at most 1.25 times plain fused attention, at any length tested.",
        source="abstract: integrates with optimized attention",
        value=lambda r: cost_ratio(r, "fused"),
        at_most=1.25,
        controls={"C and P as matrices": lambda r: cost_ratio(r, "matrices")},
    ),
    Claim(
        name="knows-absolute-positions",
        statement="With RoPE and constant input, both forms of StableMask say at each place its number.",
        source="abstract: encodes absolute position",
        value=lambda r: worst(r, ("stablemask", "stablemask-finite")),
        at_least=0.95,
        controls={label: lambda r, arm=arm: knows(r, arm) for arm, label in CAUSAL.items()},
        unit="accuracy",
    ),
    Claim(
        name="so-does-any-sink",
        statement="A learned sink, softmax1 and a beginning-of-sequence token do so too: it is not specific to the decay.",
        source="ours",
        value=lambda r: worst(r, FREE),
        at_least=0.95,
        controls={label: lambda r, arm=arm: knows(r, arm) for arm, label in CAUSAL.items()},
        unit="accuracy",
    ),
    Claim(
        name="knows-even-positions",
        statement="With RoPE and constant input, StableMask tells even places from odd ones.",
        source="ours, after arXiv 2205.13401",
        value=lambda r: knows(r, "stablemask", "even"),
        at_least=0.9,
        controls={label: lambda r, arm=arm: knows(r, arm, "even") for arm, label in CAUSAL.items()},
        unit="accuracy",
    ),
    Claim(
        name="head-rests-when-useless",
        statement="On Bigram-Backcopy the only head keeps its row at triggers, where looking back is of use, and gives it "
        "away elsewhere: the gap of keep is at least 0.3.",
        source="abstract: attention need not sum to 1; task and threshold: ours",
        value=lambda r: keep_gap(r, "stablemask"),
        at_least=0.3,
        controls={
            "untrained": lambda r: keep_gap(r, "stablemask", step=0),
            "shuffled triggers": lambda r: keep_gap(r, "stablemask", labels="shuffled"),
        },
        guards={
            "copies: loss at triggers below 0.5": lambda r: backcopy_loss(r, "stablemask", "on-trigger") < 0.5,
        },
    ),
    Claim(
        name="first-token-is-relieved",
        statement="Off triggers the first token's share of what the head reads is at most half of that in causal attention, "
        "which has made a sink of it.",
        source="abstract: disproportionate attention to specific tokens",
        value=lambda r: relief(r, "stablemask"),
        at_most=0.5,
        controls={"untrained": lambda r: relief(r, "stablemask", step=0)},
        guards={
            "causal attention has a sink: twice uniform": lambda r: first_token(r, "causal") >= 2,
            "equal loss off triggers, to 0.01 nats": lambda r: (
                abs(backcopy_loss(r, "stablemask", "off-trigger") - backcopy_loss(r, "causal", "off-trigger")) <= 0.01
            ),
        },
    ),
    *quality("rope", "RoPE"),
    *quality("alibi", "ALiBi"),
    Claim(
        name="gain-beyond-a-learned-sink",
        statement="With ALiBi, StableMask has a lower loss than one learned sink logit per head: the decay earns its place.",
        source="ours",
        value=lambda r: gain(r, "alibi-stablemask", "alibi-learned-sink"),
        at_most=0.0,
        controls={
            "mask taken off after training": lambda r: (
                r["text-alibi-stablemask"].nll_without_sink - loss(r, "alibi-learned-sink")
            ),
        },
        guards={"better than frequencies": lambda r: has_learned(r, "alibi-stablemask", "alibi-learned-sink")},
        unit="nats",
    ),
    Claim(
        name="alibi-extrapolates",
        statement="With ALiBi, StableMask's loss at four times the training length is at most 1.03 times that at the "
        "training length.",
        source="abstract: extrapolates without special tricks",
        value=lambda r: stretch(r, "alibi-stablemask"),
        at_most=1.03,
        controls={"causal, RoPE": lambda r: stretch(r, "rope-causal")},
        guards={"better than frequencies": lambda r: has_learned(r, "alibi-stablemask")},
    ),
    Claim(
        name="rope-extrapolates",
        statement="With RoPE, StableMask's loss at four times the training length is at most 1.03 times that at the "
        "training length.",
        source="abstract: extrapolates without special tricks; with RoPE: our reading",
        value=lambda r: stretch(r, "rope-stablemask"),
        at_most=1.03,
        controls={"causal, RoPE": lambda r: stretch(r, "rope-causal")},
        guards={"better than frequencies": lambda r: has_learned(r, "rope-stablemask")},
    ),
)
