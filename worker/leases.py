"""The attempts that this worker holds: renewed together, and canceled when another took over or the owner canceled."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

import structlog

from jobs.errors import JobError
from jobs.ports import Work
from worker.ports import Lease, Rows
from worker.renewing import STUCK_S, RenewingThread

log = structlog.get_logger()

Key = tuple[str, int]  # a generation's id and its attempt


class Hold:
    """An attempt under way. `ended` says why its task was canceled, None while it is ours."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.ended: Literal["lost", "canceled"] | None = None

    def end(self, why: Literal["lost", "canceled"]) -> None:
        self.ended = why
        self.task.cancel()


class Leases:
    """All attempts of one worker process under one renewal, every third of the lease, from a thread."""

    def __init__(self, rows: Rows, *, lease_s: float, stuck_s: float = STUCK_S) -> None:
        self._rows = rows
        self._holds: dict[Key, Hold] = {}
        self._thread = RenewingThread(self.renew, name="rows", lease_s=lease_s, stuck_s=stuck_s)

    def __len__(self) -> int:
        return len(self._holds)

    @contextmanager
    def holding(self, work: Work, task: asyncio.Task[Any]) -> Iterator[Hold]:
        hold = self._holds[work.id, work.attempt] = Hold(task)
        try:
            yield hold
        finally:
            del self._holds[work.id, work.attempt]

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """Renews while the block runs."""
        self._thread.start()
        try:
            yield
        finally:
            await self._thread.stop()

    def look_at(self, ids: Collection[str]) -> None:
        """Renews at once if one of these is held: somebody says that its row was canceled, and the row will tell."""
        if any(id in ids for id, _ in self._holds):
            self._thread.soon()

    def renew(self) -> bool:
        """One renewal; whether it was answered. Blocks, and runs in the thread; its answer is judged on the loop."""
        asked = self._holds.copy()
        if not asked:
            return True
        try:
            leases = self._rows.renew()
        except JobError as error:  # the fence holds without us: a taken row refuses our write-back
            log.warning("leases.not_renewed", held=len(asked), code=error.code)
            return False
        self._thread.tell(lambda: self._judge(asked, leases))
        return True

    def _judge(self, asked: Mapping[Key, Hold], leases: Sequence[Lease]) -> None:
        """Ends what is not ours any more, of the attempts held before it was asked: a claim may have landed since."""
        states = {(lease.id, lease.attempt): lease.state for lease in leases}
        for key, hold in asked.items():
            state = states.get(key, "lost")
            if state != "held" and key in self._holds and hold.ended is None:
                log.info("lease.ended", id=key[0], attempt=key[1], state=state)
                hold.end(state)
