import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from tests.conftest import REPOSITORY
from tests.local.conftest import small_project
from tests.waiting import until
from worker.local import parts
from worker.local.errors import PartDied, StackError
from worker.local.parts import Begins, Part
from worker.local.ports import is_listening
from worker.local.processes import Command
from worker.local.resetting import reset_state
from worker.local.stack import Stack
from worker.local.state import running_environment
from worker.local.wiring import StackConfig

# A supervisor to kill: says what it started, then sleeps.
SUPERVISOR = """
import json, sys, time
from pathlib import Path
from worker.local.stack import Stack
from worker.local.state import running_environment
from worker.local.wiring import StackConfig

with Stack(StackConfig(Path(sys.argv[1]), Path(sys.argv[2]), parts=frozenset({"valkey", "pg_net"}))) as stack:
    pids = {name: stack.process_id(name) for name in stack.running}
    print(json.dumps({"pids": pids, "url": stack.url}), flush=True)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    """Whether it runs; an orphan that has ended stays a zombie until its new parent looks."""
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def not_yet(stack: Stack) -> bool:
    stack.check()
    return False


@contextmanager
def supervisor(config: StackConfig) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(config.state_dir), str(config.project_dir)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())["pids"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_start_finds_keys_and_data_again(config: StackConfig) -> None:
    with Stack(config) as first:
        with psycopg.connect(first.db_url) as connection:
            connection.execute("insert into public.items values (1, 'kept')")
        redis.Redis.from_url(first.redis_url).set("kept", "yes")
        keys = (first.publishable_key, first.secret_key, first.jwt_secret)

    with Stack(config) as second:
        assert (second.publishable_key, second.secret_key, second.jwt_secret) == keys
        with psycopg.connect(second.db_url) as connection:
            assert connection.execute("select body from public.items").fetchall() == [("kept",)]
        assert redis.Redis.from_url(second.redis_url).get("kept") == b"yes"


def test_reset_makes_the_next_start_a_first_one(config: StackConfig) -> None:
    with Stack(config) as stack:
        before = stack.secret_key
        with psycopg.connect(stack.db_url) as connection:
            connection.execute("insert into public.items values (1, 'gone')")
        with pytest.raises(StackError, match="already running"):
            reset_state(config.state_dir)

    reset_state(config.state_dir)

    assert [entry.name for entry in config.state_dir.iterdir()] == ["lock"]
    with Stack(config) as stack, psycopg.connect(stack.db_url) as connection:
        assert stack.secret_key != before
        assert connection.execute("select count(*) from public.items").fetchone() == (0,)


def test_a_second_stack_on_the_same_state_is_refused_and_told_where_the_first_one_is(stack: Stack) -> None:
    with pytest.raises(StackError, match=f"already running.*{stack.url}"), Stack(stack.config):
        pass
    assert "gateway" in stack.running


def test_a_taken_port_is_named(stack: Stack, config: StackConfig) -> None:
    taken = replace(config, api_port=stack.wiring.ports.api)
    with pytest.raises(StackError, match=f"port {taken.api_port} is taken"), Stack(taken):
        pass


def test_only_the_owner_can_read_the_secrets(stack: Stack) -> None:
    for name in ("secrets.json", "valkey/valkey.conf"):
        assert stat.S_IMODE((stack.config.state_dir / name).stat().st_mode) == 0o600


def test_a_running_stack_is_found_by_its_state(stack: Stack, tmp_path: Path) -> None:
    environment = running_environment(stack.config.state_dir)
    assert environment is not None
    assert environment.items() >= stack.environment().items()
    assert running_environment(tmp_path) is None
    (tmp_path / "lock").touch()
    assert running_environment(tmp_path) is None


def test_a_part_that_dies_is_reported_with_the_end_of_its_log(config: StackConfig) -> None:
    with Stack(config) as stack:
        stack.check()
        os.kill(stack.process_id("valkey"), signal.SIGKILL)
        until(lambda: "valkey" not in stack.running, "valkey has ended")
        with pytest.raises(PartDied, match="valkey ended with exit code -9") as death:
            stack.check()
    assert "Ready to accept connections" in death.value.log_tail


@pytest.fixture(scope="module")
def battered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose parts are stopped and killed."""
    folder = tmp_path_factory.mktemp("battered")
    small = StackConfig(folder / "state", small_project(folder), parts=frozenset({"valkey", "pg_net"}))
    with Stack(small) as running:
        yield running
    reset_state(small.state_dir)


def test_a_part_that_a_test_stopped_is_no_death_and_can_start_again(battered: Stack) -> None:
    redis.Redis.from_url(battered.redis_url).set("kept", "yes")
    for end in (battered.stop, battered.kill):
        end("valkey")
        battered.check()
        assert not is_listening(battered.wiring.ports.valkey)
        battered.start("valkey")
        assert redis.Redis.from_url(battered.redis_url).get("kept") == b"yes"


def test_the_gateway_and_webhooks_survive_a_restart_of_postgres(battered: Stack) -> None:
    battered.kill("postgres")
    battered.start("postgres")
    until(lambda: items(battered) == [], "the gateway has connected again")
    with psycopg.connect(battered.db_url, autocommit=True) as connection:
        connection.execute("select net.http_get(%s)", (f"{battered.url}/nothing",))
        until(lambda: answered(connection), "the request was sent")
    battered.check()


def items(stack: Stack) -> object:
    answer = httpx.get(f"{stack.url}/rest/v1/items", headers={"apikey": stack.publishable_key})
    return answer.json() if answer.status_code == 200 else None


def answered(connection: psycopg.Connection) -> bool:
    return connection.execute("select status_code from net._http_response").fetchall() == [(404,)]


def test_workers_are_numbered_and_every_process_ends_with_the_stack(
    config: StackConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command((sys.executable, "-c", "import sys; sys.stdin.read()"))
    monkeypatch.setattr(parts, "worker", lambda _, name: Part(name, command, Begins.WITH_THE_SCHEMA, lambda: True))
    with Stack(replace(config, workers=2)) as stack:
        assert stack.spawn_worker() == "worker-3"
        stack.kill("worker-1")
        assert {"worker-2", "worker-3"} < set(stack.running)
        stack.check()
        pids = [stack.process_id(name) for name in stack.running]
        assert len(pids) == 6
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_supervisor(config: StackConfig, number: signal.Signals) -> None:
    with supervisor(config) as (process, pids):
        assert all(alive(pid) for pid in pids.values())
        process.send_signal(number)
        process.wait(30)
        until(lambda: not any(alive(pid) for pid in pids.values()), f"{pids} have ended")


def test_servers_that_even_the_watchdog_could_not_end_are_ended_by_the_next_start(config: StackConfig) -> None:
    with supervisor(config) as (process, pids):
        os.kill(os.getpgid(pids["valkey"]), signal.SIGKILL)
        process.kill()
        process.wait()
        until(lambda: not (alive(pids["gateway"]) or alive(pids["pg_net"])), "the pipes' end has ended both")
        assert alive(pids["postgres"])
        assert alive(pids["valkey"])

        with Stack(config) as stack, psycopg.connect(stack.db_url) as connection:
            assert connection.execute("select count(*) from public.items").fetchone() == (0,)
        assert not alive(pids["postgres"])
        assert not alive(pids["valkey"])


def test_a_stack_whose_watchdog_was_killed_says_so(config: StackConfig) -> None:
    with Stack(config) as stack:
        os.kill(os.getpgid(stack.process_id("valkey")), signal.SIGKILL)
        with pytest.raises(StackError, match="watchdog"):
            until(lambda: not_yet(stack), "it is noticed")
