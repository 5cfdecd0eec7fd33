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
from tests.waiting import async_until
from worker.client import Rowcall
from worker.local.processes import Child, Children, Command
from worker.local.stack import Stack

ROWS = 24


@asynccontextmanager
async def alone(stack: Stack, folder: Path, *modules: Sequence[str]) -> AsyncIterator[list[Child]]:
    """Worker processes in place of the stack's own, with the leases that are shipped."""
    environment = stack.environment() | {"ROWCALL_LOG": "json", "ROWCALL_CONFIG": str(REPOSITORY / "rowcall.toml")}
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
    ours = ("worker.cli", "worker")
    async with alone(rowcall_stack, tmp_path, ours, ours) as [leaving, staying]:
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
    async with alone(rowcall_stack, tmp_path, ("arq", "worker.app.WorkerSettings")) as [stock]:
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
