from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from arq.connections import ArqRedis
from redis.exceptions import RedisError

from worker.ports import Hint, QueueUnavailable
from worker.queue.wire import job_id, payload

PAGE = 500  # hints in one call: a longer script would keep others waiting
PAYLOAD_LIFE_S = 7 * 86_400.0  # after it is due; a hint that is lost to this comes back from its row


class ArqQueue:
    """`worker.ports.Queue` in arq's own keys: any arq worker that knows `run_generation` can run what stands in it.

    `redelivery_s`: a hint that was taken, and whose row nevertheless still waits to be claimed, is given out again so
    many seconds after it was enqueued once more (which the sweeper does every second).
    """

    def __init__(self, redis: ArqRedis, *, redelivery_s: float = 15.0) -> None:
        self._redis = redis
        self._queue_name = redis.default_queue_name
        self._redelivery_s = redelivery_s
        self._enqueue = redis.register_script(Path(__file__).with_name("enqueue.lua").read_text(encoding="utf-8"))

    async def enqueue(self, hints: Sequence[Hint], *, wait_s: float = 0.0) -> int:
        """Adds what is not there yet; the number added. Each 500 hints are one round trip, and one step for others."""
        times_ms = [round(1000 * s) for s in (wait_s, PAYLOAD_LIFE_S, self._redelivery_s)]
        added = 0
        with redis_errors_translated():
            for start in range(0, len(hints), PAGE):
                jobs = [part for hint in hints[start : start + PAGE] for part in (job_id(hint), payload(hint))]
                added += await self._enqueue(keys=[self._queue_name], args=[*times_ms, *jobs])
        return added

    async def depth(self) -> int:
        with redis_errors_translated():
            depth: int = await self._redis.zcard(self._queue_name)
        return depth


@contextmanager
def redis_errors_translated() -> Iterator[None]:
    """Whatever Redis will not do (unreachable, loading, full, read-only, fenced off), the hint is not in it."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise QueueUnavailable(f"Redis: {type(error).__name__}: {error}") from error
