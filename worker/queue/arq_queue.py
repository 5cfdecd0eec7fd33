"""Where hints wait: `worker.ports.Queue` in arq's own keys."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from arq.connections import ArqRedis
from redis.exceptions import RedisError

from worker.batching import Batcher
from worker.ports import Backlog, Hint, LaneBacklog, QueueUnavailable
from worker.queue.link import Link
from worker.queue.scripts import read_script
from worker.queue.wire import job_id, payload

ENQUEUE = read_script("enqueue")
TURN_S = 3.0
PROBE_LIFE_MS = 10_000
PAGE = 500  # hints in one call: a longer script would keep others waiting
PAYLOAD_LIFE_S = 7 * 86_400.0  # after it is due; a hint that is lost to this comes back from its row


class ArqQueue:
    """`worker.ports.Queue` in arq's own keys: any arq worker that knows `run_generation` can run what stands in it.

    What many callers add while a call is under way shares the next one. `redelivery_s`: a hint that was taken, and
    whose row nevertheless still waits to be claimed, is given out again so many seconds after it was enqueued once
    more (which the sweeper does every second).
    """

    def __init__(self, redis: ArqRedis, *, redelivery_s: float = 15.0) -> None:
        self._redis = redis
        self._queue_name = redis.default_queue_name
        self._redelivery_s = redelivery_s
        # A connection of the pool asks before each command whether it is still there; this one is a round trip quicker.
        self._link = Link(redis, self._queue_name, is_pooled=True)
        self._turn = asyncio.Lock()
        self._backlog = redis.register_script(read_script("backlog").text)
        self._calls = Batcher(self._add, interval_s=0.0, max_size=PAGE, max_in_flight=1)

    async def enqueue(self, hints: Sequence[Hint], *, wait_s: float = 0.0) -> int:
        """Adds what is not there yet; the number added. Each 500 hints are one round trip, and one step for others."""
        if wait_s or len(hints) > 1 or not self._turn.locked():
            return sum([sum(await self._added(hints[at : at + PAGE], wait_s)) for at in range(0, len(hints), PAGE)])
        return sum([await self._calls.submit(hint) for hint in hints])

    async def _add(self, hints: Sequence[Hint]) -> list[int]:
        return await self._added(hints, 0.0)

    async def _added(self, hints: Sequence[Hint], wait_s: float) -> list[int]:
        times_ms = [round(1000 * s) for s in (wait_s, PAYLOAD_LIFE_S, self._redelivery_s)]
        jobs = [part for hint in hints for part in (job_id(hint), payload(hint), hint.lane, hint.tenant or "")]
        async with self._my_turn():
            with redis_errors_translated():
                added: list[int] = await self._link.call(ENQUEUE, [*times_ms, *jobs])
        return added

    @asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        """Waits no longer than a call that fails takes: in an outage all fail soon, and not one after the other."""
        try:
            async with asyncio.timeout(TURN_S):
                await self._turn.acquire()
        except TimeoutError:
            raise QueueUnavailable("Redis: calls before this one have no answer yet") from None
        try:
            yield
        finally:
            self._turn.release()

    async def depth(self) -> int:
        with redis_errors_translated():
            depth: int = await self._redis.zcard(self._queue_name)
        return depth

    async def probe(self) -> int:
        with redis_errors_translated():
            async with self._redis.pipeline(transaction=False) as calls:
                # A replica, a full memory and a disk that takes nothing more let themselves be read.
                calls.set(f"{self._queue_name}:probe", 1, px=PROBE_LIFE_MS)
                calls.zcard(self._queue_name)
                _, depth = await calls.execute()
        return int(depth)

    async def backlog(self) -> Backlog:
        with redis_errors_translated():
            scheduled, *lanes = await self._backlog(keys=[self._queue_name])
        return Backlog(
            scheduled=scheduled,
            lanes=tuple(
                LaneBacklog(
                    lane=lane.decode(),
                    waiting=waiting,
                    oldest_s=oldest_ms / 1000,
                    running=running,
                    mean_job_s=float(mean_s) if mean_s else None,
                )
                for lane, waiting, oldest_ms, running, mean_s in lanes
            ),
        )


@contextmanager
def redis_errors_translated() -> Iterator[None]:
    """Whatever Redis will not do (unreachable, loading, full, read-only, fenced off), the hint is not in it."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise QueueUnavailable(f"Redis: {type(error).__name__}: {error}") from error
