"""A job that computes and leaves its worker's event loop no turn, as the row's owner sees it."""

import sys
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.e2e.busy_worker import BEGINS, ENDS
from tests.e2e.test_main_path import QUESTION, assert_one_answer, outcomes, watched
from tests.waiting import async_until
from worker.client import Rowcall
from worker.local.processes import Children, Command
from worker.local.stack import Stack


async def test_a_job_that_blocks_its_loop_for_three_leases_keeps_its_row_and_answers_once(
    rowcall_stack: Stack, rowcall: Rowcall, tmp_path: Path
) -> None:
    configuration = {"ROWCALL_CONFIG": str(rowcall_stack.config.project_dir / "rowcall.toml")}
    others_work = tmp_path / "others work"
    program = (sys.executable, "-m", "tests.e2e.busy_worker", str(others_work))
    rowcall_stack.stop("worker-1")
    with Children(tmp_path) as children:
        try:
            busy = children.spawn("busy", Command(program, rowcall_stack.environment() | configuration, REPOSITORY))
            id = await rowcall.submit({"question": QUESTION})

            async def is_running() -> bool:
                busy.check()
                return outcomes(rowcall_stack, id) == [None]

            await async_until(is_running, "the busy worker has the row")
        finally:
            rowcall_stack.start("worker-1")  # which takes whatever lease has ended
        others_work.touch()
        updates = await watched(rowcall, id)
        busy.check()
    assert_one_answer(rowcall_stack, updates)
    assert updates[-1].text == BEGINS + ENDS
    assert outcomes(rowcall_stack, id) == ["succeeded"]
