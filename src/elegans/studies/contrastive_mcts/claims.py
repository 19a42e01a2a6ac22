"""What the paper says, as executable claims.

Each value is one number per seed: an expert, an amateur and a draft of its own, all on the same problems. Differences are
of shares of solved problems, paired.
"""

from __future__ import annotations

import xarray as xr

from elegans.studies.contrastive_mcts.settings import OPEN_LOOP
from elegans.study import Claim, Metric, Results


def solved(results: Results, method: str) -> xr.DataArray:
    """Which problems a method solves, 0 or 1."""
    arm = "plans" if method in OPEN_LOOP else "search"
    return results[arm].solved.sel(planner=method, drop=True)


def success(results: Results, method: str) -> xr.DataArray:
    """The share of problems that a method solves."""
    return solved(results, method).mean("problem")


def gain(method: str, over: str, *others: str) -> Metric:
    """The share solved by a method minus that of another, or of the best of several."""

    def difference(results: Results) -> xr.DataArray:
        best = xr.concat([success(results, other) for other in (over, *others)], "other").max("other")
        return success(results, method) - best

    return difference


def agreement(method: str, other: str) -> Metric:
    """The share of problems that two methods both solve or both fail."""
    return lambda results: (solved(results, method) == solved(results, other)).mean("problem")


def auc(factor: str, pair: str = "100 %", among: str = "pooled") -> Metric:
    """How well a reward tells actions that lower the distance to the goal from others; 0.5 is chance."""
    return lambda results: results["rewards"].auc.sel(factor=factor, pair=pair, among=among, drop=True)


def auc_gain(factor: str, pair: str, since: str) -> Metric:
    """The difference of two areas."""
    return lambda results: auc(factor, pair)(results) - auc(factor, since)(results)


def least_part(results: Results, scale: str) -> xr.DataArray:
    """The smallest rank correlation of the composite with one of its factors."""
    return results["rewards"].rank_correlation.sel(scale=scale, drop=True).min("part")


def rankings_kept(results: Results, scale: str) -> xr.DataArray:
    """The share of choices whose order stays when the divergence joins log-likelihood and self-evaluation."""
    return 1 - results["rewards"].ranking_changed.sel(scale=scale, drop=True)


def speculated(quantity: str, variant: str) -> Metric:
    """A measurement of one pair of models."""
    return lambda results: results["speculation"][quantity].sel(variant=variant, drop=True)


COMPETENT: dict[str, Metric] = {
    "greedy plans solve between 0.2 and 0.8": lambda r: abs(success(r, "greedy plan") - 0.5) <= 0.3
}

SEARCH_CLAIMS = (
    Claim(
        name="search-beats-greedy",
        statement="Ten iterations of search by log-likelihood solve at least 0.15 more problems than the greedy plan.",
        source="abstract; margin: ours",
        value=gain("ll", "greedy plan"),
        at_least=0.15,
        controls={"random rewards": gain("random", "greedy plan")},
        guards=COMPETENT,
    ),
    Claim(
        name="search-beats-self-consistency",
        statement="The same search solves more problems than the plan that most of ten samples agree on.",
        source="ours, asked for by reviewers",
        value=gain("ll", "self-consistency of 10"),
        at_least=0.0,
        controls={"random rewards": gain("random", "self-consistency of 10")},
        guards=COMPETENT,
    ),
    Claim(
        name="search-beats-checked-sampling",
        statement="The same search solves more problems than the best of ten sampled plans with the same goal check: the "
        "comparison at about equal tokens that decides whether a tree is worth its trouble.",
        source="ours, asked for by reviewers",
        value=gain("ll", "best of 10"),
        at_least=0.0,
        controls={"random rewards": gain("random", "best of 10")},
        guards=COMPETENT,
    ),
    Claim(
        name="search-without-verifier",
        statement="Told nothing of the goal, neither as a reward nor in choosing a path, search still beats the greedy "
        "plan.",
        source="section on rewards: no verifier as a reward",
        value=gain("ll, no goal", "greedy plan"),
        at_least=0.0,
        controls={"random rewards": gain("random, no goal", "greedy plan")},
        guards=COMPETENT,
    ),
    Claim(
        name="composite-beats-rap",
        statement="Normalized log-likelihood, self-evaluation and divergence together solve more problems than RAP's raw "
        "rewards.",
        source="Table 2",
        value=gain("composite", "rap"),
        at_least=0.0,
        controls={"random rewards": gain("random", "rap")},
        guards=COMPETENT,
    ),
    Claim(
        name="divergence-does-the-harm",
        statement="Without the divergence the normalized composite solves at least 0.1 more; added to raw rewards it is too "
        "small to do anything.",
        source="ours",
        value=gain("normalized", "composite"),
        at_least=0.1,
        controls={"raw rewards": gain("rap", "rap+jsd")},
        guards=COMPETENT,
    ),
    Claim(
        name="normalization-lets-factors-in",
        statement="Standardized, every factor has a rank correlation of at least 0.3 with the composite; raw, not the "
        "divergence.",
        source="section on normalization; threshold: ours",
        value=lambda r: least_part(r, "standardized"),
        at_least=0.3,
        controls={"raw rewards": lambda r: least_part(r, "raw")},
        guards=COMPETENT,
    ),
    Claim(
        name="raw-divergence-is-silent",
        statement="Added raw, the divergence leaves the order of actions unchanged in at least 95 % of choices.",
        source="ours; the released code adds it raw",
        value=lambda r: rankings_kept(r, "raw"),
        at_least=0.95,
        controls={"standardized": lambda r: rankings_kept(r, "standardized")},
        guards=COMPETENT,
    ),
    Claim(
        name="exploration-matches-scale",
        statement="With rewards as they are, C = 1 solves at least 0.02 more problems than both C = 0 and C = 50.",
        source="Fig. 4; margin: ours",
        value=gain("ll", "ll C=0", "ll C=50"),
        at_least=0.02,
        controls={"rewards 128 times larger": gain("ll, scaled", "ll C=0", "ll C=50")},
        guards=COMPETENT,
    ),
    Claim(
        name="scale-free-constant",
        statement="A constant that follows the values in the tree gives the same outcomes whatever rewards are multiplied "
        "by.",
        source="ours, after arXiv 2510.21275",
        value=agreement("ll, scale-free", "ll, scale-free, scaled"),
        at_least=1.0,
        controls={"C = 1": agreement("ll", "ll, scaled")},
        guards=COMPETENT,
    ),
    Claim(
        name="progress-backup-helps",
        statement="Crediting progress in back-propagation solves more problems. What speaks against it: the credit goes to "
        "visited actions only, so untried ones look worse and exploration starves.",
        source="eq. 3",
        value=gain("progress", "ll+se"),
        at_least=0.0,
        controls={"no penalties": gain("progress, no penalties", "ll+se")},
        guards=COMPETENT,
    ),
    Claim(
        name="first-play-repairs-progress",
        statement="Where untried actions are judged on the scale of tried ones, the same credit costs at most 0.03.",
        source="ours",
        value=gain("progress, first play", "ll+se, first play"),
        at_least=-0.03,
        controls={"untried actions judged by one step": gain("progress", "ll+se")},
        guards=COMPETENT,
    ),
    Claim(
        name="iterations-help",
        statement="Seven iterations solve at least 0.1 more problems than one.",
        source="Fig. 5; margin: ours",
        value=gain("ll x7", "ll x1"),
        at_least=0.1,
        controls={"random rewards, ten": gain("random", "random x1")},
        guards=COMPETENT,
    ),
    Claim(
        name="flat-at-ten",
        statement="From 10 to 30 iterations success rises by at most 0.03.",
        source="Fig. 5; margin: ours",
        value=gain("ll x30", "ll"),
        at_most=0.03,
        controls={"from 1 to 10": gain("ll", "ll x1")},
        guards=COMPETENT,
    ),
)

REWARD_CLAIMS = (
    Claim(
        name="divergence-is-informative",
        statement="The divergence of expert and amateur tells actions that lower the distance to the goal from others: an "
        "area of at least 0.55. What speaks against it: the first token of every action follows the same prompt, so its "
        "divergence is the same for all, and only later tokens can tell actions apart.",
        source="ours; the paper shows histograms only",
        value=auc("jsd"),
        at_least=0.55,
        controls={"amateur = expert": auc("jsd", "100 %, itself")},
        guards=COMPETENT,
    ),
    Claim(
        name="log-ratio-is-informative",
        statement="The log-ratio of expert and amateur does: an area of at least 0.6.",
        source="ours; the paper's appendix rejects the log-ratio as unstable",
        value=auc("cd"),
        at_least=0.6,
        controls={"amateur = expert": auc("cd", "100 %, itself")},
        guards=COMPETENT,
    ),
    Claim(
        name="log-ratio-grows-with-the-gap",
        statement="Its area rises by at least 0.1 from an expert at 20 % of its training to the end.",
        source="ours",
        value=auc_gain("cd", "100 %", "20 %"),
        at_least=0.1,
        controls={"amateur = expert": lambda r: auc("cd", "100 %, itself")(r) - 0.5},
        guards=COMPETENT,
    ),
)

SPECULATION_CLAIMS = (
    Claim(
        name="speculation-is-exact",
        statement="Texts written with a draft are those of the expert alone, without exception.",
        source="section on speculative decoding",
        value=speculated("identical", "deep, 4 ahead"),
        at_least=1.0,
        controls={"an untrained draft alone": lambda r: r["speculation"].identical_untrained},
        guards=COMPETENT | {"padding leaves logits alone": lambda r: r["speculation"].padding_error < 1e-4},
    ),
    Claim(
        name="speculation-is-faster",
        statement="At a latency ratio above 10, four tokens ahead, a state is written at least 1.4 times faster.",
        source="Fig. 3; threshold: ours",
        value=speculated("speedup", "deep, 4 ahead"),
        at_least=1.4,
        controls={
            "untrained draft": speculated("speedup", "deep, untrained draft"),
            "expert as its own draft": speculated("speedup", "deep, drafts for itself"),
            "no padding": speculated("speedup", "as trained"),
        },
        guards=COMPETENT | {"latency ratio above 10": lambda r: speculated("latency_ratio", "deep, 4 ahead")(r) > 10},
        unit="x",
    ),
)

CLAIMS = (*SEARCH_CLAIMS, *REWARD_CLAIMS, *SPECULATION_CLAIMS)
