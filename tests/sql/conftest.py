from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.conftest import REPOSITORY
from tests.sql.session import Session
from worker.local.resetting import reset_state
from worker.local.stack import Stack
from worker.local.wiring import StackConfig


@pytest.fixture(scope="session", params=[18, 16], ids=["postgres18", "postgres16"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The migrations on each Postgres that they must run on."""
    if request.param == 18:
        yield request.getfixturevalue("stack")
        return
    config = StackConfig(
        state_dir=tmp_path_factory.mktemp("postgres16"),
        project_dir=REPOSITORY,
        postgres_major=16,
        parts=frozenset(),
    )
    with Stack(config) as running:
        yield running
    reset_state(config.state_dir)


@pytest.fixture(scope="session")
def postgres(project: Stack) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(project.db_url) as connection:
        yield connection


@pytest.fixture
def sql(postgres: psycopg.Connection[Any]) -> Iterator[Session]:
    """A transaction as postgres; nothing of it stays."""
    yield Session(postgres)
    postgres.rollback()


@pytest.fixture
def admin(project: Stack) -> Iterator[Session]:
    """A transaction of the superuser, to whom the platform's own parts belong; nothing of it stays."""
    with psycopg.connect(project.admin_db_url) as connection:
        yield Session(connection)
        connection.rollback()


@dataclass(frozen=True, slots=True)
class Connections:
    """As many as a test of concurrency needs; what they do stays."""

    db_url: str

    def open(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.db_url, autocommit=True)


@pytest.fixture
def connections(project: Stack) -> Connections:
    return Connections(project.db_url)
