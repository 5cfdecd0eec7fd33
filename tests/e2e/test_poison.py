"""A row that its workers die of, as its owner sees it."""

import pytest

from tests.e2e.conftest import Model
from tests.e2e.test_main_path import QUESTION, assert_one_answer, outcomes, watched
from worker.client import Rowcall
from worker.local.stack import Stack


@pytest.mark.timeout(300)  # three leases have to end
async def test_a_row_that_kills_three_workers_fails_as_poisoned_and_the_next_one_is_answered(
    rowcall_stack: Stack, rowcall: Rowcall, model: Model
) -> None:
    await model.slow(0.2)
    id = await rowcall.submit({"question": QUESTION})
    died: list[int] = []
    async for update in rowcall.watch(id):
        if update.text and not update.is_finished and update.attempt not in died:
            died.append(update.attempt)
            rowcall_stack.kill("worker-1")
            rowcall_stack.start("worker-1")
        last = update
    assert died == [1, 2, 3]
    assert last.row is not None
    assert (last.status, last.row["error"]["code"]) == ("failed", "attempt.poisoned")
    assert outcomes(rowcall_stack, id) == ["lost"] * 3
    assert len(await model.answers()) == 3

    await model.http.delete("/control/faults")
    assert_one_answer(rowcall_stack, await watched(rowcall, await rowcall.submit({"question": QUESTION})))
