"""A cascade on the embedded stack: a worker whose first route is checked, and a model that is told what to say."""

from pathlib import Path

from tests.e2e.conftest import Model
from tests.e2e.test_fleet import OURS, SHIPPED, alone, until_logged
from tests.e2e.test_main_path import QUESTION, assert_one_answer, sql, watched
from tests.waiting import async_until
from worker.client import Rowcall
from worker.local.stack import Stack

CASCADE = SHIPPED.replace("checks = [] ", 'checks = ["citations", "arithmetic"] ')
assert CASCADE != SHIPPED
WRONG = "It flies at 5 + 6 = 12 metres per second [1]."
RIGHT = "It flies at 5 + 6 = 11 metres per second [1]."


def calls(stack: Stack, id: str) -> list[tuple[str, str, list[str] | None]]:
    query = """select route, status, failed_checks from rowcall.calls
                where generation_id = %s and purpose = 'answer' order by created_at"""
    return [(route, status, failed) for route, status, failed in sql(stack, query, id)]


async def test_only_an_answer_that_passes_its_checks_or_the_stronger_route_s_is_seen(
    rowcall: Rowcall, rowcall_stack: Stack, model: Model, tmp_path: Path
) -> None:
    async with alone(rowcall_stack, tmp_path, OURS, configuration=CASCADE) as [worker]:
        await until_logged(worker, "worker.started")

        await model.fail({"kind": "says", "text": WRONG})
        id = await rowcall.submit({"question": QUESTION})
        updates = await watched(rowcall, id)
        assert_one_answer(rowcall_stack, updates)
        assert not any("12" in update.text for update in updates)
        row = updates[-1].row
        assert row is not None
        assert (row["route"], row["output"]) == ("strong", None)
        assert calls(rowcall_stack, id) == [("default", "succeeded", ["arithmetic"]), ("strong", "succeeded", None)]
        assert row["tokens_out"] == sum(call["completion_tokens"] for call in await model.answers())

        await model.fail({"kind": "says", "text": RIGHT})
        passed = (await rowcall.wait_all([id := await rowcall.submit({"question": QUESTION})]))[id]
        assert (passed["route"], passed["answer"]) == ("default", RIGHT)
        assert calls(rowcall_stack, id) == [("default", "succeeded", [])]

        await model.fail({"kind": "says", "text": WRONG}, {"kind": "status", "status": 500})
        kept = (await rowcall.wait_all([id := await rowcall.submit({"question": QUESTION})]))[id]
        assert (kept["route"], kept["answer"]) == ("default", WRONG)
        remark = "cascade.unchecked: arithmetic failed, and strong was not to be had (model.unavailable)"
        assert kept["output"] == {"warnings": [remark]}


async def test_a_cancel_while_the_text_is_held_back_ends_the_row_without_any(
    rowcall: Rowcall, rowcall_stack: Stack, model: Model, tmp_path: Path
) -> None:
    await model.slow(0.2)
    async with alone(rowcall_stack, tmp_path, OURS, configuration=CASCADE) as [worker]:
        await until_logged(worker, "worker.started")
        id = await rowcall.submit({"question": QUESTION})

        async def is_answering() -> bool:
            return any(call["completion_tokens"] for call in await model.answers())

        await async_until(is_answering, "the model answers")
        assert await rowcall.cancel(id)
        await async_until(lambda: is_closed(rowcall_stack, id), "the call is booked")
    row = (await rowcall.ended_among([id]))[id]
    assert (row["status"], row["answer"]) == ("canceled", None)


async def is_closed(stack: Stack, id: str) -> bool:
    return [status for _, status, _ in calls(stack, id)] == ["failed"]
