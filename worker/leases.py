"""The attempts that this worker holds: renewed together, and canceled when another took over or the owner canceled."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import structlog

from jobs.errors import JobError
from jobs.ports import Work
from worker.ports import Rows

log = structlog.get_logger()


class Hold:
    """An attempt under way. `ended` says why its task was canceled, None while it is ours."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.ended: Literal["lost", "canceled"] | None = None

    def end(self, why: Literal["lost", "canceled"]) -> None:
        self.ended = why
        self.task.cancel()


class Leases:
    """All attempts of one worker process under one renewal, every third of the lease."""

    def __init__(self, rows: Rows, *, lease_s: float) -> None:
        self._rows = rows
        self._every_s = lease_s / 3
        self._holds: dict[tuple[str, int], Hold] = {}

    def __len__(self) -> int:
        return len(self._holds)

    @contextmanager
    def holding(self, work: Work, task: asyncio.Task[Any]) -> Iterator[Hold]:
        hold = self._holds[work.id, work.attempt] = Hold(task)
        try:
            yield hold
        finally:
            del self._holds[work.id, work.attempt]

    async def renew_forever(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.renew()

    async def renew(self) -> None:
        """One renewal. Its answer judges only attempts held before it was asked: a claim may land meanwhile."""
        asked = dict(self._holds)
        if not asked:
            return
        try:
            leases = {(lease.id, lease.attempt): lease.state for lease in await self._rows.renew()}
        except JobError as error:  # the fence holds without us: a row that is taken over refuses our write-back
            log.warning("leases.not_renewed", held=len(asked), code=error.code)
            return
        for key, hold in asked.items():
            state = leases.get(key, "lost")
            if state != "held" and key in self._holds and hold.ended is None:
                log.info("lease.ended", id=key[0], attempt=key[1], state=state)
                hold.end(state)
