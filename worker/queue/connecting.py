"""Connections to Redis for arq: with timeouts, which arq's own lack, and JSON jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.exceptions
import structlog
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool, Connection, SSLConnection

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
    pool.connection_class = BoundedSSLConnection if url.startswith("rediss:") else BoundedConnection
    client = ArqRedis(pool, job_serializer=dumps, job_deserializer=loads, default_queue_name=queue_name)
    try:
        yield client
    finally:
        await client.aclose(close_connection_pool=True)


class BoundedConnection(Connection):
    """redis-py's connection with the timeout of its own taken over.

    It bounds writes by `asyncio.wait_for`, and that loses, on Python 3.11, a cancellation which arrives as the write
    ends (python/cpython#86296): whatever was canceled would run on. It happens every few hundred commands.
    """

    def __init__(self, *, socket_timeout: float, **settings: Any) -> None:
        super().__init__(**settings)  # without a socket_timeout redis-py waits as long as we do
        self.timeout_s = socket_timeout

    @property
    def is_cut(self) -> bool:
        """The server has hung up: it would be found out by the next command."""
        return self._reader is None or self._reader.at_eof()

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's
        try:
            async with asyncio.timeout(self.timeout_s):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise redis.exceptions.TimeoutError("the server takes nothing") from None

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await super().read_response(*arguments, **options)
        except TimeoutError:
            raise redis.exceptions.TimeoutError("the server does not answer") from None


class BoundedSSLConnection(BoundedConnection, SSLConnection):
    """The same over TLS."""


async def require_safe_server(client: ArqRedis) -> None:
    """Raises UnsafeRedis where the server evicts keys when its memory is full: arq's keys expire, so every policy but
    noeviction may take them. Without an append-only file a restart loses the queue: then the sweeper has to bring it
    back, which deserves a warning.
    """
    info = await client.info()  # CONFIG GET is forbidden on many hosted servers, INFO is not
    policy = info.get("maxmemory_policy", "unknown")
    if policy not in {"noeviction", "unknown"}:
        raise UnsafeRedis(f"Redis: maxmemory-policy is {policy!r}; it must be 'noeviction', or jobs will be evicted")
    if not info.get("aof_enabled"):
        log.warning("queue.volatile", maxmemory_policy=policy)
