"""Workers that come and go, and arq's own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus

from tests.conftest import REPOSITORY
from tests.e2e.conftest import Model
from tests.e2e.test_main_path import QUESTION, outcomes, sql
from tests.forwarding import Forward
from tests.waiting import async_until
from worker.client import Rowcall
from worker.local.processes import Child, Children, Command
from worker.local.stack import Stack
from worker.queue.connecting import connected
from worker.queue.wire import QUEUE, loads

ROWS = 24
START_S = 90.0  # only a broken worker, or a machine with much else to do, takes so long
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

    await async_until(is_logged, event, deadline_s=START_S)


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

    await async_until(lambda: is_checked(rowcall_stack), "arq --check finds a worker")


async def is_checked(stack: Stack) -> bool:
    """Whether `arq --check` finds a worker."""
    checking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arq", "--check", "worker.app.WorkerSettings"),
        cwd=stack.config.project_dir,
        env=os.environ | stack.environment(),
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await checking.wait() == 0


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


@pytest.mark.timeout(300)  # arq's command is started twice
async def test_arqs_own_worker_and_ours_share_rows_and_arqs_tools_know_both(
    rowcall: Rowcall, rowcall_stack: Stack, model: Model, tmp_path: Path
) -> None:
    """Two rows at a time in each worker, so that both have some. What arq aborts is the job; the row is run again."""
    await model.slow(0.1)
    few = SHIPPED.replace("concurrency = 50 ", "concurrency = 2 ")
    assert few != SHIPPED
    async with alone(rowcall_stack, tmp_path, OURS, STOCK, configuration=few) as [ours, stock]:
        await until_logged(ours, "worker.started")
        await async_until(lambda: says(stock, "Starting worker"), "arq's own worker works", deadline_s=START_S)
        ids = await insert(rowcall, ROWS // 2)
        async with connected(rowcall_stack.redis_url) as redis:
            jobs = [await a_job(redis, status) for status in (JobStatus.in_progress, JobStatus.queued)]
            assert await asyncio.gather(*(job.abort(timeout=30, poll_delay=0.05) for job in jobs)) == [True, True]
            assert await is_checked(rowcall_stack)
        found = await succeeded(rowcall, rowcall_stack, ids)
        for worker in (ours, stock):
            worker.check()
        pids = {ours.pid, stock.pid}
    assert [outcomes.count("succeeded") for outcomes in found] == [1] * len(ids)
    assert {outcome for outcomes in found for outcome in outcomes} == {"succeeded", "released"}
    workers = sql(
        rowcall_stack, "select distinct worker from rowcall.attempts where generation_id = any(%s::uuid[])", ids
    )
    assert {int(name.rsplit(":", 2)[1]) for (name,) in workers} == pids


async def says(child: Child, text: str) -> bool:
    child.check()
    return text in child.log.read_text()


async def a_job(redis: ArqRedis, status: JobStatus) -> Job:
    """One in the queue of which `Job.status` says that."""
    found: list[Job] = []

    async def is_found() -> bool:
        jobs = [
            Job(i.decode(), redis, _queue_name=QUEUE, _deserializer=loads) for i in await redis.zrange(QUEUE, 0, -1)
        ]
        found.extend([job for job in jobs if await job.status() == status])
        return bool(found)

    await async_until(is_found, f"a job is {status}")
    return found[-1]
