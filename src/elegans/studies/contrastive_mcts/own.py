"""Search on a user's own problems with a user's own language model: an ordinary study, made by `solve_study`.

Three planners try every problem: the search, the same model without search (its likeliest action, step after step), and
the same search with random rewards in place of the model's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from elegans.studies.contrastive_mcts.own_config import CONTRASTIVE, Answer, SolveConfig
from elegans.study import (
    Arm,
    Bars,
    Claim,
    Figure,
    Paper,
    Results,
    Study,
    Trees,
    UsageError,
    own_name,
    unknown,
)

if TYPE_CHECKING:
    import xarray as xr

    from elegans.studies.contrastive_mcts.own_prompts import Shown
    from elegans.tasks.planning import Problem

ARM = "search"
EXPERIMENT = "elegans.studies.contrastive_mcts.solving:solve"


def solve_study(
    problems: str | Path,
    expert: str | Path,
    *,
    world: str = "blocksworld",
    amateur: str | Path | None = None,
    examples: str | Path | None = None,
    **settings: Any,
) -> Study:
    """The study whether search solves more of some problems than the model alone, for `elegans.lab` to run.

    Args:
        problems: a file, see `elegans.tasks.problem_file`.
        expert: a directory as `elegans.lm.load_lm` reads it, or ``http://host:port/v1#model``, a server as
            `elegans.reasoning.ServerScorer` asks it.
        world: what the problems are of.
        amateur: a directory with a weaker model of the same tokenizer, for the rewards ``cd`` and ``jsd``; it is not
            asked where the reward has neither.
        examples: problems whose shortest plans stand in front of every prompt; drawn where there is no such file.
        settings: further ones of `SolveConfig`.

    Raises `UsageError`, before anything is searched, for whatever is missing, malformed or does not fit together.
    """
    from elegans.tasks.problem_file import WORLDS

    if world not in WORLDS and ":" not in world:
        raise unknown("world", world, [*WORLDS, "package.module:function"])
    server = str(expert) if str(expert).startswith(("http://", "https://")) else ""
    path = Path(problems).resolve()
    config = SolveConfig(
        problems=str(path),
        world=world,
        lm="" if server else str(Path(expert).resolve()),
        server=server,
        amateur=str(Path(amateur).resolve()) if amateur is not None else "",
        examples=str(Path(examples).resolve()) if examples is not None else "",
        **settings,
    )
    from elegans.studies.contrastive_mcts.own_problems import digest

    _check(config)
    if not set(config.factors) & set(CONTRASTIVE):
        config = config.replace(amateur="")
    model = server.rpartition("#")[2] or Path(config.lm).name
    return Study(
        name=own_name("solve", path),
        title=f"Search: {model} on {path.name}",
        question=f"Does tree search with the model {model} solve more of the problems in {path.name} than the model "
        "alone, and is it the model's rewards that do it?",
        paper=Paper(
            arxiv="2410.01707",
            title="Interpretable Contrastive Monte Carlo Tree Search Reasoning",
            authors="Z. Gao, B. Niu, X. He, H. Xu, H. Liu, A. Liu, X. Hu, L. Wen",
            code="https://github.com/zitian-gao/SC-MCTS",
        ),
        arms={"laptop": {ARM: Arm(EXPERIMENT, config.replace(digest=digest(config)))}},
        claims=[CLAIM],
        figures=FIGURES,
        differences=[
            "Other problems and another model, prompted with problems that are solved by the shortest plan; the default "
            "search is the one that measured best in the study contrastive-mcts, not the paper's.",
            "The greedy plan takes the likeliest legal action step after step and has no budget but the depth.",
            "Random rewards have as many iterations as the search of the same problem made.",
        ],
        seeds=1,
    )


def _check(config: SolveConfig) -> None:
    """Read what the job will read, weights apart; raises `UsageError`."""
    from elegans.reasoning.scorer import ScorerError
    from elegans.studies.contrastive_mcts.own_problems import load
    from elegans.studies.contrastive_mcts.own_prompts import shown
    from elegans.studies.contrastive_mcts.solving import connect

    try:
        problems = load(config)
        examples = shown(config, problems)
        if config.server:
            connect(config)
        else:
            _check_directories(config, problems, examples)
    except (ValueError, ScorerError) as error:
        raise UsageError(str(error)) from None


def _check_directories(config: SolveConfig, problems: list[Problem[Any, Any]], examples: Shown) -> None:
    """Whole models with one tokenizer, which read prompts as long as they may get."""
    from elegans.lm.directory import check_lm
    from elegans.reasoning.hf import HFTokenizer
    from elegans.reasoning.search.node import Trajectory
    from elegans.studies.contrastive_mcts.own_prompts import longest

    expert = check_lm(config.lm)
    if config.amateur and check_lm(config.amateur).tokenizer.get_vocab() != expert.tokenizer.get_vocab():
        raise ValueError(f"{config.amateur} has another tokenizer than {config.lm}; expert and amateur must share one")
    texts = []
    for problem in problems:
        prompts = examples.prompts(problem.world, judge="se" in config.factors)
        way = longest(problem, config.depth)
        texts.append(prompts.policy(way))
        if prompts.judge and way.actions:
            texts.append("".join(map(str, prompts.judge(Trajectory((problem.start,)), way.actions[0]))))
    tokens = len(HFTokenizer(expert.tokenizer).encode(max(texts, key=len)))
    if expert.context and tokens > expert.context:
        raise ValueError(
            f"prompts may take {tokens} tokens, the model reads {expert.context}; "
            "use fewer --shots, less --depth, or --render compact"
        )


# ------------------------------------------------------------------------------------------------ what is shown


def solved(results: Results, planner: str) -> xr.DataArray:
    """How many problems a planner solves; of several random searches the mean."""
    return results[ARM].solved.sel(planner=planner, drop=True).sum("problem")


CLAIM = Claim(
    name="search-beats-greedy",
    statement="Search solves more of these problems than the greedy plan of the same model.",
    source="ours",
    value=lambda r: solved(r, "search") - solved(r, "greedy"),
    at_least=1,
    controls={"random rewards": lambda r: solved(r, "random") - solved(r, "greedy")},
    guards={"the greedy plan leaves a problem unsolved": lambda r: solved(r, "greedy") < r[ARM].sizes["problem"]},
    deterministic=True,
    unit="problems",
)

FIGURES: list[Figure] = [
    Bars(
        name="solved",
        caption="Share of the problems that each planner solves.",
        data=lambda r: r[ARM].solved.mean("problem"),
        x="planner",
        y_label="share of problems",
    ),
    Bars(
        name="nodes",
        caption="Choices that were looked at, by problem.",
        data=lambda r: r[ARM].nodes,
        x="problem",
        y_label="expanded nodes",
        color="planner",
    ),
    Bars(
        name="tokens",
        caption="Tokens that the expert read, by problem.",
        data=lambda r: r[ARM].tokens.sel(planner=["search", "greedy"]),
        x="problem",
        y_label="tokens",
        color="planner",
    ),
    Trees(
        name="trees",
        caption="The searched tree of each problem.",
        data=lambda r: r[ARM].trace,
        x="problem",
        y_label="mean reward per step",
    ),
]


def answers(results: Results) -> list[Answer]:
    """What became of each problem, from the stored results."""
    data = results[ARM].isel(seed=0)
    search = data.sel(planner="search")
    return [
        Answer(
            problem=str(name),
            solved=bool(row.solved),
            status=str(row.status.item()),
            fault="",
            plan=tuple(str(row.plan.item()).splitlines()),
            shortest=None if row.shortest.isnull() else int(row.shortest),
            greedy=bool(data.solved.sel(planner="greedy", problem=name)),
            passes=int(row.passes),
            tokens=int(row.tokens),
            seconds=float(row.seconds),
        )
        for name in data.problem.values
        for row in [search.sel(problem=name)]
    ]


def summary(found: list[Answer]) -> str:
    """One line on all problems."""
    n, by_search, by_greedy = len(found), sum(a.solved for a in found), sum(a.greedy for a in found)
    passes, tokens, seconds = (sum(getattr(a, name) for a in found) for name in ("passes", "tokens", "seconds"))
    return (
        f"solved {by_search} of {n}; greedy {by_greedy} of {n}; {passes} passes, {tokens} tokens, {seconds:.1f} seconds"
    )
