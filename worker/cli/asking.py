"""What a signed-in user does."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.ending import ExitCode, act, fail
from worker.cli.options import FLAG, STATE, JsonOption, StateOption
from worker.cli.projects import account, embedding_model, embeds_sentences, operator


class Quality(StrEnum):
    AUTO = "auto"
    FAST = "fast"
    BEST = "best"


def ingest(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", exists=True, help="files, or folders of files")
    ] = None,
    *,
    reembed: Annotated[
        bool,
        typer.Option(
            "--reembed", metavar=FLAG, help="instead: all documents that another embedding model has embedded"
        ),
    ] = False,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Writes files into documents and waits until they can be searched. Files that did not change make no work.

    What was stopped goes on when the command is given again. --reembed is for
    operators, after a change of the embedding model in rowcall.toml, or where
    it wants sentences embedded now: it takes the documents of all users.
    """
    from worker.commands import ingest_files
    from worker.reembedding import reembed_documents

    if bool(paths) == reembed:
        fail("name files or folders, or give --reembed alone", ExitCode.USAGE)
    if paths:
        act(ingest_files(account(state), paths, as_json=as_json))
    model = embedding_model(state)
    if model is None:
        fail("there is no rowcall.toml here, whose [embedding] names the model", ExitCode.CONFIGURATION)
    act(reembed_documents(operator(state), model, with_units=embeds_sentences(state), as_json=as_json))


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="or any text that the job wants")],
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
