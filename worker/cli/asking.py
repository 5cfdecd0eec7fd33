"""What a signed-in user does."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.ending import act
from worker.cli.options import STATE, JsonOption, StateOption
from worker.cli.projects import account


class Quality(StrEnum):
    AUTO = "auto"
    FAST = "fast"
    BEST = "best"


def ingest(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="files, or folders of files")],
    *,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Writes files into documents and waits until they can be searched. Files that did not change make no work."""
    from worker.commands import ingest_files

    act(ingest_files(account(state), paths, as_json=as_json))


def ask(
    question: Annotated[str, typer.Argument(help="or any text that the job wants")],
    *,
    kind: Annotated[str, typer.Option(help="the job")] = "answer",
    key: Annotated[str, typer.Option(help="where in the row's input the text goes")] = "question",
    quality: Annotated[Quality, typer.Option(help="best costs more, fast less")] = Quality.AUTO,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Inserts a question and shows the answer as it streams, its citations and its times."""
    from worker.commands import ask as ask_project

    act(ask_project(account(state), {key: question}, kind, {"quality": quality.value}, as_json=as_json))
