"""Search on problems of one's own with a language model of one's own."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from elegans.cli.app import Device, Json, Workers, app
from elegans.cli.own import Dtype
from elegans.cli.printing import answer, print_json, say_where, write_report
from elegans.cli.running import run_own

if TYPE_CHECKING:
    from elegans.lab.store import Store
    from elegans.studies.contrastive_mcts.own import Answer
    from elegans.study import Study


@app.command()
def solve(
    problems: Annotated[Path, typer.Option(help="JSON lines of the world, PDDL, or a split of PlanBench.")],
    expert: Annotated[str, typer.Option(help="Directory of a Hugging Face LM, or http://host:port/v1#model.")],
    world: Annotated[str, typer.Option(help="blocksworld, countdown, or 'package.module:function'.")] = "blocksworld",
    amateur: Annotated[Path | None, typer.Option(help="Directory of a weaker LM with the same tokenizer.")] = None,
    reward: Annotated[
        str,
        typer.Option(
            help="Sum of ll, se, and with an amateur cd or jsd. The default measured best; jsd points the wrong way."
        ),
    ] = "ll+se",
    iterations: Annotated[int, typer.Option(min=1, help="Of the search for a problem.")] = 30,
    depth: Annotated[int, typer.Option(min=1, help="Actions in a plan, at most.")] = 16,
    seconds: Annotated[float | None, typer.Option(min=0, help="For the search for a problem, at most.")] = None,
    tokens: Annotated[int | None, typer.Option(min=0, help="That the expert reads in it, at most.")] = None,
    passes: Annotated[int | None, typer.Option(min=0, help="Of the expert in it, at most.")] = None,
    first: Annotated[bool, typer.Option("--first", help="Take the first plan that is found, not the best.")] = False,
    c: Annotated[float, typer.Option(min=0, help="Exploration constant.")] = 1.0,
    shots: Annotated[int, typer.Option(min=0, help="Solved problems in the prompt.")] = 4,
    examples: Annotated[Path | None, typer.Option(help="File of these; else drawn, none of yours.")] = None,
    render: Annotated[Literal["english", "compact", "pddl"], typer.Option(help="How blocks are written.")] = "english",
    dtype: Dtype = "auto",
    workers: Workers = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Search for plans with a language model, judged by its own rewards, on problems of your own."""
    from elegans.lab.store import Store, home
    from elegans.studies.contrastive_mcts.own import CONTRASTIVE, answers, solve_study, summary

    study = solve_study(
        problems,
        expert,
        world=world,
        amateur=amateur,
        examples=examples,
        reward=reward,
        iterations=iterations,
        depth=depth,
        seconds=seconds,
        tokens=tokens,
        passes=passes,
        stop_when_solved=first,
        c=c,
        shots=shots,
        render=render,
        dtype=dtype,
    )
    if amateur is not None and not set(reward.split("+")) & set(CONTRASTIVE):
        print(f"no reward in {reward} asks the amateur; --reward {reward}+cd would", file=sys.stderr)
    store = Store(home())
    page = run_own(study, store, workers, device, quiet=as_json)
    found = _kept(study, store) if page.failed else answers(page.results)
    if as_json:
        from elegans.report.tables import as_json as to_json

        print_json(to_json([page]) | {"problems": [dataclasses.asdict(one) for one in found]})
        return 1 if page.failed else 0
    answer([page], as_json=False)
    for one in found:
        print(one)
    print(summary(found))
    say_where(write_report([page], store.root / "report"), [])
    return 1 if page.failed else 0


def _kept(study: Study, store: Store) -> list[Answer]:
    """What a job that failed has found so far."""
    from elegans.lab.plan import Request, make_plan
    from elegans.lab.run import LabCheckpoint
    from elegans.studies.contrastive_mcts.solving import kept_answers

    plan = make_plan(study, Request(seeds=study.seeds))
    (record,) = plan.records.values()
    config = plan.arms[record.arm].config
    return kept_answers(config, lambda name: LabCheckpoint(store.checkpoint_path(record.key, name), record.key))  # pyright: ignore[reportArgumentType]
