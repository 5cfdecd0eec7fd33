"""Limits of models over the whole fleet, in Redis."""

from collections.abc import Mapping
from pathlib import Path

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.ports import ModelName
from worker.ports import PerMinute

log = structlog.get_logger()

BURST_S = 5.0  # what an idle minute saves up: providers enforce their limits over shorter windows than the minute


class RedisLimits:
    """`worker.ports.Limits`. While Redis is away calls are made at once: an answer is worth more than a limit, and the
    provider still has its own.
    """

    def __init__(self, redis: Redis, limits: Mapping[ModelName, PerMinute]) -> None:
        self._limits = limits
        self._script = redis.register_script(Path(__file__).with_suffix(".lua").read_text(encoding="utf-8"))
        self._is_away = False

    def of(self, model: ModelName) -> PerMinute:
        return self._limits.get(model, PerMinute())

    async def reserve(self, model: ModelName, tokens: int, *, patience_s: float) -> float:
        limit = self.of(model)
        times_ms = (round(1000 * patience_s), round(1000 * BURST_S))
        wait_ms = await self._call(model, "reserve", limit.requests or 0, limit.tokens or 0, tokens, *times_ms)
        return wait_ms / 1000

    async def held_back_s(self, model: ModelName) -> float:
        return await self._call(model, "held") / 1000

    async def settle(self, model: ModelName, *, reserved: int, used: int) -> None:
        if (tokens := self.of(model).tokens) and used != reserved:
            await self._call(model, "settle", tokens, used - reserved)

    async def refused(self, model: ModelName, wait_s: float) -> None:
        await self._call(model, "limited", round(1000 * wait_s))

    async def _call(self, model: ModelName, *arguments: str | int) -> int:
        try:
            reply: int = await self._script(keys=[f"rowcall:limits:{model.provider}/{model.model}"], args=arguments)
        except (RedisError, OSError) as error:
            if not self._is_away:
                log.warning("limits.unreachable", problem=type(error).__name__)
                self._is_away = True
            return 0
        self._is_away = False
        return reply
