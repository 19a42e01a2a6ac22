"""The application that the commands are registered with, and the options that they share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from elegans.study import Scale

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Model organisms for machine reasoning: published claims, run as experiments, with a verdict.",
)

Studies = Annotated[list[str] | None, typer.Argument(help="Names as in 'elegans list', or 'package.module:STUDY'.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Seeds per arm; by default what the study asks for.")]
FirstSeed = Annotated[int, typer.Option(min=0, help="The first seed: 1000, say, for seeds that nobody has seen.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="ARM.config.FIELD=VALUE; ARM may be a pattern like 'gpt*'.")
]
Model = Annotated[str | None, typer.Option(help="Ask the question of this model: a name, or 'package.module:Class'.")]
LM = Annotated[str | None, typer.Option("--lm", help="Ask it of the Hugging Face causal LM in this directory.")]
AScale = Annotated[Scale | None, typer.Option(help="The preset (default: laptop).")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Worker processes (default: one per core); 0 runs jobs in this process.")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where models train.")]
