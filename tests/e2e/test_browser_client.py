"""examples/rowcall.ts on supabase-js when connections die: no character is lost, none comes twice."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.conftest import Model
from tests.e2e.test_client import AWAY_S, ENOUGH, QUESTION, assert_whole
from tests.forwarding import Forward
from worker.client import Delta, Rowcall
from worker.local import node
from worker.local.stack import Stack

SOURCE = REPOSITORY / "examples" / "rowcall.ts"
SCRIPT = Path(__file__).with_name("browser.mjs")
STRICT = ("--strict", "--noUncheckedIndexedAccess", "--noUnusedLocals", "--noUnusedParameters", "--noImplicitReturns")
TARGET = ("--target", "es2022", "--module", "es2022", "--lib", "es2022,dom")

Read = Callable[..., AsyncIterator[dict[str, Any]]]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file by the TypeScript compiler, without a complaint."""
    folder = tmp_path_factory.mktemp("browser")
    compiler = node.FOLDER / "node_modules" / "typescript" / "bin" / "tsc"
    command = [node.find_node(), str(compiler), *STRICT, *TARGET, "--outDir", str(folder), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return (folder / "rowcall.js").rename(folder / "rowcall.mjs")


@pytest.fixture
async def read(rowcall_stack: Stack, rowcall: Rowcall, line: Forward, compiled: Path) -> Read:
    """What the script says, line by line, as the user `rowcall`, whose way to the project is `line`."""
    session = await rowcall.supabase.auth.get_session()
    assert session is not None
    environment = {
        "PATH": os.environ["PATH"],
        "LOCAL_MODULES": str(node.FOLDER),
        "ROWCALL_JS": str(compiled),
        "SUPABASE_URL": f"http://127.0.0.1:{line.port}",
        "SUPABASE_PUBLISHABLE_KEY": rowcall_stack.publishable_key,
        "ACCESS_TOKEN": session.access_token,
        "QUESTION": QUESTION,
    }

    async def said(**variables: str) -> AsyncIterator[dict[str, Any]]:
        async with running(environment | variables) as output:
            while said := await asyncio.wait_for(output.readline(), 60):
                yield json.loads(said)

    return said


@asynccontextmanager
async def running(environment: dict[str, str]) -> AsyncIterator[asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        node.find_node(), str(SCRIPT), stdout=asyncio.subprocess.PIPE, env=environment, limit=2**20
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_question_is_streamed_in_javascript(read: Read, model: Model) -> None:
    await model.slow(0.03)
    *deltas, ending = [said async for said in read()]
    assert_whole([Delta(**delta) for delta in deltas])
    assert len(deltas) > 5
    assert ending == {"waited": "succeeded"}


async def test_javascript_loses_and_doubles_nothing_when_its_connections_are_cut(
    read: Read,
    line: Forward,
    model: Model,
) -> None:
    await model.slow(0.15)
    deltas, cuts = [], 0
    async with aclosing(read()) as lines:  # type: ignore[type-var] # it is a generator
        async for said in lines:
            if "whole" not in said:
                assert said == {"waited": "succeeded"}
                continue
            deltas.append(Delta(**said))
            if len(said["whole"]) > (cuts + 1) * ENOUGH:
                cuts += 1
                await line.cut()
    assert cuts > 1
    assert_whole(deltas)
    assert not any(delta.begins_again for delta in deltas)


async def test_javascript_asks_a_project_again_that_is_away_for_some_seconds(
    read: Read, line: Forward, model: Model
) -> None:
    await model.slow(0.25)
    deltas: list[Delta] = []
    was_down = False
    async for said in read():
        if "whole" in said:
            deltas.append(Delta(**said))
            if len(said["whole"]) > ENOUGH and not was_down:
                was_down = True
                await line.go_down(AWAY_S)
        else:
            assert said == {"waited": "succeeded"}
    assert was_down
    assert_whole(deltas)


async def test_javascript_loses_and_doubles_nothing_when_realtime_is_restarted(
    read: Read, rowcall_stack: Stack, model: Model
) -> None:
    await model.slow(0.15)
    deltas: list[Delta] = []
    killed = False
    async for said in read():
        if "whole" in said:
            deltas.append(Delta(**said))
            if len(said["whole"]) > ENOUGH and not killed:
                killed = True
                rowcall_stack.kill("realtime")
                rowcall_stack.start("realtime")
    assert killed
    assert_whole(deltas)


async def test_javascript_cancels_and_hears_of_it(read: Read, model: Model) -> None:
    await model.slow(0.15)
    *_deltas, ending = [said async for said in read(CANCEL_AFTER="5")]
    assert ending == {"not_answered": True, "message": "canceled: the generation was ended by its owner"}
