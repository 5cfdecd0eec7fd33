"""How a command ends: its exit code, and a message that says what to do."""

import asyncio
from collections.abc import Coroutine
from enum import IntEnum
from typing import Any, NoReturn

import typer


class ExitCode(IntEnum):
    SUCCEEDED = 0
    FAILED = 1  # the command did its work, and the outcome is not good: an answer failed, a check found something
    USAGE = 2  # the command line is wrong (typer's own)
    CONFIGURATION = 3  # rowcall.toml or the environment is wrong or incomplete
    UNAVAILABLE = 4  # the project, Redis or the embedded stack refused, or did not answer
    INTERRUPTED = 130  # Ctrl-C


def fail(message: str, code: ExitCode = ExitCode.FAILED) -> NoReturn:
    complain(message)
    raise typer.Exit(code)


def complain(message: str) -> None:
    """The message on standard error: in a terminal wrapped between words, else a line a line."""
    from rich.console import Console

    console = Console(stderr=True)
    console.print(message, style="red", markup=False, highlight=False, soft_wrap=not console.is_terminal)


def act(action: "Coroutine[Any, Any, bool]") -> NoReturn:
    """Ends with 0 where the action succeeded, else with 1; what the project refuses is a message, no trace."""
    from jobs.errors import JobError
    from worker.client import RequestRefused

    try:
        succeeded = asyncio.run(action)
    except RequestRefused as error:
        fail(str(error), ExitCode.UNAVAILABLE)
    except JobError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    raise typer.Exit(ExitCode.SUCCEEDED if succeeded else ExitCode.FAILED)
