"""What a reader of the paper expects to see."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from elegans.studies.rwkv.claims import REACHED, end, power_law, slow_channels
from elegans.study import Bars, Curves, Figure, Results

NETWORKS = {"rwkv4": "RWKV-4", "transformer": "transformer", "shift-attention": "shift attention"}
DECODERS = {"decoding-rwkv4": "RWKV-4", "decoding-transformer": "transformer"}
STARTS = {
    "init-official": "tiny embeddings, zero matrices",
    "init-normal": "embeddings N(0, 0.02^2)",
    "init-unit": "embeddings N(0, 1)",
    "init-orthogonal": "all matrices orthogonal",
}
DECAYS = {"rwkv4-uniform-decay": "layers start alike", "rwkv4": "official start"}


def losses(results: Results) -> xr.DataArray:
    """Excess over the Bayes loss over training, without the untrained network."""
    return results.over(NETWORKS, lambda data: data.excess.isel(step=slice(1, None)))


def positions(results: Results) -> xr.DataArray:
    """Excess of content tokens and loss of repeated values by position."""

    def both(data: xr.Dataset) -> xr.DataArray:
        rows = xr.concat([data.content_at, data.repeated_at], "kind")
        return rows.assign_coords(kind=["content tokens, over the Bayes loss", "repeated values (Bayes loss 0)"])

    return results.over(NETWORKS, both)


def spectra(results: Results) -> xr.DataArray:
    """What a channel keeps per position, by rank."""

    def named(data: xr.Dataset) -> xr.DataArray:
        rank = (np.arange(data.sizes["channel"]) + 0.5) / data.sizes["channel"]
        found = data.decay.assign_coords(channel=rank)
        parts = [found.sel(when=when, drop=True) for when in ("start", "end")]
        layers = [f"layer {layer}" for layer in data.layer.values]
        return xr.concat(parts, "when").assign_coords(when=["at the start", "trained"], layer=layers)

    found = results.over(DECAYS, named).stack(line=("layer", "when"))
    lines = [f"{layer}, {when}" for layer, when in found.line.values]
    return found.drop_vars(["line", "layer", "when"]).assign_coords(line=lines)


def slow(results: Results) -> xr.DataArray:
    """The share of slow channels of each layer, trained."""
    found = results.over(DECAYS, slow_channels)
    return found.assign_coords(layer=[f"layer {layer}" for layer in found.layer.values])


def recall(results: Results) -> xr.DataArray:
    """Share of recalled values by number of pairs, with a guess among the values of the context."""
    arms = {"recall-rwkv4": "RWKV-4", "recall-shift-attention": "shift attention"}
    found = results.over(arms, lambda data: end(data.accuracy))
    guess = (1 / found.pairs).expand_dims(arm=["one of those in the context"], seed=found.seed)
    return xr.concat([found, guess], "arm")


def scaling(results: Results) -> xr.DataArray:
    """Excess on content by training compute, and the power law fitted to each seed."""
    x, y = power_law(results)
    slope = xr.cov(x, y, dim="arm") / x.var("arm", ddof=1)
    fitted = y.mean("arm") + slope * (x - x.mean("arm"))
    rows = xr.concat([10**y, 10**fitted], "what").assign_coords(what=["RWKV-4", "power law"])
    return rows.rename(arm="compute").assign_coords(
        compute=[float(f"{10 ** (flop - 9):.3g}") for flop in x.isel(seed=0).values]
    )


def decoding(results: Results) -> xr.DataArray:
    """Milliseconds per token by position."""
    return 1e3 * results.over(DECODERS, lambda data: data.seconds)


def states(results: Results) -> xr.DataArray:
    """Kilobytes of state by position."""
    return results.over(DECODERS, lambda data: data.state_bytes / 1024)


def operators(results: Results) -> xr.DataArray:
    """Milliseconds of a forward and a backward pass by length."""
    names = {"wkv": "WKV", "attention": "attention, weights written out", "fused attention": "attention, fused"}
    found = 1e3 * results["operators"].seconds
    return found.sel(operator=list(names)).assign_coords(operator=list(names.values()))


def starts(results: Results) -> xr.DataArray:
    """Loss on the Markov chain over training."""
    return results.over(STARTS, lambda data: data.loss)


def orders(results: Results) -> xr.DataArray:
    """Share of right answers by number of pairs and place of the question."""
    arms = {"order-rwkv4": "RWKV-4", "order-shift-attention": "shift attention"}
    found = results.over(arms, lambda data: end(data.accuracy))
    return found.assign_coords(order=["question first", "question last"])


def sweeps(results: Results) -> xr.DataArray:
    """Loss on the selection split by learning rate, over the best."""
    names = {**NETWORKS, "recall-rwkv4": "RWKV-4, recall", "order-rwkv4": "RWKV-4, order"}
    arms = {f"sweep-{name}": label for name, label in names.items()}
    return results.over(arms, lambda data: data.loss - data.loss.min("rate"))


FIGURES: tuple[Figure, ...] = (
    Curves(
        name="losses",
        caption="Loss on documents with a hidden topic and facts, over the exact Bayes loss, for networks of about the "
        "same size, each at its best learning rate.",
        data=losses,
        x="step",
        y_label="excess (nats per token)",
        color="arm",
    ),
    Curves(
        name="positions",
        caption="Where the networks differ, in documents of four times the training length (64 tokens). Content wants a "
        "slowly changing topic, which a decaying sum follows at any length; repeated values want recall.",
        data=positions,
        x="position",
        y_label="nats per token",
        color="arm",
        facet="kind",
    ),
    Curves(
        name="recall",
        caption="Values recalled after training on 2 to 16 pairs. The budget is the same and attention needs far less; "
        "for RWKV-4 it is a limit of what was learned so far, not proof of a bound on its memory.",
        data=recall,
        x="pairs",
        x_label="pairs n",
        y_label="accuracy",
        color="arm",
        log_x=True,
    ),
    Bars(
        name="prompt-order",
        caption="A question about one of 2 to 8 pairs, put before or after them. Reading it first, RWKV-4 need keep one "
        "value; attention can look back in either order.",
        data=orders,
        x="pairs",
        x_label="pairs n",
        y_label="accuracy",
        color="order",
        facet="arm",
    ),
    Curves(
        name="decay-spectra",
        caption="What a channel keeps of its past per position (e^-d), channels in ascending order. With the official "
        "start the last layer has the longer memories before any training; where all layers start alike, what training "
        "adds is the distance between the two trained curves.",
        data=spectra,
        x="channel",
        x_label="rank of the channel",
        y_label="kept per position",
        color="line",
        facet="arm",
    ),
    Bars(
        name="slow-channels",
        caption="Channels that remember ten tokens or more (e^-d at least 0.9), after training.",
        data=slow,
        x="layer",
        y_label="share of channels",
        color="arm",
    ),
    Curves(
        name="scaling",
        caption="Loss on content tokens over the Bayes loss against training compute, at four widths and the same tokens, "
        "and the power law through them.",
        data=scaling,
        x="compute",
        x_label="training compute (GFLOP)",
        y_label="excess (nats per token)",
        color="what",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="decoding-time",
        caption="The next token after a long prompt: RWKV-4 reads a state of one size, a transformer all that it has kept.",
        data=decoding,
        x="position",
        x_label="tokens read before",
        y_label="CPU time (ms)",
        color="arm",
        log_x=True,
    ),
    Curves(
        name="state-size",
        caption="What decoding keeps of one sequence. The cache of the transformer grows with every token, the state of "
        "RWKV-4 does not.",
        data=states,
        x="position",
        x_label="tokens read before",
        y_label="state (KiB)",
        color="arm",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="operators",
        caption="CPU time of a pass forward and backward through what mixes the tokens. Slopes of 1 and 2 are linear and "
        "quadratic cost.",
        data=operators,
        x="length",
        x_label="length T",
        y_label="CPU time (ms)",
        color="operator",
        log_x=True,
        log_y=True,
    ),
    Curves(
        name="starts",
        caption="RWKV-4 on a Markov chain from four starts. All have the norm after the embeddings, so what differs is the "
        "start alone.",
        data=starts,
        x="step",
        y_label="loss (nats)",
        color="arm",
        rules={"reached": REACHED, "uniform guess": math.log(256)},
    ),
    Curves(
        name="learning-rates",
        caption="How the learning rates were chosen: loss on a split of its own at one seed that is not reported, over "
        "the best.",
        data=sweeps,
        x="rate",
        x_label="peak learning rate",
        y_label="loss over the best (nats)",
        color="arm",
        log_x=True,
    ),
)
