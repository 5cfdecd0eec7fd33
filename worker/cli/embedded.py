"""The embedded Supabase."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.ending import ExitCode, fail
from worker.cli.options import FLAG, STATE, JsonOption, LiveOption, StateOption, project_dir
from worker.cli.projects import CONFIG, embedded_db_url


def dev(
    *,
    state: StateOption = STATE,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="PORT", envvar="ROWCALL_DEV_PORT", help="port of the API; 0: a free one"
        ),
    ] = 24321,
    workers: Annotated[int, typer.Option(min=0, metavar="WORKERS", help="worker processes")] = 1,
    reset: Annotated[
        bool, typer.Option("--reset", metavar=FLAG, help="remove the state first: rows, users, keys")
    ] = False,
    live: LiveOption = False,
    as_json: JsonOption = False,
) -> None:
    """The embedded Supabase with Redis, intake and workers, until Ctrl-C."""
    from rich.console import Console

    from worker.local.dev import run_dev
    from worker.local.errors import StackError
    from worker.local.resetting import reset_state
    from worker.local.wiring import ALL_PARTS, StackConfig

    if reset:
        try:
            reset_state(state)
        except StackError as error:
            fail(str(error), ExitCode.UNAVAILABLE)
    configuration = Path(named) if (named := os.environ.get(CONFIG)) else None
    config = StackConfig(
        state, project_dir(), configuration, api_port=port or None, parts=ALL_PARTS, workers=workers, live=live
    )
    has_failed = run_dev(config, Console(stderr=as_json), as_json=as_json)
    raise typer.Exit(ExitCode.UNAVAILABLE if has_failed else ExitCode.SUCCEEDED)


def demo(*, state: StateOption = STATE / "demo", live: LiveOption = False, as_json: JsonOption = False) -> None:
    """Ingests Rowcall's own documentation, asks questions, shows the answers arrive."""
    from rich.console import Console

    from worker.local.demo import run_demo
    from worker.local.errors import StackError

    try:
        demonstrated = run_demo(project_dir(), state, live=live, console=Console(quiet=as_json))
    except StackError as error:
        fail(str(error), ExitCode.UNAVAILABLE)
    if as_json:
        typer.echo(json.dumps(demonstrated.as_json(), indent=2))
    if not demonstrated.is_well:
        fail("demo: an answer failed, or cites nothing; the logs are in " + str(state / "logs"))


def sql(
    statement: Annotated[
        str | None, typer.Argument(metavar="STATEMENT", help="default: what you type, or what is piped in")
    ] = None,
    *,
    state: StateOption = STATE,
) -> None:
    """Opens psql on the embedded stack that runs here, as postgres, who may do what migrations may."""
    from worker.local.postgres import psql

    command, environment = psql(embedded_db_url(state))
    arguments = [command, "-v", "ON_ERROR_STOP=1"]
    if statement is not None:  # shown and done: nothing to page through, and as wide as the terminal
        arguments += ["-P", "pager=off", "-P", "format=wrapped", "-c", statement]
    os.execve(command, arguments, {**os.environ, **environment})  # noqa: S606 - no shell reads the arguments
