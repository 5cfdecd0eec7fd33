"""Options that several commands take."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.ending import ExitCode, fail

STATE = Path(".rowcall")


class Origin(StrEnum):
    """Where a command's questions come from, in place of a file."""

    FEEDBACK = "feedback"


StateOption = Annotated[Path, typer.Option("--state", help="where the embedded Supabase keeps its data and keys")]
FLAG = ""  # the metavar of an option that takes no value: its type would stand there as <bool>
JsonOption = Annotated[bool, typer.Option("--json", metavar=FLAG, help="machine-readable output")]
LiveOption = Annotated[
    bool, typer.Option("--live", metavar=FLAG, help="answer by the provider of OPENAI_API_KEY, which costs money")
]


def project_dir() -> Path:
    """The folder that holds supabase/ and rowcall.toml: this checkout."""
    return Path(__file__).parents[2]


def require_folder(file: Path | None, option: str) -> None:
    """Ends the command where the file's folder is not there: before the work whose outcome it is to hold."""
    if file is not None and not file.parent.is_dir():
        fail(f"{option}: there is no folder {file.parent}", ExitCode.USAGE)
