"""Workers that come and go, and arq's own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.e2e.conftest import Model
from tests.e2e.test_main_path import QUESTION, outcomes
from tests.forwarding import Forward
from tests.waiting import async_until
from worker.client import Rowcall
from worker.local.processes import Child, Children, Command
from worker.local.stack import Stack
from worker.queue.connecting import connected

ROWS = 24
SHIPPED = (REPOSITORY / "rowcall.toml").read_text()
OURS = ("worker.cli", "worker")
STOCK = ("arq", "worker.app.WorkerSettings")


@asynccontextmanager
async def alone(
    stack: Stack, folder: Path, *modules: Sequence[str], configuration: str = SHIPPED, url: str | None = None
) -> AsyncIterator[list[Child]]:
    """Worker processes in place of the stack's own, with the leases that are shipped; `url`: their way to it."""
    written = folder / "rowcall.toml"
    written.write_text(configuration)
    environment = stack.environment() | {"ROWCALL_LOG": "json", "ROWCALL_CONFIG": str(written)}
    if url is not None:
        environment["SUPABASE_URL"] = url
    stack.stop("worker-1")
    try:
        with Children(folder) as children:
            commands = [Command((sys.executable, "-m", *module), environment) for module in modules]
            started = [children.spawn(f"worker-{n}", command) for n, command in enumerate(commands)]
            yield started
    finally:
        stack.start("worker-1")


def logged(child: Child) -> list[str]:
    """The names of its events so far."""
    lines = child.log.read_text().splitlines()
    return [json.loads(line).get("event", "") for line in lines if line.startswith("{")]


async def insert(rowcall: Rowcall, count: int) -> list[str]:
    return [await rowcall.submit({"question": f"{QUESTION} ({n})"}) for n in range(count)]


async def until_logged(child: Child, event: str) -> None:
    async def is_logged() -> bool:
        child.check()
        return event in logged(child)

    await async_until(is_logged, event)


async def succeeded(rowcall: Rowcall, stack: Stack, ids: Sequence[str]) -> list[list[str | None]]:
    """The outcomes of each row's attempts, once all have succeeded."""
    ended = await rowcall.wait_all(ids, poll_s=0.1)
    assert {row["status"] for row in ended.values()} == {"succeeded"}
    return [outcomes(stack, id) for id in ids]


async def test_a_worker_that_is_stopped_under_load_loses_nothing_and_repeats_no_call(
    rowcall: Rowcall, rowcall_stack: Stack, model: Model, tmp_path: Path
) -> None:
    await model.slow(0.02)
    async with alone(rowcall_stack, tmp_path, OURS, OURS) as [leaving, staying]:
        for worker in (leaving, staying):
            await until_logged(worker, "worker.started")
        first = await insert(rowcall, ROWS)
        await until_logged(leaving, "attempt.finished")
        second = await insert(rowcall, ROWS)
        await asyncio.to_thread(leaving.stop, 40.0)
        assert logged(leaving)[-1] == "worker.stopped"
        found = await succeeded(rowcall, rowcall_stack, [*first, *second])
        staying.check()
    assert found == [["succeeded"]] * (2 * ROWS)
    assert len(await model.answers()) == 2 * ROWS


async def test_arqs_own_worker_answers_rows_as_well_and_its_check_finds_a_worker(
    rowcall: Rowcall, rowcall_stack: Stack, model: Model, tmp_path: Path
) -> None:
    async with alone(rowcall_stack, tmp_path, STOCK) as [stock]:
        found = await succeeded(rowcall, rowcall_stack, await insert(rowcall, ROWS))
        stock.check()
    assert found == [["succeeded"]] * ROWS
    assert len(await model.answers()) == ROWS

    async def is_found() -> bool:
        check = [sys.executable, "-m", "arq", "--check", "worker.app.WorkerSettings"]
        environment = os.environ | rowcall_stack.environment()
        checking = await asyncio.create_subprocess_exec(
            *check, cwd=rowcall_stack.config.project_dir, env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        return await checking.wait() == 0

    await async_until(is_found, "arq --check finds a worker")


async def test_a_row_whose_claim_met_an_outage_starts_when_the_database_is_back_without_a_sweep(
    rowcall: Rowcall, rowcall_stack: Stack, line: Forward, tmp_path: Path
) -> None:
    without_sweeps = SHIPPED.replace(
        "interval_s = 1.0            # one sweeper", "interval_s = 3600.0         # one sweeper"
    )
    assert without_sweeps != SHIPPED
    url = f"http://127.0.0.1:{line.port}"
    async with alone(rowcall_stack, tmp_path, OURS, configuration=without_sweeps, url=url) as [worker]:
        await until_logged(worker, "worker.started")
        await succeeded(rowcall, rowcall_stack, await insert(rowcall, 1))  # its first sweep is over
        line.is_down = True
        await line.cut()
        ids = await insert(rowcall, ROWS)
        await until_taken(rowcall_stack, len(ids))
        line.is_down = False
        found = await succeeded(rowcall, rowcall_stack, ids)
        worker.check()
    assert found == [["succeeded"]] * ROWS


async def until_taken(stack: Stack, hints: int) -> None:
    """So many hints are in the hands of workers."""
    async with connected(stack.redis_url) as redis:

        async def are_taken() -> bool:
            return len(await redis.keys("arq:in-progress:*")) == hints

        await async_until(are_taken, f"{hints} hints are taken")
