"""Finds rows that should be running and are not: what webhooks, Redis or a dead worker have lost."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from jobs.errors import JobError
from worker.ports import Queue, QueueUnavailable, Rows
from worker.telemetry import Metrics

log = structlog.get_logger()


class Turn(Protocol):
    """Whose turn it is to sweep. Both raise `QueueUnavailable`."""

    async def take(self) -> bool:
        """Takes the turn, or keeps it; False: another process has it."""
        ...

    async def give_up(self) -> None:
        """Lets another process have it at once."""
        ...


@dataclass(frozen=True, slots=True)
class Sweeping:
    interval_s: float = 1.0
    grace_s: float = 1.0  # a row is left to its webhook so long
    page: int = 500


class Sweeper:
    """Enqueues what is due, every `interval_s`, while it has the turn."""

    def __init__(self, rows: Rows, queue: Queue, turn: Turn, metrics: Metrics, sweeping: Sweeping) -> None:
        self._rows = rows
        self._queue = queue
        self._turn = turn
        self._metrics = metrics
        self._sweeping = sweeping
        self._outage: str | None = None  # its code

    async def run(self, stop: asyncio.Event) -> None:
        """Sweeps until `stop` is set. An outage, of either side, is waited out."""
        while not stop.is_set():
            await self.take_turn()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._sweeping.interval_s):
                    await stop.wait()
        try:
            await self._turn.give_up()
        except QueueUnavailable:
            return  # it passes on by itself

    async def take_turn(self) -> None:
        """One sweep, if it is our turn."""
        try:
            is_ours = await self._turn.take()
            if is_ours:
                await self.sweep()
        except QueueUnavailable as problem:
            self._failed("queue.unavailable", str(problem))
        except JobError as problem:
            self._failed(problem.code, problem.message)
        else:
            self._metrics.swept("done" if is_ours else "not_our_turn")
            if self._outage is not None:
                log.info("sweep.recovered", code=self._outage)
                self._outage = None

    async def sweep(self) -> int:
        """Enqueues all that is due; the number that was new to the queue.

        Rows stay due until they are claimed, and come first on the next page too. So a page without news ends the
        sweep: what lies behind it comes up as the workers take what lies before.
        """
        total, more = 0, True
        while more:
            due = await self._rows.due(grace_s=self._sweeping.grace_s, max_rows=self._sweeping.page)
            added = await self._queue.enqueue(due) if due else 0
            self._metrics.hints_enqueued("sweeper", added)
            total += added
            more = added > 0 and len(due) >= self._sweeping.page
        if total:
            log.info("sweep.found", added=total)
        return total

    def _failed(self, code: str, problem: str) -> None:
        """Counts each failure, and logs the first of an outage."""
        self._metrics.swept("failed")
        if code != self._outage:
            log.warning("sweep.failed", code=code, problem=problem)
            self._outage = code
