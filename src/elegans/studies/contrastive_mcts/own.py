"""Search on a user's own problems with a user's own language model: an ordinary study, made by `solve_study`.

Three planners try every problem: the search, the same model without search (its likeliest action, step after step), and
the same search with random rewards in place of the model's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elegans.study import (
    Arm,
    Bars,
    Claim,
    Config,
    Figure,
    Paper,
    Results,
    Study,
    Trees,
    UsageError,
    own_name,
    setting,
    unknown,
)

if TYPE_CHECKING:
    import xarray as xr

    from elegans.studies.contrastive_mcts.own_prompts import Shown
    from elegans.tasks.planning import Problem

ARM = "search"
EXPERIMENT = "elegans.studies.contrastive_mcts.solving:solve"
REWARDS = {
    "ll": "log-likelihood of the action",
    "se": "self-evaluation: one more pass per choice",
    "cd": "log-ratio of expert and amateur",
    "jsd": "Jensen-Shannon divergence of expert and amateur",
}
CONTRASTIVE = ("cd", "jsd")


@dataclass(frozen=True, kw_only=True)
class SolveConfig(Config):
    """The problems, the models, what they are shown, and the search. The seed is that of the random rewards."""

    problems: str = setting("", "file of problems, see elegans.tasks.problem_file")
    digest: str = setting("", "of what is read from files and of the amateur: another content is another job")
    world: str = setting("blocksworld", "blocksworld, countdown, or 'package.module:function'")
    render: Literal["english", "compact", "pddl"] = setting("english", "how Blocksworld is written")
    lm: str = setting("", "the expert: directory of a Hugging Face causal LM; empty where it is behind a server")
    server: str = setting("", "the expert behind an OpenAI-compatible server: http://host:port/v1#model")
    amateur: str = setting("", "directory of the amateur; empty where no reward asks it")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting("auto", "of the weights in memory")
    shots: int = setting(4, "solved problems in front of every prompt", at_least=0, at_most=64)
    examples: str = setting("", "file of the problems to be solved there; empty: drawn, none of the user's")
    reward: str = setting("ll+se", "factors, each with weight 1, joined by +")
    iterations: int = setting(30, "of the search for a problem, at most", at_least=1)
    depth: int = setting(16, "actions in a plan, at most", at_least=1)
    c: float = setting(1.0, "exploration constant of UCT", at_least=0)
    passes: int | None = setting(None, "of the expert in the search for a problem, at most", at_least=0)
    tokens: int | None = setting(None, "that the expert reads in the search for a problem, at most", at_least=0)
    seconds: float | None = setting(None, "of the search for a problem, at most", at_least=0)
    stop_when_solved: bool = setting(False, "end the search for a problem with the first plan, in place of the best")
    draws: int = setting(5, "searches with random rewards for each problem", at_least=1)
    timeout: float = setting(60.0, "seconds for one request to a server", above=0)
    retries: int = setting(3, "further attempts of a request", at_least=0)

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors."""
        return tuple(self.reward.split("+"))

    def check(self) -> None:
        """Rewards that exist and can be had."""
        for name in self.factors:
            if name not in REWARDS:
                raise unknown("reward", name, REWARDS)
        if len(set(self.factors)) < len(self.factors):
            raise UsageError(f"reward names a factor twice: {self.reward}")
        asking = [name for name in self.factors if name in CONTRASTIVE]
        if asking and not self.amateur:
            raise UsageError(f"the reward {asking[0]} compares the expert with an amateur; name one by --amateur")
        if asking and self.server:
            raise UsageError(f"the reward {asking[0]} needs whole distributions, which no server gives")
        if self.render != "english" and self.world != "blocksworld":
            raise UsageError(f"there is one way to write {self.world}; {self.render} is for blocksworld")


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


def digest(config: SolveConfig) -> str:
    """A hash of all that is read but the expert, whose files the lab looks at.

    Problems are taken as they were read too, since a split file names other files.
    """
    found = hashlib.blake2b(digest_size=16)
    for name in filter(None, (config.problems, config.examples)):
        path = Path(name)
        for file in sorted(path.rglob("*.pddl")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    for problem in load(config):
        found.update(f"{problem.name}\n{problem.world.render_state(problem.start)}\n".encode())
    for file in sorted(Path(config.amateur).iterdir()) if config.amateur else ():
        found.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}\n".encode())
    return found.hexdigest()


def load(config: SolveConfig, *, examples: bool = False) -> list[Problem[Any, Any]]:
    """The problems of a config, or those of its file of examples. Raises `ValueError`."""
    from elegans.studies.contrastive_mcts.own_prompts import NOTATIONS
    from elegans.tasks.problem_file import load_problems

    return load_problems(
        config.examples if examples else config.problems, config.world, notation=NOTATIONS[config.render]
    )


def _check(config: SolveConfig) -> None:
    """Read what the job will read, weights apart; raises `UsageError`."""
    from elegans.reasoning.scorer import ScorerError
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
    from elegans.lm.check import check_lm
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


@dataclass(frozen=True)
class Answer:
    """What became of one problem."""

    problem: str
    solved: bool
    status: str
    """What ended the search, see `elegans.reasoning.SearchResult`."""
    fault: str
    plan: tuple[str, ...]
    """The chosen actions, whether or not they reach the goal."""
    shortest: int | None
    """Actions of the shortest plan, where known."""
    greedy: bool
    """Whether the greedy plan solves it."""
    passes: int
    tokens: int
    seconds: float

    def __str__(self) -> str:
        if self.status == "fault":
            return f"{self.problem}: fault: {self.fault}"
        if not self.solved:
            return f"{self.problem}: not solved: {self.status}"
        known = "" if self.shortest is None else f" (shortest: {self.shortest})"
        return f"{self.problem}: solved in {len(self.plan)} actions{known}"


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
