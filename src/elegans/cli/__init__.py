"""Floor 6, the command line: parse, call, print.

Exit status: 0 done (whatever the verdicts), 1 a job failed or a benchmark found wrong numbers, 2 the call was wrong. What
is printed on standard output is the answer; progress and errors go to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import typer

from elegans.cli import lab, own, solve, speed
from elegans.cli.app import app
from elegans.study import UsageError

__all__ = ["app", "lab", "main", "own", "solve", "speed"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point: a wrong call is one line and status 2, an interruption one line and status 130."""
    from typer.exceptions import TyperException

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command: Callable[..., Any] = app
    try:
        status = command(list(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
    except UsageError as error:
        status = _fail(str(error))
    except TyperException as error:
        status = _fail(error.format_message() if hasattr(error, "format_message") else str(error))  # pyright: ignore
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    if status == 130:
        print("elegans: interrupted; what is finished is kept, the same command goes on", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    print(f"elegans: {' '.join(message.split())}", file=sys.stderr)
    return 2
