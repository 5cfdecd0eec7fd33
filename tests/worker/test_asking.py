from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.errors import JobError, Permanent, Retryable
from worker.adapters.memory import MemoryQueue
from worker.asking import Asker
from worker.ports import Hint
from worker.row_hints import Key, RowReference

AUTOMATIONS = {"public.tickets": ("complete", "{{body}}", "summary")}
ROW = RowReference("public.tickets", {"id": 7})
HINT = ROW.hint(lane="bulk", stamp=1)
GENERATION = Hint("0a8f6f3e-5a0e-4c5e-8d65-0d6f6b1f2a10", 0, "answer", "interactive", None)


@dataclass
class Asked:
    """`worker.ports.Tables`; and what is left to others."""

    error: JobError | None = None
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)

    async def ask(self, table: str, key: Key, automation: Sequence[str]) -> str | None:
        self.rows.append((table, dict(key), automation))
        if self.error is not None:
            raise self.error
        return "id"

    async def run(self, hint: Hint) -> None:
        self.hints.append(hint)


def asker(asked: Asked, queue: MemoryQueue) -> Asker:
    return Asker(AUTOMATIONS, asked, queue, otherwise=asked.run)


async def test_a_row_is_asked_about_and_a_generation_is_left_to_the_executor() -> None:
    asked, queue = Asked(), MemoryQueue()
    await asker(asked, queue).run(HINT)
    await asker(asked, queue).run(GENERATION)
    assert asked.rows == [("public.tickets", {"id": 7}, AUTOMATIONS["public.tickets"])]
    assert asked.hints == [GENERATION]


async def test_while_the_database_is_away_the_hint_waits_in_the_queue_under_another_name() -> None:
    asked, queue = Asked(Retryable("database.unavailable", "away", wait_s=3.0)), MemoryQueue()
    with capture_logs() as logs:
        await asker(asked, queue).run(HINT)
    assert [entry["event"] for entry in logs] == ["row.postponed"]
    assert await queue.depth() == 1


@pytest.mark.parametrize(
    ("hint", "code"),
    [
        (HINT, "automation.invalid"),
        (RowReference("public.gone", {"id": 1}).hint(lane="bulk", stamp=1), "table.unknown"),
    ],
)
async def test_what_cannot_be_asked_is_an_error_that_names_the_table(hint: Hint, code: str) -> None:
    asked, queue = Asked(Permanent("automation.invalid", "table public.tickets has no column summary")), MemoryQueue()
    with capture_logs() as logs:
        await asker(asked, queue).run(hint)
    [entry] = logs
    assert (entry["event"], entry["log_level"], entry["code"]) == ("row.not_asked", "error", code)
    assert await queue.depth() == 0
