"""What a deployment runs."""

import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.algebra import one_thread_of_algebra
from worker.cli.ending import ExitCode, act, fail
from worker.cli.options import STATE, JsonOption, StateOption, project_dir
from worker.cli.projects import embedded_db_url, operator, worker_environment

if TYPE_CHECKING:
    from worker.settings import Settings


HostOption = Annotated[str | None, typer.Option(metavar="HOST", help="address to listen on; default: rowcall.toml's")]
PortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, metavar="PORT", help="port to listen on; default: rowcall.toml's")
]
InternalHostOption = Annotated[
    str | None, typer.Option(metavar="HOST", help="address of health and metrics; default: rowcall.toml's")
]
InternalPortOption = Annotated[
    int | None,
    typer.Option(min=0, max=65535, metavar="PORT", help="port of health and metrics; default: rowcall.toml's"),
]


WHERE_TO_SET = "`rowcall init` writes a .env to fill in; docs/configuration.md lists every key and variable"


def worker(*, internal_host: InternalHostOption = None, internal_port: InternalPortOption = None) -> None:
    """Runs generations. Needs SUPABASE_URL, SUPABASE_SECRET_KEY, REDIS_URL and the keys that rowcall.toml names."""
    one_thread_of_algebra()
    from worker.app import run_worker

    _run(lambda settings: run_worker(settings.listening(internal_host, internal_port)))


def intake(
    *,
    host: HostOption = None,
    port: PortOption = None,
    internal_host: InternalHostOption = None,
    internal_port: InternalPortOption = None,
) -> None:
    """Receives database webhooks and enqueues what they hint at."""
    from worker.intake_app import run_intake

    _run(lambda settings: run_intake(settings.listening(internal_host, internal_port), host=host, port=port))


def migrate(
    *,
    db_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", help="as role postgres; default: the embedded stack that runs here")
    ] = "",
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Applies supabase/migrations to a database, as `supabase db push` does."""
    from worker.local.errors import StackError
    from worker.local.migrating import apply_migrations

    try:
        applied = apply_migrations(db_url or embedded_db_url(state), project_dir() / "supabase" / "migrations")
    except StackError as error:
        fail(str(error), ExitCode.UNAVAILABLE)
    if as_json:
        typer.echo(json.dumps({"applied": [migration.path.name for migration in applied]}))
        return
    for migration in applied:
        typer.echo(f"applied {migration.path.name}")
    made = f"{len(applied)} migration{'' if len(applied) == 1 else 's'} applied"
    typer.echo(made if applied else "nothing to apply: the schema is up to date")


def fallback_drill(*, state: StateOption = STATE, as_json: JsonOption = False) -> None:
    """Fails the first model of each fallback chain on purpose and shows who answers. Calls the other models."""
    from worker.app import drill_fallbacks
    from worker.operating import show_drill
    from worker.settings import ConfigurationError, load

    try:
        settings = load(worker_environment(state))
    except ConfigurationError as error:
        fail(str(error), ExitCode.CONFIGURATION)
    project, is_local = operator(state).project, settings.is_local
    act(show_drill(drill_fallbacks(settings), project, is_local=is_local, as_json=as_json))


def _run(main: "Callable[[Settings], Coroutine[Any, Any, None]]") -> None:
    """Runs a service until SIGTERM or SIGINT."""
    import uvloop

    from worker.environment import current_environment
    from worker.queue.connecting import UnsafeRedis
    from worker.serving import CannotListen
    from worker.settings import ConfigurationError, load

    try:
        uvloop.run(main(load(current_environment())))
    except ConfigurationError as error:
        fail(f"{error}\n{WHERE_TO_SET}", ExitCode.CONFIGURATION)
    except (UnsafeRedis, CannotListen) as error:
        fail(str(error), ExitCode.CONFIGURATION)
