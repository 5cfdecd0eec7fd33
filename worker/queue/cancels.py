"""Word of canceled attempts, from intake to all workers: published, heard or not, never kept."""

import asyncio
import json
import random
from collections.abc import Callable, Collection, Sequence

from arq.connections import ArqRedis
from redis.exceptions import RedisError

from worker.ports import Hint
from worker.queue.arq_queue import redis_errors_translated
from worker.settling import Policy, backoff_s

CHANNEL = "rowcall:canceled"
RECONNECT = Policy(backoff_base_s=0.1, backoff_cap_s=5.0)
LISTEN_S = 1.0  # below the connection's own timeout
QUIET = 10  # so many of them without a word, and the server is asked whether it is there


class RedisCancels:
    """`worker.ports.Cancels`."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis

    async def announce(self, hints: Sequence[Hint]) -> None:
        with redis_errors_translated():
            await self._redis.publish(CHANNEL, json.dumps([hint.id for hint in hints]))


async def hear_cancels(redis: ArqRedis, heard: Callable[[Collection[str]], None]) -> None:
    """Calls `heard` with the ids of each announcement, until it is canceled.

    What is announced while the connection is away is missed: then the renewal tells it.
    """
    failures = 0
    while True:
        try:
            async with redis.pubsub() as subscription:
                await subscription.subscribe(CHANNEL)
                failures, quiet = 0, 0
                while quiet <= QUIET + 2:
                    message = await subscription.get_message(timeout=LISTEN_S)
                    quiet = quiet + 1 if message is None else 0
                    if quiet == QUIET:
                        await subscription.ping()
                    if message is not None and message["type"] == "message":
                        heard(frozenset(json.loads(message["data"])))
        except (RedisError, OSError):  # the loop that takes hints says so
            failures += 1
            await asyncio.sleep(backoff_s(failures, RECONNECT, random.random()))  # noqa: S311 - jitter
