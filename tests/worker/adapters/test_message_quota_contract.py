"""`worker.ports.MessageQuota`, in memory and in Redis: never more than the rate, and a second's worth at once."""

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from worker.adapters.memory import MemoryMessageQuota
from worker.adapters.message_quota import RedisMessageQuota
from worker.local.ports import free_port
from worker.ports import MessageQuota
from worker.queue.connecting import connected

PER_S = 20.0

Quotas = Callable[[], Sequence[MessageQuota]]


def in_redis(redis: ArqRedis) -> MessageQuota:
    return RedisMessageQuota(redis, messages_per_s=PER_S, otherwise=MemoryMessageQuota(messages_per_s=PER_S))


@pytest.fixture(params=["memory", "redis"])
def quotas(request: pytest.FixtureRequest) -> Sequence[MessageQuota]:
    """Those of a fleet: of one process in memory, of three on one Redis."""
    if request.param == "memory":
        return [MemoryMessageQuota(messages_per_s=PER_S)]
    redis: ArqRedis = request.getfixturevalue("redis")
    return [in_redis(redis) for _ in range(3)]


async def spent(quota: MessageQuota, takes: int, wanted: int) -> int:
    granted = 0
    for _ in range(takes):
        grant = await quota.take(wanted)
        assert 0 <= grant.messages <= wanted
        assert (grant.messages > 0) == (grant.wait_s == 0)
        granted += grant.messages
    return granted


async def test_the_fleet_gets_a_second_s_worth_at_once_and_then_the_rate(quotas: Sequence[MessageQuota]) -> None:
    began_s = time.monotonic()
    granted = sum(await asyncio.gather(*(spent(quota, 30, 7) for quota in quotas)))
    elapsed_s = time.monotonic() - began_s
    assert PER_S <= granted <= PER_S * (1 + elapsed_s) + 1


async def test_after_the_wait_a_message_may_be_sent(quotas: Sequence[MessageQuota]) -> None:
    quota, wait_s = quotas[0], 0.0
    while wait_s == 0:
        wait_s = (await quota.take(100)).wait_s
    assert wait_s <= 1 / PER_S
    await asyncio.sleep(wait_s)
    assert (await quota.take(1)).messages == 1


async def test_a_rate_below_one_a_second_is_kept(redis: ArqRedis) -> None:
    slow = MemoryMessageQuota(messages_per_s=0.1)
    for quota in (slow, RedisMessageQuota(redis, messages_per_s=0.1, otherwise=slow)):
        assert (await quota.take(5)).messages == 1
        assert 0 < (await quota.take(5)).wait_s <= 10


async def test_without_redis_a_worker_keeps_to_the_rate_by_itself_and_one_line_says_so() -> None:
    async with connected(f"redis://127.0.0.1:{free_port()}/0") as redis:
        quota = in_redis(redis)
        with capture_logs() as logs:
            assert (await quota.take(7)).messages == 7
            assert (await quota.take(100)).messages >= PER_S - 7
            assert (await quota.take(100)).wait_s > 0
    assert [entry["event"] for entry in logs] == ["broadcast.unbudgeted"]
