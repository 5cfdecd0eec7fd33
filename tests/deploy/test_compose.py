"""docker-compose.yml, run: three workers, one killed in the middle, another restarted, every row answered."""

import asyncio
import re
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.conftest import REPOSITORY
from tests.deploy.engine import Compose, Engine, engine_here
from tests.e2e.conftest import Model
from tests.forwarding import forwarded
from tests.waiting import async_until
from worker.client import Rowcall
from worker.local.ports import free_port
from worker.local.provisioning import keep_in_vault
from worker.local.resetting import reset_state
from worker.local.stack import Stack
from worker.local.wiring import StackConfig

ROWS = 200
LEASE_S = 3.0
START_S = 90.0  # for all containers to be healthy, on a machine that has other things to do

# What a test changes: a lease that ends soon.
OVERRIDE = """
services:
  worker:
    volumes: ["{configuration}:/app/rowcall.toml:ro"]
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_here() as engine:
        yield engine


@pytest.fixture(scope="module")
def project(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:  # noqa: ARG001 - skips first
    """The embedded Supabase without intake, Redis and workers: those are the containers'."""
    state = tmp_path_factory.mktemp("project")
    config = StackConfig(state, REPOSITORY, parts=frozenset({"pg_net", "realtime", "models"}))
    with Stack(config) as running:
        yield running
    reset_state(state)


@asynccontextmanager
async def composed(engine: Engine, project: Stack, folder: Path) -> AsyncIterator[Compose]:
    """Three workers and intake in containers, and the project's webhooks on their way to them."""
    port = free_port()
    shipped = (REPOSITORY / "rowcall.toml").read_text()
    configuration, environment, override = folder / "rowcall.toml", folder / "env", folder / "override.yml"
    configuration.write_text(shipped.replace("lease_s = 15.0 ", f"lease_s = {LEASE_S} "))
    override.write_text(OVERRIDE.format(configuration=configuration))
    here = "127.0.0.1", "host.docker.internal"
    inside = {k: v.replace(*here) for k, v in project.environment().items() if k not in {"REDIS_URL", "ROWCALL_CONFIG"}}
    environment.write_text("".join(f"{name}={value}\n" for name, value in inside.items()))
    variables = {
        "ROWCALL_ENV_FILE": str(environment),
        "ROWCALL_PORT": str(port),
        "ROWCALL_IMAGE": "rowcall-test",
    }
    with psycopg.connect(project.admin_db_url, autocommit=True) as connection:
        keep_in_vault(connection, "rowcall_webhook_url", f"http://127.0.0.1:{port}/webhooks/supabase")
    compose = Compose(engine, f"rowcall-test-{uuid4().hex[:8]}", override, variables)
    ports = (httpx.URL(project.url).port, httpx.URL(project.model_url).port)
    async with forwarded(engine.gateway(), *(port for port in ports if port)):
        try:
            await compose.up("--scale", "worker=3")
            yield compose
        except BaseException as error:
            error.add_note(compose.run("logs", "--no-color", "--tail", "10"))
            raise
        finally:
            await compose.down()


@pytest.mark.containers
@pytest.mark.timeout(900)
async def test_three_workers_in_containers_answer_every_row_though_one_is_killed_and_another_restarted(
    engine: Engine, project: Stack, tmp_path: Path
) -> None:
    account = {"email": "compose@example.com", "password": "correct horse"}
    async with composed(engine, project, tmp_path) as compose:

        async def all_healthy() -> bool:
            return [c.status for c in compose.containers()] == ["healthy"] * 5

        await async_until(all_healthy, "all five are healthy", deadline_s=START_S, look_every_s=0.5)
        for container in compose.of("worker") + compose.of("intake"):
            assert engine.docker("exec", container.id, "id", "-u").strip() == "10001"
            assert "touched" not in engine.docker("exec", container.id, "sh", "-c", "touch /app/x || true; ls /app")

        async with (
            httpx.AsyncClient(base_url=project.model_url.removesuffix("/v1"), timeout=30) as http,
            Rowcall.signed_in(project.url, project.publishable_key, sign_up=True, **account) as rowcall,
        ):
            await Model(http).slow(0.1)
            table = rowcall.supabase.schema("rowcall").table("generations")
            questions = [{"input": {"question": f"What is question {n}?"}} for n in range(ROWS)]
            inserted: Any = (await table.insert(questions).execute()).data
            ids = [row["id"] for row in inserted]

            async def some_have_ended() -> bool:
                counts = states(project)
                return counts.get("succeeded", 0) > ROWS // 20 and counts.get("running", 0) > 2

            await async_until(some_have_ended, "the middle", deadline_s=120, look_every_s=0.1)
            killed, restarted, _untouched = compose.of("worker")
            engine.docker("kill", killed.id)
            await asyncio.to_thread(engine.docker, "restart", "--time", "45", restarted.id)
            ended = await asyncio.wait_for(rowcall.wait_all(ids), 120)

        assert {row["status"] for row in ended.values()} == {"succeeded"}
        assert all(row["answer"] for row in ended.values())
        with psycopg.connect(project.admin_db_url) as connection:
            outcomes: dict[str, int] = dict(
                connection.execute("select outcome, count(*) from rowcall.attempts group by 1").fetchall()
            )
            losers = connection.execute(
                "select distinct worker from rowcall.attempts where outcome = 'lost'"
            ).fetchall()
        assert outcomes["succeeded"] == ROWS
        # The killed one's rows ran again; the restarted one's finished, or were handed back.
        assert [worker.partition(":")[0] for (worker,) in losers] == [killed.id[:12]]
        logs = engine.docker("logs", compose.of("intake")[0].id)
        assert "webhook.refused" not in logs


def test_a_worker_is_given_more_time_to_stop_than_it_gives_its_answers() -> None:
    composition = (REPOSITORY / "docker-compose.yml").read_text()
    worker = composition.partition("\n  worker:\n")[2]
    stop_s = int(re.search(r"stop_grace_period: (\d+)s", worker)[1])  # type: ignore[index] # it is there, or this fails
    configuration = tomllib.loads((REPOSITORY / "rowcall.toml").read_text())
    assert stop_s >= configuration["worker"]["grace_s"] + 10  # for the write-backs of what is handed back


def states(project: Stack) -> dict[str, int]:
    with psycopg.connect(project.admin_db_url) as connection:
        found = connection.execute("select status, count(*) from rowcall.generations where kind = 'answer' group by 1")
        return dict(found.fetchall())
