"""A connection of one's own to Redis, for scripts: no pool between a worker and what it waits for."""

from collections.abc import Sequence
from typing import Any

import structlog
from arq.connections import ArqRedis
from hiredis import pack_command
from redis.exceptions import NoScriptError, ResponseError

from worker.queue.connecting import BoundedConnection
from worker.queue.scripts import Script

log = structlog.get_logger()

Argument = str | bytes | int | float

MAX_WAIT_S = 1.0  # for a token; a connection's own patience comes on top


class Link:
    """Calls scripts over one connection, which is opened by the first call, and again by the next after an error.

    One call at a time. `is_pooled`: the connection is one of the client's pool, which closes it in the end; else who
    has the link does. Every error that a call raises (RedisError, OSError) leaves the connection closed: what the
    server has done is then unknown.
    """

    def __init__(self, redis: ArqRedis, queue_name: str, *, is_pooled: bool = False) -> None:
        self._pool = redis.connection_pool
        self._queue_name = queue_name
        self._connection: BoundedConnection | None = None
        self._is_pooled = is_pooled
        self._is_pipelined = True

    async def call(self, script: Script, arguments: Sequence[Argument]) -> Any:
        try:
            return await self._evaluated(await self._connected(), script, arguments)
        except BaseException:
            await self.close()
            raise

    async def wait_and_call(self, wait_s: float, script: Script, arguments: Sequence[Argument]) -> Any:
        """Waits for a token in the queue's wake list, `wait_s` seconds at most; then calls.

        Both commands are sent at once, so the script runs the moment the token arrives, without a round trip between.
        Some proxies refuse a command behind one that blocks: from then on they are sent one after the other.
        """
        waiting = ("BLPOP", f"{self._queue_name}:wake", f"{max(wait_s, 0.001):.3f}")
        try:
            connection = await self._connected()
            if not self._is_pipelined:
                await connection.send_packed_command(packed(waiting))
                await connection.read_response()
                return await self._evaluated(connection, script, arguments)
            call = self._call_of(script, arguments)
            await connection.send_packed_command(packed(waiting) + packed(call))
            await connection.read_response()
            try:
                return await connection.read_response()
            except NoScriptError:
                return await self._evaluated(connection, script, arguments)
            except ResponseError as error:
                if type(error) is ResponseError:  # its subclasses are the server's own state: loading, full, read-only
                    log.warning("queue.two_steps", problem=str(error))
                    self._is_pipelined = False
                raise
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            if self._is_pooled:
                await self._pool.release(connection)

    async def _connected(self) -> BoundedConnection:
        if self._connection is not None and self._connection.is_cut:
            await self.close()
        if self._connection is None and self._is_pooled:
            self._connection = await self._pool.get_connection()
        elif self._connection is None:
            connection: BoundedConnection = self._pool.make_connection()  # type: ignore[no-untyped-call] # redis-py's
            connection.timeout_s += MAX_WAIT_S
            self._connection = connection
            await connection.connect()  # type: ignore[no-untyped-call] # redis-py's
        return self._connection

    async def _evaluated(self, connection: BoundedConnection, script: Script, arguments: Sequence[Argument]) -> Any:
        # redis-py's asyncio connections pack in Python, and write each part by itself: half the time of a large call.
        await connection.send_packed_command(packed(self._call_of(script, arguments)))
        try:
            return await connection.read_response()
        except NoScriptError:  # a server that started anew
            await connection.send_packed_command(packed(("SCRIPT", "LOAD", script.text)))
            await connection.read_response()
            await connection.send_packed_command(packed(self._call_of(script, arguments)))
            return await connection.read_response()

    def _call_of(self, script: Script, arguments: Sequence[Argument]) -> tuple[Argument, ...]:
        return ("EVALSHA", script.sha, 1, self._queue_name, *arguments)


def packed(command: tuple[Argument, ...]) -> bytes:
    """A command as it goes over the wire."""
    bytes_sent: bytes = pack_command(command)  # type: ignore[arg-type] # typed as if all tuples had one item
    return bytes_sent
