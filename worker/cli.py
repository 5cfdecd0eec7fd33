"""`rowcall …`: each command calls one function."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:  # a command imports what it needs, so that `rowcall --help` stays quick
    from worker.commands import Account
    from worker.settings import Settings

app = typer.Typer(
    name="rowcall",
    help="Insert a row, get an answer.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

STATE = Path(".rowcall")
DEVELOPER = "developer@example.com"  # the user of the embedded stack that `ask` and `ingest` act for
StateOption = Annotated[Path, typer.Option("--state", help="where the embedded Supabase keeps its data and keys")]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]
LiveOption = Annotated[bool, typer.Option("--live", help="answer by the provider of OPENAI_API_KEY, which costs money")]


@app.command()
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
            _fail(str(error))
    config = StackConfig(state, _project(), api_port=port or None, parts=ALL_PARTS, workers=workers, live=live)
    raise typer.Exit(run_dev(config, Console()))


@app.command()
def demo(*, state: StateOption = STATE / "demo", live: LiveOption = False) -> None:
    """Ingests Rowcall's own documentation, asks questions, shows the answers arrive."""
    from rich.console import Console

    from worker.local.demo import run_demo

    if not run_demo(_project(), state, live=live, console=Console()):
        _fail("demo: an answer failed, or cites nothing; the logs are in " + str(state / "logs"))


@app.command()
def worker() -> None:
    """Runs generations. Needs SUPABASE_URL, SUPABASE_SECRET_KEY, REDIS_URL and the keys that rowcall.toml names."""
    from worker.app import run_worker

    _run(run_worker)


@app.command()
def intake(
    *,
    host: Annotated[str | None, typer.Option(help="address to listen on; default: rowcall.toml's")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on; default: rowcall.toml's")] = None,
) -> None:
    """Receives database webhooks and enqueues what they hint at."""
    from worker.intake_app import run_intake

    _run(lambda settings: run_intake(settings, host=host, port=port))


@app.command()
def migrate(
    *,
    db_url: Annotated[str, typer.Option(envvar="DATABASE_URL", help="as role postgres")],
) -> None:
    """Applies supabase/migrations to a database, as `supabase db push` does."""
    from worker.local.errors import StackError
    from worker.local.migrating import apply_migrations

    try:
        applied = apply_migrations(db_url, _project() / "supabase" / "migrations")
    except StackError as error:
        _fail(str(error))
    for migration in applied:
        typer.echo(f"applied {migration.path.name}")
    typer.echo(f"{len(applied)} migrations applied" if applied else "nothing to apply: the schema is up to date")


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="files, or folders of files")],
    *,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Writes files into documents and waits until they can be searched. Files that did not change make no work."""
    from worker.commands import ingest_files

    _act(ingest_files(_account(state), paths, as_json=as_json))


@app.command()
def ask(
    question: str,
    *,
    state: StateOption = STATE,
    quality: Annotated[str, typer.Option(help="auto, fast or best")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Inserts a question and shows the answer as it streams, its citations and its times."""
    from worker.commands import ask_question

    _act(ask_question(_account(state), question, {"quality": quality}, as_json=as_json))


def _project() -> Path:
    """The folder that holds supabase/ and rowcall.toml: this checkout."""
    return Path(__file__).parents[1]


def _run(main: "Callable[[Settings], Coroutine[Any, Any, None]]") -> None:
    """Runs a service until SIGTERM or SIGINT."""
    from worker.settings import ConfigurationError, load

    try:
        settings = load(os.environ)
    except ConfigurationError as error:
        _fail(str(error))
    asyncio.run(main(settings))


def _account(state: Path) -> "Account":
    """From the environment, else the embedded stack that runs here."""
    from worker.commands import Account
    from worker.local.state import running_project

    names = ("SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "ROWCALL_EMAIL", "ROWCALL_PASSWORD")
    url, key, email, password = values = [os.environ.get(name, "") for name in names]
    if all(values):
        return Account(url, key, email, password)
    if any(values):
        missing = ", ".join(name for name, value in zip(names, values, strict=True) if not value)
        _fail(f"{missing} not set: {', '.join(names)} together say which project and user; none of them: `rowcall dev`")
    project = running_project(state)
    if project is None:
        _fail(f"no embedded stack runs on {state}: start one with `rowcall dev`, or set {', '.join(names)}")
    url, key = project
    return Account(url, key, DEVELOPER, "insert a row, get an answer", sign_up=True)


def _act(action: "Coroutine[Any, Any, bool]") -> NoReturn:
    """Ends with 0 where the action succeeded, else with 1; what the project refuses is a message, no trace."""
    from jobs.errors import JobError
    from worker.client import RequestRefused

    try:
        succeeded = asyncio.run(action)
    except (RequestRefused, JobError) as error:
        _fail(str(error))
    raise typer.Exit(not succeeded)


def _fail(message: str) -> NoReturn:
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
