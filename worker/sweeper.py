"""Finds rows that should be running and are not: what webhooks, Redis or a dead worker have lost."""

import asyncio
import math
import time
from collections.abc import Callable
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
    max_backlog: int = 100_000  # hints in the queue; what is above it waits in its row
    full_every_s: float = 30.0  # the whole backlog is looked at this often, and not the rows that are due longest alone


class Sweeper:
    """Enqueues what is due, every `interval_s`, while it has the turn."""

    def __init__(
        self,
        rows: Rows,
        queue: Queue,
        turn: Turn,
        metrics: Metrics,
        sweeping: Sweeping,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._queue = queue
        self._turn = turn
        self._metrics = metrics
        self._sweeping = sweeping
        self._monotonic_s = monotonic_s
        self._next_full_s = -math.inf
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
        """Enqueues what is due and not in the queue; the number of those.

        A page without news ends the sweep: rows stay due until they are claimed, and as a rule the queue holds what
        comes after them as well. Redis may have lost any part, though, so now and then all pages are looked at; the
        longer that takes the less often.
        """
        began_s = self._monotonic_s()
        is_full = began_s >= self._next_full_s
        total, after = 0, None
        while await self._queue.depth() < self._sweeping.max_backlog:
            due = await self._rows.due(grace_s=self._sweeping.grace_s, max_rows=self._sweeping.page, after=after)
            if not due:
                break
            added = await self._queue.enqueue([row.hint for row in due])
            self._metrics.hints_enqueued("sweeper", added)
            total, after = total + added, due[-1]
            if not (added or is_full) or not await self._turn.take():  # a long sweep keeps its turn
                break
        if is_full:
            ended_s = self._monotonic_s()
            self._next_full_s = ended_s + max(self._sweeping.full_every_s, 10 * (ended_s - began_s))
        if total:
            log.info("sweep.found", added=total)
        return total

    def _failed(self, code: str, problem: str) -> None:
        """Counts each failure, and logs the first of an outage."""
        self._metrics.swept("failed")
        if code != self._outage:
            log.warning("sweep.failed", code=code, problem=problem)
            self._outage = code
