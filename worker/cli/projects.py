"""Which project a command speaks to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worker.cli.ending import ExitCode, fail

if TYPE_CHECKING:
    from worker.commands import Account
    from worker.operating import Operator

ACCOUNT = ("SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "ROWCALL_EMAIL", "ROWCALL_PASSWORD")
OPERATOR = ("SUPABASE_URL", "SUPABASE_SECRET_KEY")
CONFIG = "ROWCALL_CONFIG"
DEVELOPER = "developer@example.com"  # the user of the embedded stack that `ask` and `ingest` act for
PASSWORD = "insert a row, get an answer"  # noqa: S105 - of a stack that listens on this machine only


@dataclass(frozen=True, slots=True)
class Chosen:
    """A project's variables, and where they were found."""

    environ: Mapping[str, str]
    is_embedded: bool
    origin: str


def chosen_project(state: Path) -> Chosen:
    """The project that the environment names; else the embedded stack that runs here; else the one of `.env`."""
    from worker.environment import UnreadableSecret, current_environment, with_secrets_from_files
    from worker.local.state import running_environment

    environ = current_environment()
    try:
        environ = with_secrets_from_files(environ, ("SUPABASE_SECRET_KEY", "ROWCALL_PASSWORD", "REDIS_URL"))
    except UnreadableSecret as error:
        fail(str(error), ExitCode.CONFIGURATION)
    if os.environ.get("SUPABASE_URL"):
        return Chosen(environ, is_embedded=False, origin="the environment")
    running = running_environment(state)
    if running is not None:
        own = {CONFIG: os.environ[CONFIG]} if os.environ.get(CONFIG) else {}
        return Chosen({**environ, **running, **own}, is_embedded=True, origin=f"the embedded stack on {state}")
    return Chosen(environ, is_embedded=False, origin=".env")


def worker_environment(state: Path) -> Mapping[str, str]:
    """Of the project, for commands that work on it as a worker would."""
    chosen = chosen_project(state)
    _required(chosen, OPERATOR, state)
    return chosen.environ


def account(state: Path) -> "Account":
    """Who `ask` and `ingest` act for."""
    from worker.commands import Account

    chosen = chosen_project(state)
    if chosen.is_embedded:
        url, key = (chosen.environ[name] for name in ACCOUNT[:2])
        return Account(url, key, DEVELOPER, PASSWORD, sign_up=True)
    url, key, email, password = _required(chosen, ACCOUNT, state)
    return Account(url, key, email, password)


def operator(state: Path) -> "Operator":
    """Who may see and order everything."""
    from worker.operating import Operator

    chosen = chosen_project(state)
    url, key = _required(chosen, OPERATOR, state)
    return Operator(url, key, chosen.origin, chosen.environ.get("REDIS_URL"))


def embedding_model(state: Path) -> str | None:
    """Of questions; None where there is no rowcall.toml to say so."""
    from worker import settings

    chosen = chosen_project(state)
    if not chosen.environ.get("ROWCALL_LOCAL_MODEL_URL") and not settings.config_path(chosen.environ).exists():
        return None
    try:
        return settings.embedding_model(chosen.environ)
    except settings.ConfigurationError as error:
        fail(str(error), ExitCode.CONFIGURATION)


def embeds_sentences(state: Path) -> bool:
    """Whether rowcall.toml wants their vectors."""
    from worker import settings

    try:
        return settings.embeds_sentences(chosen_project(state).environ)
    except settings.ConfigurationError as error:
        fail(str(error), ExitCode.CONFIGURATION)


def embedded_db_url(state: Path) -> str:
    """The database of the embedded stack that runs here, as postgres."""
    from worker.local.state import running_environment

    running = running_environment(state)
    if running is None:
        fail(f"no embedded stack runs on {state}: start one with `rowcall dev`", ExitCode.CONFIGURATION)
    return running["DATABASE_URL"]


def require_project(chosen: Chosen, names: tuple[str, ...], state: Path) -> None:
    """Ends the command where none of the variables is set."""
    if not any(chosen.environ.get(name) for name in names):
        fail(
            f"no embedded stack runs on {state}, and no other project is named.\n"
            f"Start one with `rowcall dev`, or set {', '.join(names)} in the environment or in .env.",
            ExitCode.CONFIGURATION,
        )


def _required(chosen: Chosen, names: tuple[str, ...], state: Path) -> list[str]:
    require_project(chosen, names, state)
    missing = [name for name in names if not chosen.environ.get(name)]
    if missing:
        fail(
            f"{', '.join(missing)} not set: {chosen.origin} names a project; this command wants {', '.join(names)}.",
            ExitCode.CONFIGURATION,
        )
    url = chosen.environ["SUPABASE_URL"]
    if not url.startswith(("http://", "https://")):
        fail(f"SUPABASE_URL must be a URL that begins with http:// or https:// (it is {url!r})", ExitCode.CONFIGURATION)
    strange = [name for name in names if name.endswith("_KEY") and not chosen.environ[name].isascii()]
    if strange:
        fail(f"{strange[0]} has characters that no key has: is it still a placeholder?", ExitCode.CONFIGURATION)
    return [chosen.environ[name] for name in names]
