"""What the paper says of chain of thought and gradient descent, as executable claims.

Errors are squared distances |w_k - w|^2, averaged over prompts; the paper's losses are half of them.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from elegans.study import Claim, Results

SHIFTED = ("spectrum 0.5 to 1.5", "spectrum 0.25 to 1")
HOME, WIDE, NOISY = "id", "spectrum 2", "label noise"


def on(data: xr.DataArray, split: str = HOME, thoughts: int | None = None) -> xr.DataArray:
    """A measurement on one distribution of prompts, at one number of thoughts if given."""
    data = data.sel(split=split, drop=True)
    return data if thoughts is None else data.sel(thoughts=thoughts, drop=True)


def most(results: Results, arm: str) -> int:
    """The largest number of thoughts at test time."""
    return int(results[arm].thoughts.max())


def answer(results: Results, arm: str) -> xr.DataArray:
    """The error at the number of thoughts that the arm was trained with."""
    trained = int(results[arm].trained_thoughts.isel(seed=0))
    return on(results[arm].error, thoughts=trained)


def single_step_gap(results: Results, arm: str, thoughts: int = 1) -> xr.DataArray:
    """|error / error of the best single gradient step on the same prompts - 1|."""
    return abs(on(results[arm].error, thoughts=thoughts) / on(results[arm].best_single_error) - 1)


def product_gap(results: Results, arm: str, name: str, wanted: xr.DataArray | float) -> xr.DataArray:
    """|product of weights / what it should be - 1|."""
    return abs(results[arm][f"{name}_product"].isel(step=-1, drop=True) / wanted - 1)


def gd_products_gap(results: Results, arm: str, eta: float = 0.4) -> xr.DataArray:
    """The larger relative error of the two products against those of gradient descent with step eta."""
    gaps = [product_gap(results, arm, "label", eta), product_gap(results, arm, "state", -eta)]
    return xr.concat(gaps, "product").max("product")


def state_over_label(results: Results, arm: str) -> xr.DataArray:
    """How strongly the layer reads its present estimate, relative to how strongly it reads labels; 1 in GD."""
    end = results[arm].isel(step=-1, drop=True)
    return abs(end.state_product / end.label_product)


def distance(results: Results, arm: str) -> xr.DataArray:
    """The largest mean squared distance to gradient descent's iterates over all thoughts at test time."""
    return on(results[arm].distance).max("thoughts")


def worst(results: Results, arms: tuple[str, ...], metric: object) -> xr.DataArray:
    """The largest value over arms, seed by seed."""
    return xr.concat([metric(results, arm) for arm in arms], "arm").max("arm")  # pyright: ignore


def growth(results: Results, arm: str, split: str = HOME) -> xr.DataArray:
    """The largest error(k + 1) / error(k) over all thoughts at test time: below 1 if each thought helps."""
    error = on(results[arm].error, split)
    later = error.isel(thoughts=slice(1, None)).assign_coords(thoughts=error.thoughts[:-1])
    return (later / error.isel(thoughts=slice(None, -1))).max("thoughts")


def oracle_gap(results: Results, arm: str, splits: tuple[str, ...] = (HOME,)) -> xr.DataArray:
    """The largest |error / error of gradient descent - 1| over thoughts and splits."""
    data = results[arm].sel(split=list(splits))
    return abs(data.error / data.gd_error - 1).max(("thoughts", "split"))


def later_over_trained(results: Results, arm: str) -> xr.DataArray:
    """log10 of the error after the most thoughts at test time over that after as many as in training."""
    return magnitude(on(results[arm].error, thoughts=most(results, arm)) / answer(results, arm))


def magnitude(values: xr.DataArray) -> xr.DataArray:
    """log10, for quantities that differ by orders of magnitude between seeds."""
    return xr.DataArray(np.log10(values))


def rise(results: Results, split: str, thoughts: int = 10) -> xr.DataArray:
    """log10 of the error after some thoughts over that of w = 0, for the model trained with chain of thought."""
    error = on(results["cot"].error, split)
    return xr.DataArray(np.log10(error.sel(thoughts=thoughts, drop=True) / error.sel(thoughts=0, drop=True)))


def overthinking(results: Results, split: str) -> xr.DataArray:
    """Error after all thoughts at test time over the least error on the way."""
    error = on(results["cot"].error, split)
    return error.isel(thoughts=-1, drop=True) / error.min("thoughts")


def over_gd(results: Results, arm: str) -> xr.DataArray:
    """Error after the trained number of thoughts over that of gradient descent after as many steps."""
    steps = int(results[arm].trained_thoughts.isel(seed=0))
    return answer(results, arm) / on(results[arm].gd_error, thoughts=steps)


def loop_ratio(results: Results) -> xr.DataArray:
    """The larger of error(2 loops) / error(1) and error(4 loops) / error(2), each at its trained number."""
    one, two, four = (answer(results, f"loop-{loops}") for loops in (1, 2, 4))
    return xr.concat([two / one, four / two], "pair").max("pair")


def useless(results: Results, arm: str) -> xr.DataArray:
    """The larger share of norm outside the blocks of the solution, of V and of W."""
    return results[arm].useless_share.max("matrix")


CLAIMS = (
    Claim(
        name="one-step-floor",
        statement="Without chain of thought the layer is as good as the best single gradient step, within 3 %.",
        source="Theorem 3.1",
        value=lambda r: worst(r, ("direct", "direct-random"), single_step_gap),
        at_most=0.03,
        controls={"chain of thought": lambda r: single_step_gap(r, "cot", most(r, "cot"))},
    ),
    Claim(
        name="one-step-size",
        statement="Its product of weights V[w, x] W[y, 1] is that step's size n / (n + d + 1), within 2 %.",
        source="Theorem 3.1",
        value=lambda r: product_gap(r, "direct", "label", r["direct"].best_step),
        at_most=0.02,
        controls={"chain of thought": lambda r: product_gap(r, "cot", "label", r["cot"].best_step)},
    ),
    Claim(
        name="training-longer-does-not-help",
        statement="Three times the training leaves the error without chain of thought where it is, within 3 %.",
        source="Theorem 3.1",
        value=lambda r: answer(r, "direct-long") / answer(r, "direct"),
        at_least=0.97,
        controls={"chain of thought": lambda r: on(r["cot"].error, thoughts=most(r, "cot")) / answer(r, "direct")},
    ),
    Claim(
        name="thinking-beats-the-floor",
        statement="After 40 thoughts the error is below a tenth of that of a direct answer.",
        source="Theorem 3.1, and global convergence of chain-of-thought training",
        value=lambda r: answer(r, "direct") / on(r["cot"].error, thoughts=most(r, "cot")),
        at_least=10.0,
        controls={"one thought": lambda r: answer(r, "direct") / on(r["cot"].error, thoughts=1)},
    ),
    Claim(
        name="thoughts-are-gd-iterates",
        statement="Its own thoughts stay within 0.01 (squared) of gradient descent's iterates, to four times the "
        "trained number, from both starts.",
        source="global convergence of chain-of-thought training",
        value=lambda r: magnitude(worst(r, ("cot", "cot-random"), distance)),
        at_most=-2.0,
        controls={
            "direct answer, repeated": lambda r: magnitude(distance(r, "direct")),
            "outcome supervision": lambda r: magnitude(distance(r, "outcome")),
        },
        unit="log10",
    ),
    Claim(
        name="each-thought-helps",
        statement="Every one of 40 thoughts lowers the error.",
        source="O(log d) thoughts suffice",
        value=lambda r: growth(r, "cot"),
        at_most=1.0,
        controls={"direct answer, repeated": lambda r: growth(r, "direct")},
    ),
    Claim(
        name="errors-equal-gd",
        statement="The error after k thoughts is that of k gradient steps on the same prompts, within 0.1 %, for all "
        "k.",
        source="global convergence of chain-of-thought training",
        value=lambda r: magnitude(oracle_gap(r, "cot")),
        at_most=-3.0,
        controls={"outcome supervision": lambda r: magnitude(oracle_gap(r, "outcome"))},
        unit="log10",
    ),
    Claim(
        name="weights-hold-the-step",
        statement="Up to gauge the weights are those of gradient descent: V[w, x] W[y, 1] = eta and V[w, x] W[x, w] = "
        "-eta on average over the diagonal, within 2 %, from both starts.",
        source="global minimum of the chain-of-thought loss",
        value=lambda r: worst(r, ("cot", "cot-random"), gd_products_gap),
        at_most=0.02,
        controls={"direct answer": lambda r: gd_products_gap(r, "direct")},
    ),
    Claim(
        name="direct-answer-never-reads-its-state",
        statement="Trained on direct answers the layer learns nothing about reading an estimate: it has only seen w_0 "
        "= 0.",
        source="global minimum without chain of thought",
        value=lambda r: worst(r, ("direct", "direct-random"), state_over_label),
        at_most=0.1,
        controls={"chain of thought": lambda r: state_over_label(r, "cot")},
    ),
    Claim(
        name="generalizes-to-other-covariances",
        statement="With the eigenvalues of the inputs' covariance in [0.5, 1.5] or [0.25, 1] it still runs gradient "
        "descent.",
        source="Theorem 4.2",
        value=lambda r: oracle_gap(r, "cot", SHIFTED),
        at_most=0.01,
        controls={"direct answer, repeated": lambda r: oracle_gap(r, "direct", SHIFTED)},
    ),
    Claim(
        name="fails-where-gd-fails",
        statement="With covariance 2 I, where eta times the largest eigenvalue passes 2, ten thoughts raise the error "
        "tenfold.",
        source="stability of gradient descent",
        value=lambda r: rise(r, WIDE),
        at_least=1.0,
        controls={split: lambda r, split=split: rise(r, split) for split in (HOME, *SHIFTED)},
        unit="log10",
    ),
    Claim(
        name="fails-as-gd-fails",
        statement="There its first ten thoughts are the diverging iterates of gradient descent, within 1 % of their "
        "norm squared.",
        source="stability of gradient descent",
        value=lambda r: on(r["cot"].relative_distance, WIDE).sel(thoughts=slice(0, 10)).max("thoughts"),
        at_most=0.01,
        controls={
            "direct answer, repeated": lambda r: (
                on(r["direct"].relative_distance, WIDE).sel(thoughts=slice(0, 10)).max("thoughts")
            )
        },
    ),
    Claim(
        name="sparse-start-stays-sparse",
        statement="From the theorem's start every other block of V and W stays below 0.001 of their norm.",
        source="Assumption 4.1 and the invariance that follows",
        value=lambda r: useless(r, "cot"),
        at_most=1e-3,
        controls={"random start": lambda r: useless(r, "cot-random")},
    ),
    Claim(
        name="same-algorithm-without-sparsity",
        statement="From a random start over a tenth of W's norm ends in blocks that the algorithm does not use.",
        source="ours",
        value=lambda r: r["cot-random"].useless_share.sel(matrix="W", drop=True),
        at_least=0.1,
        controls={"sparse start": lambda r: r["cot"].useless_share.sel(matrix="W", drop=True)},
        guards={"its thoughts are gradient descent's": lambda r: distance(r, "cot-random") < 1e-2},
    ),
    Claim(
        name="outcome-supervision-is-better-in-range",
        statement="Judged by the answer alone, five own thoughts end below 0.9 of the error of five gradient steps.",
        source="ours, after arXiv 2603.01293",
        value=lambda r: over_gd(r, "outcome"),
        at_most=0.9,
        controls={"process supervision": lambda r: over_gd(r, "cot")},
    ),
    Claim(
        name="outcome-supervision-diverges-beyond",
        statement="Forty such thoughts are over ten times worse than the five of training.",
        source="ours, after arXiv 2603.01293",
        value=lambda r: later_over_trained(r, "outcome"),
        at_least=1.0,
        controls={"process supervision": lambda r: later_over_trained(r, "cot")},
        unit="log10",
    ),
    Claim(
        name="loops-help",
        statement="Two loops beat one and four beat two, by a tenth or more, each trained with its number.",
        source="looped transformers; weight-prediction version: ours",
        value=loop_ratio,
        at_most=0.9,
        controls={"one pass, trained longer": lambda r: answer(r, "direct-long") / answer(r, "loop-1")},
    ),
    Claim(
        name="loops-do-not-extrapolate",
        statement="Of forty passes through a layer trained with four, some raise the error.",
        source="ours",
        value=lambda r: growth(r, "loop-4"),
        at_least=1.0,
        controls={"process supervision": lambda r: growth(r, "cot")},
    ),
    Claim(
        name="noise-makes-thinking-too-long",
        statement="With label noise of standard deviation 1 the last of 40 thoughts is over a tenth worse than the "
        "best.",
        source="ours",
        value=lambda r: overthinking(r, NOISY),
        at_least=1.02,
        controls={"no noise": lambda r: overthinking(r, HOME)},
    ),
)
