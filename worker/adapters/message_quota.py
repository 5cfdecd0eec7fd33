"""The fleet's rate of messages to Realtime, in Redis."""

from pathlib import Path

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from worker.ports import Grant, MessageQuota

log = structlog.get_logger()

KEY = "rowcall:broadcast"


class RedisMessageQuota:
    """`worker.ports.MessageQuota` for all workers on one Redis. While that is away `otherwise` decides: a delta that
    Realtime drops is read again, one that is not sent is missing all the same.
    """

    def __init__(self, redis: Redis, *, messages_per_s: float, otherwise: MessageQuota, key: str = KEY) -> None:
        self._per_s = messages_per_s
        self._otherwise = otherwise
        self._key = key
        self._take = redis.register_script(Path(__file__).with_suffix(".lua").read_text(encoding="utf-8"))
        self._is_away = False

    async def take(self, wanted: int) -> Grant:
        try:
            granted, wait_us = await self._take(keys=[self._key], args=[self._per_s, wanted])
        except (RedisError, OSError) as error:
            if not self._is_away:
                log.warning("broadcast.unbudgeted", problem=type(error).__name__)
                self._is_away = True
            return await self._otherwise.take(wanted)
        self._is_away = False
        return Grant(granted, wait_us / 1e6)
