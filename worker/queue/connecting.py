"""Connections to Redis for arq: with timeouts, which arq's own lack, and JSON jobs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool

from worker.queue.wire import QUEUE, dumps, loads

log = structlog.get_logger()

CONNECTIONS = 50  # of one process; callers wait for a free one as long as for an answer


class UnsafeRedis(Exception):
    """The server is set to lose jobs; the message says which setting and what it should be."""


@asynccontextmanager
async def connected(url: str, *, timeout_s: float = 2.0, queue_name: str = QUEUE) -> AsyncIterator[ArqRedis]:
    """A client for the block. `timeout_s` bounds connecting and each answer: a peer that vanished must not hang us."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
    )
    redis = ArqRedis(pool, job_serializer=dumps, job_deserializer=loads, default_queue_name=queue_name)
    try:
        yield redis
    finally:
        await redis.aclose(close_connection_pool=True)


async def require_safe_server(redis: ArqRedis) -> None:
    """Raises UnsafeRedis where the server evicts keys when its memory is full: arq's keys expire, so every policy but
    noeviction may take them. Without an append-only file a restart loses the queue: then the sweeper has to bring it
    back, which deserves a warning.
    """
    info = await redis.info()  # CONFIG GET is forbidden on many hosted servers, INFO is not
    policy = info.get("maxmemory_policy", "unknown")
    if policy not in {"noeviction", "unknown"}:
        raise UnsafeRedis(f"Redis: maxmemory-policy is {policy!r}; it must be 'noeviction', or jobs will be evicted")
    if not info.get("aof_enabled"):
        log.warning("queue.volatile", maxmemory_policy=policy)
