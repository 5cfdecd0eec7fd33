"""Variables of the environment: the process's own, over those of `.env`; and secrets that stand in files."""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

DOTENV = Path(".env")
IN_A_FILE = "_FILE"


class UnreadableSecret(Exception):
    """A secret's file cannot be read, or the secret is given twice; the message names the variable and the file."""


def current_environment(dotenv: Path = DOTENV) -> Mapping[str, str]:
    """The process's environment, and what `.env` in this folder adds to it. An empty variable counts as not set."""
    added = dotenv_values(dotenv, interpolate=False) if dotenv.is_file() else {}
    return {**{name: value for name, value in added.items() if value}, **{n: v for n, v in os.environ.items() if v}}


def with_secrets_from_files(environ: Mapping[str, str], names: tuple[str, ...]) -> Mapping[str, str]:
    """The same, where `NAME_FILE` gives each secret of `names` that `NAME` does not: a mounted file, say.

    Raises UnreadableSecret.
    """
    return {**environ, **{name: _read(environ, name) for name in names if environ.get(name + IN_A_FILE)}}


def _read(environ: Mapping[str, str], name: str) -> str:
    path = environ[name + IN_A_FILE]
    if environ.get(name):
        raise UnreadableSecret(f"environment: {name} and {name}{IN_A_FILE} are both set; unset one of them")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UnreadableSecret(
            f"environment: {name}{IN_A_FILE} names {path}, which cannot be read: {reason}"
        ) from error
