"""The places of a worker: the jobs that run in them, each to its end."""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from worker.ports import NotClaimed
from worker.queue.jobs import Ended, Given, Running
from worker.queue.link import Argument
from worker.queue.wire import RunHint, UnreadableHint, aborted_result, hint_in

log = structlog.get_logger()


class Places:
    """Runs jobs by `run`; whatever comes of one, `ended` is told once."""

    def __init__(self, run: RunHint, most: int, queue_name: str, ended: Callable[[Ended], None]) -> None:
        self.running: dict[str, Running] = {}
        self._run = run
        self._most = most
        self._queue_name = queue_name
        self._ended = ended

    @property
    def free(self) -> int:
        return self._most - len(self.running)

    def runs_already(self, job: Given) -> bool:
        """Whether it does: its lease was lost, and comes back to us with a new token."""
        running = self.running.get(job.id)
        if running is not None:
            running.job = job
        return running is not None

    def put(self, job: Given) -> None:
        self.running[job.id] = Running(job, asyncio.create_task(self._run_to_its_end(job)))

    def held(self) -> Sequence[tuple[Argument, ...]]:
        """What renews the leases of all, for another thread: one copy, which nothing else can change."""
        jobs = [running.job for running in self.running.copy().values()]
        return [(job.id, job.token, job.tenant) for job in jobs]

    async def empty(self, grace_s: float) -> None:
        """Returns when all have settled; cancels those that have not ended within the grace period."""
        tasks = {running.task for running in self.running.values()}
        if not tasks:
            return
        log.info("worker.draining", running=len(tasks), grace_s=grace_s)
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        if late:
            log.warning("worker.cut_short", canceled=len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late)

    async def _run_to_its_end(self, job: Given) -> None:
        began_s, is_done = time.monotonic(), True
        try:
            await self._run(hint_in(job.payload))
        except UnreadableHint as problem:
            log.error("hint.unreadable", job=job.id, problem=str(problem))
        except (asyncio.CancelledError, NotClaimed):  # canceled by us: the worker stops, or somebody aborted the job
            is_done = False
        except Exception as error:
            log.error("hint.crashed", job=job.id, exc_info=error)
        running = self.running.pop(job.id)
        if running.is_aborted:
            ended = Ended(running.job, "done", result=aborted_result(job.id, self._queue_name))
        else:
            ended = Ended(running.job, "done" if is_done else "release", time.monotonic() - began_s)
        self._ended(ended)
