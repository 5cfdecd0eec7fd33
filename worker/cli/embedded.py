"""The embedded Supabase."""

from typing import Annotated

import typer

from worker.cli.ending import ExitCode, fail
from worker.cli.options import STATE, LiveOption, StateOption, project_dir


def dev(
    *,
    state: StateOption = STATE,
    port: Annotated[int, typer.Option(help="port of the API; 0: a free one")] = 24321,
    workers: Annotated[int, typer.Option(min=0, help="worker processes")] = 1,
    reset: Annotated[bool, typer.Option("--reset", help="remove the state first: rows, users, keys")] = False,
    live: LiveOption = False,
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
    config = StackConfig(state, project_dir(), api_port=port or None, parts=ALL_PARTS, workers=workers, live=live)
    raise typer.Exit(run_dev(config, Console()))


def demo(*, state: StateOption = STATE / "demo", live: LiveOption = False) -> None:
    """Ingests Rowcall's own documentation, asks questions, shows the answers arrive."""
    from rich.console import Console

    from worker.local.demo import run_demo

    if not run_demo(project_dir(), state, live=live, console=Console()):
        fail("demo: an answer failed, or cites nothing; the logs are in " + str(state / "logs"))
