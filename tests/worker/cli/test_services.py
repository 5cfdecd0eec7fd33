"""What keeps a service from starting is a message, no trace."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
import redis

from tests.conftest import REPOSITORY
from worker.cli.ending import ExitCode
from worker.local.stack import Stack

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def rowcall(stack: Stack) -> Run:
    """In a process of its own: a service configures logging for its whole process."""

    def run(*arguments: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "worker.cli", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **stack.environment(), "NO_COLOR": "1", **changed},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_intake_wants_a_webhook_secret(rowcall: Run) -> None:
    refused = rowcall("intake", ROWCALL_WEBHOOK_SECRET="")
    assert refused.returncode == ExitCode.CONFIGURATION
    assert "ROWCALL_WEBHOOK_SECRET is not set" in refused.stderr


def test_an_address_that_is_taken_is_named(rowcall: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = rowcall("intake", "--host", "127.0.0.1", "--port", str(port))
    assert refused.returncode == ExitCode.CONFIGURATION
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr


@pytest.mark.parametrize("option", [("worker", "--internal-port"), ("intake", "--port"), ("intake", "--internal-port")])
def test_a_port_that_there_is_not_is_refused(rowcall: Run, option: tuple[str, str]) -> None:
    refused = rowcall(*option, "99999999")  # the system would take it, less all multiples of 65536
    assert refused.returncode == ExitCode.USAGE
    assert option[1] in refused.stderr


def test_a_worker_does_not_start_on_a_redis_that_evicts(rowcall: Run, stack: Stack) -> None:
    with redis.Redis.from_url(stack.redis_url) as connection:
        connection.config_set("maxmemory-policy", "allkeys-lru")
        try:
            refused = rowcall("worker", "--internal-port", "0")
        finally:
            connection.config_set("maxmemory-policy", "noeviction")
    assert refused.returncode == ExitCode.CONFIGURATION
    assert "it must be 'noeviction'" in refused.stderr


def test_a_wrong_configuration_is_named(rowcall: Run) -> None:
    refused = rowcall("worker", ROWCALL_LOG="loud")
    assert refused.returncode == ExitCode.CONFIGURATION
    assert "ROWCALL_LOG must be one of json, console, auto" in refused.stderr


def test_a_package_of_the_embedded_stack_that_is_missing_is_named(stack: Stack) -> None:
    """As in the image, which holds what intake and workers need."""
    hidden = "import sys; sys.modules['psycopg'] = None; from worker.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", hidden, "migrate"],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": stack.db_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == ExitCode.FAILED
    assert "psycopg is not installed" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_database_that_is_away_is_no_trace(rowcall: Run) -> None:
    refused = rowcall("migrate", "--db-url", "postgresql://postgres:x@127.0.0.1:9/postgres")
    assert refused.returncode == ExitCode.UNAVAILABLE
    assert "the database cannot be reached" in refused.stderr
