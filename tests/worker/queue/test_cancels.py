"""Word of canceled attempts, on a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from arq.connections import ArqRedis

from tests.valkey import Valkey
from tests.waiting import async_until
from tests.worker.queue_contract import hint
from worker.queue.cancels import CHANNEL, RedisCancels, hear_cancels
from worker.queue.connecting import connected


@asynccontextmanager
async def listener(redis: ArqRedis, *, listeners: int = 1) -> AsyncIterator[list[str]]:
    """What a worker hears; it listens, one of so many, when the block begins."""
    heard: list[str] = []

    def hear(ids: Collection[str]) -> None:
        heard.extend(ids)

    task = asyncio.create_task(hear_cancels(redis, hear))
    try:
        await async_until(lambda: are_listening(redis, listeners), "it listens")
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def are_listening(redis: ArqRedis, count: int) -> bool:
    [(_, listeners)] = await redis.pubsub_numsub(CHANNEL)
    return int(listeners) == count


async def test_every_worker_hears_which_rows_were_canceled(redis: ArqRedis) -> None:
    first, second = hint(), hint()
    async with listener(redis) as heard, listener(redis, listeners=2) as heard_too:
        await RedisCancels(redis).announce([first, second])
        await async_until(lambda: has(heard, 2), "it is heard")
        await async_until(lambda: has(heard_too, 2), "it is heard by the other")
    assert set(heard) == set(heard_too) == {first.id, second.id}


async def test_a_listener_comes_back_when_redis_does(mortal: Valkey) -> None:
    async with connected(mortal.url) as redis, listener(redis) as heard:
        mortal.kill()
        mortal.start()
        canceled = hint()
        async with connected(mortal.url) as afresh:
            await async_until(lambda: are_listening(afresh, 1), "it listens again")
            await RedisCancels(afresh).announce([canceled])
        await async_until(lambda: has(heard, 1), "it is heard")
        assert heard == [canceled.id]


async def has(heard: list[str], count: int) -> bool:
    return len(heard) >= count
