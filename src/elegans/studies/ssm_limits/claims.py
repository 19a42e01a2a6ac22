"""What the paper says, as executable claims.

Each value is one number per seed. Chains count only as a model writes them itself, from the first token to the last.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from elegans.studies.ssm_limits.arms import SOLVED
from elegans.study import Claim, Results

LAGS = ("local-lag1", "local-lag2", "local-lag3")
LENGTHS = ("local-shorter", "local-lag2", "local-longer")


# ------------------------------------------------------------------------------------------------ without training


def across_lengths(accuracy: xr.DataArray) -> xr.DataArray:
    """|accuracy at the shortest length - at the longest|."""
    return abs(accuracy.isel(pairs=0, drop=True) - accuracy.isel(pairs=-1, drop=True))


def scaled(results: Results) -> xr.DataArray:
    """The largest difference between lengths at equal N / T, for N / T from 1/8 to 1."""
    accuracy = (
        results["capacity"].accuracy.sel(memory="read by keys", drop=True).sortby("ratio").sel(ratio=slice(0.125, 1.0))
    )
    return across_lengths(accuracy).max("ratio")


def fixed(results: Results, memory: str = "state space") -> xr.DataArray:
    """Accuracy by length at one fixed state size."""
    return results["capacity"].accuracy_fixed.sel(memory_fixed=memory, drop=True)


def worst_at(results: Results, ratio: float) -> xr.DataArray:
    """The lowest accuracy over lengths at one N / T."""
    return results["capacity"].accuracy.sel(memory="read by keys", ratio=ratio, drop=True).min("pairs")


def best_at(results: Results, ratio: float) -> xr.DataArray:
    """The highest accuracy over lengths at one N / T."""
    return results["capacity"].accuracy.sel(memory="read by keys", ratio=ratio, drop=True).max("pairs")


def one_hot_error(results: Results, share: float) -> xr.DataArray:
    """The largest COPY error of one-hot keys over lengths, as a logarithm; below float resolution counts as 1e-16."""
    errors = results["capacity"].error_one_hot.sel(share=share, drop=True).max("pairs")
    return xr.DataArray(np.log10(errors.clip(min=1e-16)))


def slot_accuracy(results: Results, slots: str, worst: bool) -> xr.DataArray:
    """The lowest or highest accuracy of the construction over lags and lengths."""
    accuracy = results["slots"].accuracy.sel(slots=slots, drop=True)
    return accuracy.min(("lag", "pairs")) if worst else accuracy.max(("lag", "pairs"))


def growth_of_bytes(results: Results, family: str) -> xr.DataArray:
    """State bytes at the greatest length over those at the smallest."""
    held = results["cost"].state_bytes.sel(family=family, drop=True)
    return held.isel(tokens=-1, drop=True) / held.isel(tokens=0, drop=True)


def relative_cost(results: Results, regime: str) -> xr.DataArray:
    """Operations over those of attention, at the greatest length over at the smallest."""
    operations = results["cost"].operations
    ratio = operations.sel(regime=regime, drop=True) / operations.sel(regime="attention", drop=True)
    return ratio.isel(tokens=-1, drop=True) / ratio.isel(tokens=0, drop=True)


def cost_slope(results: Results, regime: str) -> xr.DataArray:
    """The exponent of the length in the cost, between the smallest length and the greatest."""
    ends = np.log(results["cost"].operations.sel(regime=regime, drop=True).isel(tokens=[0, -1]))
    return ends.diff("tokens").isel(tokens=0, drop=True) / float(np.diff(np.log(ends.tokens.values))[0])


# ------------------------------------------------------------------------------------------------ copying


def steps_ratio(results: Results, faster: str, slower: str) -> xr.DataArray:
    """Updates to a character accuracy of 0.95, one arm over the other; unlearnt copying counts with all its updates."""
    return results[faster].learned_at / results[slower].learned_at


def final_accuracy(results: Results, arm: str) -> xr.DataArray:
    """Character accuracy on the longest training strings at the end."""
    return results[arm].char_accuracy.sel(split="test", drop=True).isel(step=-1, drop=True)


def fall(results: Results, arm: str) -> xr.DataArray:
    """Strings copied exactly, free-running: share of the shortest tested minus share of the longest trained."""
    exact = results[arm].string_free
    return exact.isel(length=0, drop=True) - exact.sel(length=int(results[arm].max_length.isel(seed=0)), drop=True)


def gain_of_state(results: Results, smaller: str, larger: str) -> xr.DataArray:
    """What a larger state adds at equal updates to character accuracy on the longest training strings."""
    return final_accuracy(results, larger) - final_accuracy(results, smaller)


# ------------------------------------------------------------------------------------------------ chains of thought


def final(results: Results, arm: str, score: str) -> xr.DataArray:
    """A score at the end of training."""
    return results[arm][score].isel(step=-1, drop=True)


def lowest(results: Results, arms: Sequence[str], score: str) -> xr.DataArray:
    """The lowest final score over arms, seed by seed."""
    return xr.concat([final(results, arm, score) for arm in arms], "arm").min("arm")


def gain_of_chain(results: Results, program: str) -> xr.DataArray:
    """Right answers with the chain minus those without, at equal updates or fewer."""
    return final(results, f"{program}-cot", "answer") - final(results, f"{program}-direct", "answer")


def lag_behind(results: Results, program: str) -> xr.DataArray:
    """Exact chains of the state space model minus those of the transformer."""
    return final(results, f"{program}-cot-ssm", "chain") - final(results, f"{program}-cot", "chain")


def matched(results: Results, one: str, other: str) -> xr.DataArray:
    """Whether two arms have the same number of parameters, to a tenth."""
    return abs(np.log(results[one].parameters / results[other].parameters)) < np.log(1.1)


# ------------------------------------------------------------------------------------------------ locality


def smallest_state(data: xr.Dataset) -> xr.DataArray:
    """The smallest state that solves the task; twice the largest tried where none does."""
    solved = data.accuracy >= SOLVED
    first = solved.state.where(solved).min("state")
    return first.fillna(2 * float(data.state.max()))


def state_growth(results: Results, arms: Sequence[str]) -> xr.DataArray:
    """How often the smallest state doubles from the first arm to the last."""
    ratio = smallest_state(results[arms[-1]]) / smallest_state(results[arms[0]])
    return xr.DataArray(np.log2(ratio))


CLAIMS = (
    Claim(
        name="capacity-is-state-over-length",
        statement="What a state space layer without decay copies depends on N / T alone: accuracies at T = 32 and T = 512 "
        "differ by at most 0.05, for N / T from 1/8 to 1.",
        source="abstract: constant size fails, linear size suffices; the law: ours",
        value=scaled,
        at_most=0.05,
        controls={"the same N at both lengths": lambda r: across_lengths(fixed(r))},
    ),
    Claim(
        name="linear-size-copies",
        statement="A state that grows linearly, N = 2 T, copies at least 99 % of symbols at every length.",
        source="abstract: linear size",
        value=lambda r: worst_at(r, 2.0),
        at_least=0.99,
        controls={"N = T / 8": lambda r: best_at(r, 0.125)},
    ),
    Claim(
        name="small-state-does-not-copy",
        statement="At N = T / 8 a state space layer copies at most 45 % of symbols.",
        source="abstract: constant size",
        value=lambda r: best_at(r, 0.125),
        at_most=0.45,
        controls={
            "N = 2 T": lambda r: worst_at(r, 2.0),
            "softmax attention, keys of width 16": lambda r: fixed(r, "softmax attention").min("pairs"),
        },
    ),
    Claim(
        name="one-hot-copy-is-exact",
        statement="With one-hot keys and N = T the layer copies exactly: the largest error is at most 1e-5.",
        source="abstract: linear size; construction: ours",
        value=lambda r: one_hot_error(r, 1.0),
        at_most=-5,
        controls={"N = T / 2": lambda r: one_hot_error(r, 0.5)},
        unit="log10",
    ),
    Claim(
        name="copy-gap",
        statement="Strings of up to 12 characters: the transformer with ALiBi reaches a character accuracy of 0.95 at 12 in "
        "less than half of the state space model's updates (all its updates where it does not get there). With up to 6 "
        "characters it does not.",
        source="abstract: experiments on copying",
        value=lambda r: steps_ratio(r, "copy-alibi", "copy-ssm"),
        at_most=0.5,
        controls={
            "strings of up to 6 characters": lambda r: steps_ratio(r, "copy-alibi-short", "copy-ssm-short"),
        },
        guards={
            "matched parameters": lambda r: matched(r, "copy-alibi", "copy-ssm"),
            "the transformer learns": lambda r: final_accuracy(r, "copy-alibi") > 0.95,
            "the state space model learns short strings": lambda r: final_accuracy(r, "copy-ssm-short") > 0.9,
            "shuffled targets at chance": lambda r: abs(final_accuracy(r, "copy-alibi-shuffled") - 1 / 16) < 0.05,
        },
        unit="updates over updates",
    ),
    Claim(
        name="copying-falls-with-length",
        statement="A state space model trained on 2 to 12 characters copies fewer strings of 12 exactly than of 2, by at "
        "least 0.3 of all; the transformer with ALiBi does not.",
        source="abstract: constant size; trained: ours",
        value=lambda r: fall(r, "copy-ssm"),
        at_least=0.3,
        controls={"transformer with ALiBi": lambda r: fall(r, "copy-alibi")},
        guards={
            "the transformer learns": lambda r: final_accuracy(r, "copy-alibi") > 0.95,
            "the state space model copies the shortest": lambda r: r["copy-ssm"].string_free.isel(length=0) > 0.9,
        },
        unit="exact strings",
    ),
    Claim(
        name="larger-state-copies-more",
        statement="Strings of up to 12 characters: at equal updates 16 numbers per channel copy more characters of 12 than "
        "one, by at least 0.02 of all.",
        source="abstract: linear size; trained: ours",
        value=lambda r: gain_of_state(r, "copy-ssm-small-state", "copy-ssm"),
        at_least=0.02,
        controls={
            "strings of up to 6 characters": lambda r: gain_of_state(r, "copy-ssm-short-small-state", "copy-ssm-short")
        },
        unit="accuracy",
    ),
    Claim(
        name="chain-of-thought-solves",
        statement="With a chain of thought a transformer gives at least 95 % right answers on prefix sums and longest "
        "increasing subsequences (LIS).",
        source="Feng et al., arXiv 2305.15408",
        value=lambda r: lowest(r, ("prefix-long-cot", "lis-long-cot"), "answer"),
        at_least=0.95,
        controls={
            "prefix sums at once": lambda r: final(r, "prefix-long-direct", "answer"),
            "LIS at once": lambda r: final(r, "lis-long-direct", "answer"),
        },
        unit="accuracy",
    ),
    Claim(
        name="chain-of-thought-helps",
        statement="Without the chain the same model gives fewer right answers, by at least 0.2, at no fewer updates.",
        source="Feng et al., arXiv 2305.15408",
        value=lambda r: xr.concat([gain_of_chain(r, p) for p in ("prefix-long", "lis-long")], "program").min("program"),
        at_least=0.2,
        controls={"LIS of 4 numbers": lambda r: gain_of_chain(r, "lis-short")},
        unit="accuracy",
    ),
    Claim(
        name="fewer-correct-prefix-sums",
        statement="Prefix sums of 10 summands: the state space model writes fewer exact chains than the transformer, by at "
        "least 0.1, at equal parameters and no fewer updates. It is still learning: this does not say that it cannot.",
        source="abstract: experiments on chains of thought",
        value=lambda r: lag_behind(r, "prefix-medium"),
        at_most=-0.1,
        controls={"6 summands": lambda r: lag_behind(r, "prefix-short")},
        guards={
            "matched parameters": lambda r: matched(r, "prefix-medium-cot", "prefix-medium-cot-ssm"),
            "the state space model learns 6 summands": lambda r: final(r, "prefix-short-cot-ssm", "chain") > 0.95,
        },
        unit="exact chains",
    ),
    Claim(
        name="fewer-correct-subsequences",
        statement="LIS of 10 numbers: the state space model writes fewer exact chains than the transformer, by at least "
        "0.1, at equal parameters and no fewer updates.",
        source="abstract: experiments on chains of thought",
        value=lambda r: lag_behind(r, "lis-long"),
        at_most=-0.1,
        controls={"prefix sums of 6 summands": lambda r: lag_behind(r, "prefix-short")},
        guards={
            "matched parameters": lambda r: matched(r, "lis-long-cot", "lis-long-cot-ssm"),
            "the state space model learns 6 summands": lambda r: final(r, "prefix-short-cot-ssm", "chain") > 0.95,
        },
        unit="exact chains",
    ),
    Claim(
        name="state-grows-with-locality",
        statement="The smallest state that learns a lagged sum at 32 pairs grows with the lag m: at least twofold from "
        "m = 1 to m = 4.",
        source="abstract: locality",
        value=lambda r: state_growth(r, LAGS),
        at_least=1.0,
        controls={"the length from 12 to 48 at m = 2": lambda r: state_growth(r, LENGTHS)},
        guards={"some state learns m = 4": lambda r: r["local-lag3"].accuracy.max("state") >= SOLVED},
        unit="doublings",
    ),
    Claim(
        name="state-does-not-grow-with-length",
        statement="The smallest state that learns a lagged sum with m = 2 is no larger at 48 pairs than at 12.",
        source="abstract: locality",
        value=lambda r: state_growth(r, LENGTHS),
        at_most=0.0,
        controls={"the lag from 1 to 4 at 32 pairs": lambda r: state_growth(r, LAGS)},
        guards={"some state learns 48 pairs": lambda r: r["local-longer"].accuracy.max("state") >= SOLVED},
        unit="doublings",
    ),
    Claim(
        name="slots-suffice",
        statement="Without training: m overwritten slots solve a lagged sum exactly, for lags to 32 and lengths to 1024.",
        source="abstract: locality; construction: ours",
        value=lambda r: slot_accuracy(r, "m", worst=True),
        at_least=0.999,
        controls={"m - 1 slots": lambda r: slot_accuracy(r, "m - 1", worst=False)},
        unit="accuracy",
    ),
    Claim(
        name="decoding-state-is-constant",
        statement="The state that decoding carries holds as many bytes after 4096 tokens as after 64.",
        source="abstract: inference cost",
        value=lambda r: growth_of_bytes(r, "state space"),
        at_most=1.0,
        controls={"transformer": lambda r: growth_of_bytes(r, "transformer")},
        deterministic=True,
        unit="bytes over bytes",
    ),
    Claim(
        name="linear-size-saves-nothing",
        statement="With a state that grows like the length, as arbitrary dynamic programs may need, the cost over that of "
        "attention does not fall: from 64 to 4096 tokens it keeps at least 0.9 of its value.",
        source="abstract: arbitrary dynamic programs",
        value=lambda r: relative_cost(r, "state as long as the problem"),
        at_least=0.9,
        controls={
            "state of fixed size": lambda r: relative_cost(r, "state of fixed size"),
            "state as large as the locality": lambda r: relative_cost(r, "state as large as the locality"),
        },
        deterministic=True,
    ),
    Claim(
        name="locality-saves",
        statement="With a state as large as the locality m the cost is linear in the length: its exponent is at most 1.05.",
        source="abstract: locality",
        value=lambda r: cost_slope(r, "state as large as the locality"),
        at_most=1.05,
        controls={"state as long as the problem": lambda r: cost_slope(r, "state as long as the problem")},
        deterministic=True,
        unit="exponent",
    ),
)
