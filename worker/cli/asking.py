"""What a signed-in user does."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.ending import ExitCode, act, fail
from worker.cli.options import STATE, JsonOption, StateOption

if TYPE_CHECKING:
    from worker.commands import Account

DEVELOPER = "developer@example.com"  # the user of the embedded stack that these commands act for
ACCOUNT = ("SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "ROWCALL_EMAIL", "ROWCALL_PASSWORD")


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
    question: str,
    *,
    state: StateOption = STATE,
    quality: Annotated[str, typer.Option(help="auto, fast or best")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Inserts a question and shows the answer as it streams, its citations and its times."""
    from worker.commands import ask_question

    act(ask_question(account(state), question, {"quality": quality}, as_json=as_json))


def account(state: Path) -> "Account":
    """From the environment, else the embedded stack that runs here."""
    from worker.commands import Account
    from worker.local.state import running_project

    url, key, email, password = values = [os.environ.get(name, "") for name in ACCOUNT]
    names = ", ".join(ACCOUNT)
    if all(values):
        return Account(url, key, email, password)
    if any(values):
        missing = ", ".join(name for name, value in zip(ACCOUNT, values, strict=True) if not value)
        fail(
            f"{missing} not set: {names} together say which project and user; none of them: `rowcall dev`",
            ExitCode.CONFIGURATION,
        )
    project = running_project(state)
    if project is None:
        fail(
            f"no embedded stack runs on {state}: start one with `rowcall dev`, or set {names}",
            ExitCode.CONFIGURATION,
        )
    url, key = project
    return Account(url, key, DEVELOPER, "insert a row, get an answer", sign_up=True)
