"""Questions about a language model and data of one's own; each is a study made for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from elegans.cli.app import Device, Json, Seeds, Workers, app
from elegans.cli.printing import answer, say_where, write_report
from elegans.cli.running import run_own
from elegans.study import UsageError

if TYPE_CHECKING:
    from elegans.report.page import StudyPage
    from elegans.study import Study

Number = TypeVar("Number", int, float)

Directory = Annotated[Path, typer.Option("--lm", help="Directory of a Hugging Face causal LM with its tokenizer.")]
Dtype = Annotated[Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Of the weights in memory.")]


@app.command()
def icl(
    lm: Directory,
    data: Annotated[Path, typer.Option(help='JSON lines, one {"question": ..., "answer": ...} each.')],
    shots: Annotated[str, typer.Option(help="Numbers of solved questions in the prompt.")] = "0,1,2,4,8",
    samples: Annotated[str, typer.Option(help="Numbers of questions to fine-tune on.")] = "8,64,256",
    rates: Annotated[str, typer.Option(help="Learning rates that are tried at each.")] = "1e-4,5e-4,2e-3",
    steps: Annotated[int, typer.Option(min=1, help="Updates of each fine-tuning.")] = 100,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions per update.")] = 8,
    rank: Annotated[int, typer.Option(min=1, help="Of LoRA.")] = 8,
    instruction: Annotated[str, typer.Option(help="A line in front of every prompt.")] = "",
    dtype: Dtype = "auto",
    seeds: Seeds = None,
    workers: Workers = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Examples in the prompt, or fine-tuning? Measured on a language model and questions of your own."""
    from elegans.studies.implicit_patterns.own import icl_study, refuse_model

    study = icl_study(
        lm,
        data,
        shots=_numbers("--shots", shots, int),
        samples=_numbers("--samples", samples, int),
        rates=_numbers("--rates", rates, float),
        seeds=seeds or 3,
        steps=steps,
        batch_size=batch_size,
        rank=rank,
        instruction=instruction,
        dtype=dtype,
    )
    refuse_model(study)
    page = _ask(study, workers, device, as_json)
    if not (page.failed or as_json):
        from elegans.studies.implicit_patterns.own_results import recommend

        print(recommend(page.results).text)
    return 1 if page.failed else 0


@app.command()
def flow(
    lm: Directory,
    data: Annotated[
        Path,
        typer.Option(help='JSON lines, one {"text": ..., "label": ..., "spans": [{"text": ..., "type": ...}]} each.'),
    ],
    texts: Annotated[int, typer.Option(min=1, help="Texts to look at.")] = 500,
    shots: Annotated[int, typer.Option(min=0, help="Solved texts in the prompt.")] = 4,
    label_marker: Annotated[str, typer.Option(help="Stands before the label.")] = "Label:",
    words_marker: Annotated[str, typer.Option(help="Stands before the annotated words.")] = "Words:",
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at a time.")] = 4,
    dtype: Dtype = "auto",
    seeds: Seeds = None,
    workers: Workers = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """How does a language model use annotated words for a label, and the label for them? On texts of your own."""
    from elegans.studies.mutual_reinforcement.own import flow_study

    study = flow_study(
        str(lm),
        str(data),
        n_texts=texts,
        shots=shots,
        label_marker=label_marker,
        words_marker=words_marker,
        dtype=dtype,
        batch_size=batch_size,
        seeds=seeds or 3,
    )
    return 1 if _ask(study, workers, device, as_json).failed else 0


def _ask(study: Study, workers: int | None, device: str, as_json: bool) -> StudyPage:
    """Run a study of one's own: it goes on where it was interrupted, as every study does."""
    from elegans.lab.store import Store, home

    store = Store(home())
    page = run_own(study, store, workers, device, quiet=as_json)
    answer([page], as_json)
    if not as_json:
        say_where(write_report([page], store.root / "report"), [])
    return page


def _numbers(option: str, text: str, kind: type[Number]) -> tuple[Number, ...]:
    """Numbers parted by commas."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} must be numbers parted by commas, got {text!r}") from None
