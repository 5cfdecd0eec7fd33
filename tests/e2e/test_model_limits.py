"""Limits of a model over two real workers, by the model server's own log."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Model
from tests.e2e.test_fleet import OURS, SHIPPED, alone, insert, succeeded, until_logged
from tests.e2e.test_main_path import sql
from tests.waiting import async_until
from worker.client import Rowcall
from worker.local.stack import Stack

MODEL = "local/rowcall-local"
ROWS = 14
BURST_S = 5.0  # what an idle minute saves up
REQUESTS_PER_S = 1.0
TOKENS_PER_S = 300.0
LONGEST = 1_500  # tokens, more than a call of these tests may reserve
RETRY_AFTER_S = 8.0


FEW = SHIPPED.replace("concurrency = 50 ", "concurrency = 2 ")  # places, so that both workers have work
assert FEW != SHIPPED
LIMITED = f"""{FEW}
[limits."{MODEL}"]
requests_per_min = {round(60 * REQUESTS_PER_S)}
tokens_per_min = {round(60 * TOKENS_PER_S)}
"""


def workers_of(stack: Stack, ids: Sequence[str]) -> set[str]:
    query = "select distinct worker from rowcall.attempts where generation_id = any(%s::uuid[])"
    return {worker for (worker,) in sql(stack, query, list(ids))}


async def test_two_workers_together_keep_to_the_requests_and_the_tokens_of_a_minute(
    rowcall: Rowcall, rowcall_stack: Stack, model: Model, tmp_path: Path
) -> None:
    """Time that the machine takes for other things makes calls fewer, never more: the bounds hold on any machine."""
    async with alone(rowcall_stack, tmp_path, OURS, OURS, configuration=LIMITED) as workers:
        for worker in workers:
            await until_logged(worker, "worker.started")
        began = time.time()
        ids = await insert(rowcall, ROWS)
        found = await succeeded(rowcall, rowcall_stack, ids)
    assert found == [["succeeded"]] * ROWS  # nobody was sent back, and no try was used
    assert len(workers_of(rowcall_stack, ids)) == 2
    calls = sorted(await model.answers(), key=lambda call: call["started_at"])
    assert len(calls) == ROWS
    used = 0
    for number, call in enumerate(calls):
        passed_s = call["started_at"] - began
        assert number <= REQUESTS_PER_S * (BURST_S + passed_s) + 1
        assert used <= TOKENS_PER_S * (BURST_S + passed_s) + LONGEST
        used += tokens_of(call)
    assert used > TOKENS_PER_S * BURST_S + LONGEST  # or the bound would have said nothing


def tokens_of(call: dict[str, Any]) -> int:
    return int(call["prompt_tokens"] + call["completion_tokens"])


async def test_a_429_holds_back_the_worker_that_did_not_get_it_as_well(
    rowcall: Rowcall, rowcall_stack: Stack, model: Model, tmp_path: Path
) -> None:
    async with alone(rowcall_stack, tmp_path, OURS, OURS, configuration=FEW) as workers:
        for worker in workers:
            await until_logged(worker, "worker.started")
        await model.fail({"kind": "status", "status": 429, "retry_after_s": RETRY_AFTER_S})
        [first] = await insert(rowcall, 1)
        await async_until(lambda: has_refused(model), "the model has refused a call")
        ids = [first, *await insert(rowcall, ROWS)]
        await succeeded(rowcall, rowcall_stack, ids)
    assert len(workers_of(rowcall_stack, ids)) == 2
    refused, *later = sorted(await model.answers(), key=lambda call: call["started_at"])
    assert [call["status"] for call in (refused, *later)] == [429] + [200] * (ROWS + 1)
    assert min(call["started_at"] for call in later) > refused["finished_at"] + RETRY_AFTER_S - 1.0


async def has_refused(model: Model) -> bool:
    return any(call["finished_at"] for call in await model.answers())
