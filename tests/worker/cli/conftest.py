from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from worker.cli import app
from worker.local.stack import Stack

Run = Callable[..., Result]


@pytest.fixture
def rowcall(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`rowcall …` in a terminal of 80 columns, on the project that the environment names: the embedded one."""
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    return lambda *arguments: CliRunner().invoke(app, arguments)


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    """As postgres; what it does stays."""
    with psycopg.connect(stack.db_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def failed(database: psycopg.Connection[Any]) -> Callable[[str], str]:
    """Makes a row that failed with a code; its id."""

    def make(code: str) -> str:
        [(id,)] = database.execute(
            """insert into rowcall.generations (input, status, error, finished_at, tries)
               values ('{"question": "q"}', 'failed', jsonb_build_object('code', %s::text, 'message', 'It took long.'),
                       now() - interval '1 second', 5)
               returning id""",
            (code,),
        ).fetchall()
        return str(id)

    return make
