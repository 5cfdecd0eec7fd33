"""The attempts that this worker holds: renewed together, and canceled when another took over or the owner canceled."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
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
        self._soon = asyncio.Event()

    def __len__(self) -> int:
        return len(self._holds)

    @contextmanager
    def holding(self, work: Work, task: asyncio.Task[Any]) -> Iterator[Hold]:
        hold = self._holds[work.id, work.attempt] = Hold(task)
        try:
            yield hold
        finally:
            del self._holds[work.id, work.attempt]

    def look_at(self, ids: Collection[str]) -> None:
        """Renews at once if one of these is held: somebody says that its row was canceled, and the row will tell."""
        if any(id in ids for id, _ in self._holds):
            self._soon.set()

    async def renew_forever(self) -> None:
        pause_s = self._every_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._soon.wait()
            self._soon.clear()
            pause_s = self._every_s if await self.renew() else self._every_s / 4

    async def renew(self) -> bool:
        """One renewal; whether it was answered. Its answer judges only attempts held before it was asked: a claim may
        land meanwhile. A request that hangs is given up while there is time left for another.
        """
        asked = dict(self._holds)
        if not asked:
            return True
        try:
            async with asyncio.timeout(self._every_s):
                leases = {(lease.id, lease.attempt): lease.state for lease in await self._rows.renew()}
        except (JobError, TimeoutError) as error:  # the fence holds without us: a taken row refuses our write-back
            code = error.code if isinstance(error, JobError) else "database.slow"
            log.warning("leases.not_renewed", held=len(asked), code=code)
            return False
        for key, hold in asked.items():
            state = leases.get(key, "lost")
            if state != "held" and key in self._holds and hold.ended is None:
                log.info("lease.ended", id=key[0], attempt=key[1], state=state)
                hold.end(state)
        return True
