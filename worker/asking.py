"""A row of the project's own table appeared or changed, and a Database Webhook said so: its generation is made."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from jobs.errors import JobError, Retryable
from worker.ports import Hint, Queue, QueueUnavailable, Tables
from worker.row_hints import is_row_hint, reference_in

log = structlog.get_logger()

AGAIN_S = 5.0  # after a database that did not answer


@dataclass(frozen=True, slots=True)
class Asker:
    """Runs hints at rows of tables that rowcall.toml names; passes all others on to `otherwise`.

    `automations`: what rowcall.generate would be given, by `schema.table`.
    """

    automations: Mapping[str, Sequence[str]]
    tables: Tables
    queue: Queue
    otherwise: Callable[[Hint], Awaitable[None]]

    async def run(self, hint: Hint) -> None:
        if not is_row_hint(hint):
            await self.otherwise(hint)
            return
        row = reference_in(hint)
        automation = self.automations.get(row.table)
        if automation is None:
            log.error("row.not_asked", table=row.table, code="table.unknown", problem="rowcall.toml does not name it")
            return
        try:
            id = await self.tables.ask(row.table, row.key, automation)
        except Retryable as error:
            await self._ask_again(hint, row.table, error)
        except JobError as error:
            log.error("row.not_asked", table=row.table, code=error.code, problem=error.message)
        else:
            log.debug("row.asked", table=row.table, id=id)

    async def _ask_again(self, hint: Hint, table: str, error: Retryable) -> None:
        """The hint is the only word of the row's change: it waits in the queue until the database answers."""
        again = replace(hint, attempt=stamp())
        try:
            await self.queue.enqueue([again], wait_s=error.wait_s or AGAIN_S)
        except QueueUnavailable as problem:
            log.error("row.not_asked", table=table, code="queue.unavailable", problem=str(problem))
        else:
            log.warning("row.postponed", table=table, code=error.code)


def stamp() -> int:
    """A number that the next hint does not have: milliseconds, in Postgres' integer."""
    return time.time_ns() // 1_000_000 % 2**31
