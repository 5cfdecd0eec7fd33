import asyncio

import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from tests.worker.limits_contract import FREE, LIMITED, LIMITS, LimitsContract, Pass
from worker.adapters.limits import RedisLimits
from worker.adapters.memory import MemoryLimits
from worker.local.ports import free_port
from worker.ports import Limits
from worker.queue.connecting import connected


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    async def go(self, seconds: float) -> None:
        self.now_s += seconds


class TestMemoryLimits(LimitsContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    async def limits(self, clock: Clock) -> Limits:
        return MemoryLimits(LIMITS, clock)

    @pytest.fixture
    def pass_s(self, clock: Clock) -> Pass:
        return clock.go


class TestRedisLimits(LimitsContract):
    """The clock is the server's: its marks are moved back instead."""

    @pytest.fixture
    async def limits(self, redis: ArqRedis) -> Limits:
        return RedisLimits(redis, LIMITS)

    @pytest.fixture
    def pass_s(self, redis: ArqRedis) -> Pass:
        async def go(seconds: float) -> None:
            for key in await redis.keys("rowcall:limits:*"):
                for field in ("requests", "tokens", "not_before", "since"):
                    if await redis.execute_command("HEXISTS", key, field):  # type: ignore[no-untyped-call] # redis-py's
                        by = f"{-1000 * seconds}"
                        await redis.execute_command("HINCRBYFLOAT", key, field, by)  # type: ignore[no-untyped-call] # redis-py's

        return go


async def test_the_fleet_shares_one_limit(redis: ArqRedis) -> None:
    one, other = RedisLimits(redis, LIMITS), RedisLimits(redis, LIMITS)
    waits = await asyncio.gather(*(fleet.reserve(LIMITED, 0, patience_s=0.0) for fleet in (one, other) * 40))
    assert 49 <= sum(wait == 0 for wait in waits) <= 55


async def test_without_redis_calls_are_made_at_once_and_one_line_says_so() -> None:
    async with connected(f"redis://127.0.0.1:{free_port()}/0") as redis:
        limits = RedisLimits(redis, LIMITS)
        with capture_logs() as logs:
            assert await limits.reserve(LIMITED, 10**9, patience_s=0.0) == 0
            await limits.settle(LIMITED, reserved=10**9, used=1)
            await limits.refused(FREE, 60.0)
    assert [entry["event"] for entry in logs] == ["limits.unreachable"]
