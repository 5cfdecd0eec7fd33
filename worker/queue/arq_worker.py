"""arq's worker, tuned and made to outlive its Redis. `run_worker` is all that the rest of Rowcall knows of it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.utils import timestamp_ms
from arq.worker import Function, Worker, func
from redis.exceptions import RedisError

from worker.ports import Hint
from worker.queue.connecting import require_safe_server
from worker.queue.wire import FUNCTION, UnreadableHint, dumps, hint_of, loads
from worker.settling import Policy, backoff_s

log = structlog.get_logger()

RunHint = Callable[[Hint], Awaitable[None]]

ATTEMPT_LIMIT_S = 86_400.0  # our own timeout ends an attempt; arq's is only there because arq wants one
READ_LIMIT = 1000  # hints that one poll looks at: those that run elsewhere are among them, and they are the oldest
HEALTH_EVERY_S = 10.0
RECONNECT = Policy(backoff_base_s=0.1, backoff_cap_s=2.0)


@dataclass(frozen=True, slots=True)
class Claiming:
    """How a process takes hints."""

    name: str  # of the process, in its health check key
    max_jobs: int
    grace_s: float  # for running jobs, when the process stops
    poll_s: float = 0.015
    redelivery_s: float = 60.0  # a hint that was taken by a process that died is given out again after so long


async def run_worker(redis: ArqRedis, run: RunHint, stop: asyncio.Event, claiming: Claiming) -> None:
    """Runs hints until `stop` is set; then takes none, and cancels those that are not done after the grace period.

    An outage of Redis ends no job: what runs goes on, and hints are taken again when Redis is back. Raises UnsafeRedis
    where its settings lose jobs.
    """
    worker = HintWorker(redis, run, claiming)
    taking = asyncio.create_task(worker.take_hints())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await worker.wind_down(claiming.grace_s if stop.is_set() else 0.0)
        stopping.cancel()
        taking.cancel()
        await asyncio.wait({taking})
        with suppress(RedisError, OSError):
            await redis.delete(worker.health_check_key)
    if not taking.cancelled():
        taking.result()  # raises: what ended it was no outage


def job_function(run: RunHint) -> Function:
    """What an arq worker has to know to run our hints. Its own tries and results are not used: the row is the record.

    `max_tries` has no meaning for us, and arq drops, unrun, a job that it gave out more often.
    """

    async def run_generation(ctx: dict[Any, Any], *arguments: Any) -> None:  # noqa: ARG001 - arq passes it by position
        try:
            await run(hint_of(arguments))
        except UnreadableHint as error:
            log.error("hint.unreadable", problem=str(error))

    return func(
        run_generation,
        name=FUNCTION,
        keep_result=0,
        timeout=ATTEMPT_LIMIT_S,
        max_tries=1_000_000,
    )


class HintWorker(Worker):
    """arq's worker with four of its habits changed.

    It polls often. It takes all the jobs that it has places for in two round trips. A lost connection does not end it.
    A process that died keeps a hint for `redelivery_s` instead of the longest time that a job may take; the claim
    declines what is given out twice.
    """

    def __init__(self, redis: ArqRedis, run: RunHint, claiming: Claiming) -> None:
        super().__init__(
            functions=[job_function(run)],
            redis_pool=redis,
            queue_name=redis.default_queue_name,
            handle_signals=False,
            max_jobs=claiming.max_jobs,
            poll_delay=claiming.poll_s,
            queue_read_limit=READ_LIMIT,
            health_check_interval=HEALTH_EVERY_S,
            health_check_key=f"{redis.default_queue_name}:health-check:{claiming.name}",
            on_startup=self._on_connected,
            job_serializer=dumps,
            job_deserializer=loads,
            log_results=False,
        )
        self._mark_ms = round(1000 * claiming.redelivery_s)
        self._picking = asyncio.Lock()
        self._lost_at_s: float | None = None
        self._is_checked = False

    async def take_hints(self) -> None:
        """Polls until it is canceled."""
        failures = 0
        while True:
            try:
                await self.main()
            except (RedisError, OSError) as error:
                if self._lost_at_s is None:
                    self._lost_at_s, failures = time.monotonic(), 0
                    log.warning("queue.unreachable", problem=type(error).__name__, running=len(self.job_tasks))
            failures += 1
            await asyncio.sleep(backoff_s(failures, RECONNECT, random.random()))  # noqa: S311 - jitter

    async def wind_down(self, grace_s: float) -> None:
        """Takes no more, waits for what runs, cancels what is left, and waits until that has settled."""
        self.allow_pick_jobs = False
        async with self._picking:  # what is being taken right now is among the tasks afterwards
            tasks = {task for task in self.tasks.values() if not task.done()}
        if not tasks:
            return
        log.info("worker.draining", running=len(tasks), grace_s=grace_s)
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        if late:
            log.warning("worker.cut_short", canceled=len(late))
            for job in self.job_tasks.values():
                job.cancel()
            await asyncio.wait(late)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """In place of arq's, which asks four times for each job, also for those that run."""
        async with self._picking:
            idle = await self._idle([job_id.decode() for job_id in job_ids])
            if idle and self.allow_pick_jobs:
                await self._take(idle)

    async def _idle(self, job_ids: list[str]) -> list[str]:
        """Those that nobody runs, as many as we have places for."""
        others = [job_id for job_id in job_ids if job_id not in self.tasks]
        if not others:
            return []
        marks = await self.pool.mget([in_progress_key_prefix + job_id for job_id in others])
        idle = [job_id for job_id, mark in zip(others, marks, strict=True) if mark is None]
        return idle[: self.max_jobs - self.job_counter]

    async def _take(self, job_ids: list[str]) -> None:
        """Marks jobs as in progress and starts those whose mark is ours, and that are still in the queue.

        Where the reply is lost a mark may stay behind without a job: it expires, and the job is given out again.
        """
        async with self.pool.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.set(in_progress_key_prefix + job_id, b"1", px=self._mark_ms, nx=True)
                pipe.zscore(self.queue_name, job_id)
            replies = await pipe.execute()
        marked = [
            (job_id, score)
            for job_id, is_ours, score in zip(job_ids, replies[::2], replies[1::2], strict=True)
            if is_ours
        ]
        now_ms = timestamp_ms()
        gone = [job_id for job_id, score in marked if score is None or score > now_ms]  # ended, or put off, meanwhile
        for job_id, score in marked:
            if job_id not in gone:
                self._start(job_id, int(score))
        if gone:
            await self.pool.delete(*(in_progress_key_prefix + job_id for job_id in gone))

    def _start(self, job_id: str, score: int) -> None:
        self.job_counter += 1
        task = self.tasks[job_id] = asyncio.create_task(self.run_job(job_id, score))
        task.add_done_callback(self._free_place)

    def _free_place(self, _task: "asyncio.Task[None]") -> None:
        self.job_counter -= 1

    async def run_job(self, job_id: str, score: int) -> None:
        """As arq's. Where Redis is lost the hint stays in the queue, and is declined when it is given out again."""
        try:
            await super().run_job(job_id, score)
        except (RedisError, OSError) as error:
            log.warning("hint.not_removed", job=job_id, problem=type(error).__name__)

    async def _on_connected(self, ctx: dict[Any, Any]) -> None:
        """Called by arq when Redis has answered, each time that `main` begins."""
        if not self._is_checked:
            await require_safe_server(ctx["redis"])
            self._is_checked = True
        if self._lost_at_s is not None:
            log.info("queue.reconnected", after_s=round(time.monotonic() - self._lost_at_s, 3))
            self._lost_at_s = None
