"""Plans without search: the greedy text, the one that most texts agree on, the best of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import xarray as xr

from elegans.lab.run import Run
from elegans.reasoning.decoding import mean_log_prob
from elegans.reasoning.scorer import Generation
from elegans.studies.contrastive_mcts.arms import PlanConfig
from elegans.studies.contrastive_mcts.prompting import problems, scorer
from elegans.studies.contrastive_mcts.settings import OPEN_LOOP
from elegans.studies.contrastive_mcts.training import trained
from elegans.tasks.blocksworld.state import Action
from elegans.tasks.blocksworld.words import policy_prompt
from elegans.tasks.blocksworld.world import BlocksworldProblem, BufferedBlocksworld, blocksworld_of
from elegans.tasks.planning import solves

SAMPLES = 16


def plan(config: PlanConfig, seed: int, run: Run) -> xr.Dataset:
    """Whether each method of `OPEN_LOOP` solves each problem, and what it asks of the expert: passes and tokens."""
    model = trained(run, "expert")
    expert, rows = scorer(model), []
    tests = problems(config.part, config.four, config.five)
    for number, problem in enumerate(tests):
        run.progress(number, len(tests))
        prompt = policy_prompt(blocksworld_of(problem), BufferedBlocksworld.start(problem.start))
        room = int(getattr(model, "context", 64)) - len(prompt.split())
        greedy = expert.generate(prompt, max_tokens=room)
        texts = expert.generate(
            prompt, max_tokens=room, num=SAMPLES, temperature=config.temperature, seed=seed * len(tests) + number
        )
        answers = {
            "greedy plan": (greedy, greedy[0]),
            "self-consistency of 10": (texts[:10], _majority(problem, texts[:10])),
            "best of 10 by likelihood": (texts[:10], max(texts[:10], key=mean_log_prob)),
        } | {f"best of {n}": (texts[:n], _checked(problem, texts[:n])) for n in (5, 10, 16)}
        rows.append([
            (_solves(problem, answer), max(len(t.tokens) for t in asked), sum(len(t.tokens) for t in asked))
            for asked, answer in (answers[name] for name in OPEN_LOOP)
        ])  # fmt: skip
    found = xr.DataArray(rows, dims=("problem", "planner", "quantity"), coords={"planner": list(OPEN_LOOP)})
    solved, passes, tokens = (found.isel(quantity=k) for k in range(3))
    lengths = ("problem", [problem.optimal_length for problem in tests])
    return xr.Dataset(
        {"solved": solved, "passes": passes.mean("problem"), "tokens": tokens.mean("problem"), "length": lengths}
    )


def _parsed(problem: BlocksworldProblem, text: Generation) -> tuple[Action, ...] | None:
    try:
        return tuple(blocksworld_of(problem).notation.parse_plan(text.text))
    except ValueError:
        return None


def _solves(problem: BlocksworldProblem, text: Generation) -> bool:
    found = _parsed(problem, text)
    return found is not None and solves(problem, found)


def _majority(problem: BlocksworldProblem, texts: Sequence[Generation]) -> Generation:
    """The first text with the plan that most of them have."""
    plans = [_parsed(problem, text) for text in texts]
    votes = Counter(found for found in plans if found is not None)
    return texts[plans.index(votes.most_common(1)[0][0])] if votes else texts[0]


def _checked(problem: BlocksworldProblem, texts: Sequence[Generation]) -> Generation:
    """The first text that reaches the goal, else the first."""
    return next((text for text in texts if _solves(problem, text)), texts[0])
