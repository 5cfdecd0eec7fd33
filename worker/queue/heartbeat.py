"""What a worker says of itself each second, and what it looks for."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss, health_check_key_suffix
from redis.exceptions import RedisError

from worker.queue.jobs import Running
from worker.queue.scripts import LANES, read_script

EVERY_S = 1.0
HEALTH_S = 11.0  # as arq's


class Heartbeat:
    """Tells how many jobs of each lane run, keeps the key of `arq --check`, cancels what `Job.abort` names."""

    def __init__(self, redis: ArqRedis, queue_name: str, owner: str, running: Mapping[str, Running]) -> None:
        self._redis = redis
        self._queue_name = queue_name
        self._owner = owner
        self._running = running
        self._count = redis.register_script(read_script("count").text)

    async def beat_forever(self) -> None:
        """An outage is left to the claims to report."""
        while True:
            with suppress(RedisError, OSError):
                await self._cancel_aborted()
                await self._count(keys=[self._queue_name], args=[self._owner, *self._running_by_lane()])
                await self._show_health()
            await asyncio.sleep(EVERY_S)

    async def _cancel_aborted(self) -> None:
        if self._running:
            for id in await self._redis.zrange(abort_jobs_ss, 0, -1):
                if (running := self._running.get(id.decode())) is not None and not running.is_aborted:
                    running.is_aborted = True
                    running.task.cancel()

    def _running_by_lane(self) -> list[int]:
        lanes = [running.job.lane for running in self._running.values()]
        return [lanes.count(lane) for lane in LANES]

    async def _show_health(self) -> None:
        """Every worker refreshes the key, and arq's own removes it when it stops."""
        shown = f"{datetime.now():%b-%d %H:%M:%S} j_ongoing={len(self._running)}"  # noqa: DTZ005 - as arq shows it
        await self._redis.psetex(self._queue_name + health_check_key_suffix, round(1000 * HEALTH_S), shown)
