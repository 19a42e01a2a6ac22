"""Do rewards point the right way? Each factor against the true distance to the goal.

Shapes: N actions, F factors, nodes are choices with several actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy import stats

from elegans.lab.run import Run
from elegans.models.base import SequenceModel
from elegans.reasoning.search.composite import Composite
from elegans.reasoning.search.contrast import ActionReader
from elegans.studies.contrastive_mcts.arms import RewardConfig
from elegans.studies.contrastive_mcts.prompting import WorldPrompts, problems, scorer, walk
from elegans.studies.contrastive_mcts.searching import MODEL_FACTORS, factors_of
from elegans.studies.contrastive_mcts.training import trained
from elegans.tasks.blocksworld.world import buffered

PAIRS = {
    "20 %": (0.2, "amateur"),
    "50 %": (0.5, "amateur"),
    "100 %": (1.0, "amateur"),
    "100 %, early self": (1.0, "early"),
    "100 %, itself": (1.0, "self"),
}
"""Experts by the share of their training, and the amateur beside each."""

PAPER_FACTORS = ("ll", "se", "jsd")

Read = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]
"""Factors, whether each action lowers the distance, and the number of its choice, all [N]."""


def judge(config: RewardConfig, seed: int, run: Run) -> xr.Dataset:
    """`auc` of each factor for each pair of models, over all actions (``pooled``) and among those of one choice.

    Of the last expert and its amateur beside: correlations of the paper's factors, how their composite ranks with each,
    raw and standardized, and in how many choices the divergence changes the ranking of log-likelihood and
    self-evaluation.
    """
    rows, end = [], None
    for number, (name, (stage, other)) in enumerate(PAIRS.items()):
        run.progress(number, len(PAIRS))
        expert = trained(run, "expert", stage)
        early = {"early": 0.2, "self": stage}
        amateur = trained(run, "expert", early[other]) if other in early else trained(run, "amateur")
        read = _read(config, expert, amateur)
        end = read if name == "100 %" else end
        rows.append([_aucs(read, factor) for factor in MODEL_FACTORS])
    assert end is not None
    coords = {"pair": list(PAIRS), "factor": list(MODEL_FACTORS), "among": ["pooled", "one choice"]}
    return xr.Dataset({"auc": (("pair", "factor", "among"), rows)}, coords=coords).merge(_composition(*end))


def _read(config: RewardConfig, expert: SequenceModel, amateur: SequenceModel) -> Read:
    texts = WorldPrompts()
    judges = factors_of(ActionReader(texts.prompts, scorer(expert), scorer(amateur)))
    composite = Composite(list(judges.values()))
    values: dict[str, list[float]] = {name: [] for name in judges}
    lowers, groups, count = [], [], 0
    for plain in problems(config.part, config.four, config.five):
        problem = buffered(plain)
        texts.set(problem)
        for choice, good in walk(problem, wrong=config.wrong, seed=0):
            found = composite.factors_of(choice)
            for name, factor in judges.items():
                values[name] += found[factor.name]
            lowers += good
            groups += [count] * len(good)
            count += 1
    return {name: np.array(value) for name, value in values.items()}, np.array(lowers), np.array(groups)


def _aucs(read: Read, factor: str) -> list[float]:
    values, lowers, groups = read
    within = [auc(values[factor][groups == g], lowers[groups == g]) for g in np.unique(groups)]
    within = [value for value in within if not np.isnan(value)]
    return [auc(values[factor], lowers), float(np.mean(within)) if within else float("nan")]


def auc(values: Float[np.ndarray, " N"], labels: Bool[np.ndarray, " N"]) -> float:
    """The chance that a value with the label is above one without, half for equals; nan where one kind is missing."""
    yes, no = int(labels.sum()), int((~labels).sum())
    if not yes or not no:
        return float("nan")
    return float((stats.rankdata(values)[labels].sum() - yes * (yes + 1) / 2) / (yes * no))


def _composition(values: Mapping[str, np.ndarray], _: np.ndarray, groups: np.ndarray) -> xr.Dataset:
    raw = {name: values[name] for name in PAPER_FACTORS}
    standard = {name: (x - x.mean()) / max(float(x.std()), 1e-12) for name, x in raw.items()}
    kinds = {"raw": raw, "standardized": standard}
    ranks = [
        [_spearman(np.sum(list(kind.values()), axis=0), kind[name]) for name in PAPER_FACTORS]
        for kind in kinds.values()
    ]
    changed = [changed_rankings(kind["ll"] + kind["se"], kind["jsd"], groups) for kind in kinds.values()]
    coords = {"scale": list(kinds), "part": list(PAPER_FACTORS), "other": list(PAPER_FACTORS)}
    return xr.Dataset(
        {
            "rank_correlation": (("scale", "part"), ranks),
            "ranking_changed": ("scale", changed),
            "correlation": (("part", "other"), np.corrcoef([raw[name] for name in PAPER_FACTORS])),
            "skewness": ("part", [stats.skew(raw[name]) for name in PAPER_FACTORS]),
            "kurtosis": ("part", [stats.kurtosis(raw[name]) for name in PAPER_FACTORS]),
            "actions": len(groups),
        },
        coords=coords,
    )


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])


def changed_rankings(base: np.ndarray, added: np.ndarray, groups: Sequence[int] | np.ndarray) -> float:
    """The share of choices with several actions whose order changes when something is added to their rewards."""
    groups = np.asarray(groups)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    several = [rows for rows in members if len(rows) > 1]
    total = base + added
    return float(np.mean([(np.argsort(base[rows]) != np.argsort(total[rows])).any() for rows in several]))
