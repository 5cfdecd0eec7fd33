"""One connection to the embedded Postgres, opened when needed and again after it was lost."""

import asyncio
from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg

# Values must be written as the WAL stream writes them (see wal.py), whatever the database's own settings are.
SESSION = "-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1"
STATEMENT_TIMEOUT = "-c statement_timeout=8s"  # a policy may be slow, but not hold up everybody


class DatabaseUnavailable(Exception):
    """Postgres does not answer; ask again later."""


class Database:
    """Statements run one after the other, each a transaction of its own."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._turn = asyncio.Lock()

    async def rows(self, query: LiteralString, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """DatabaseUnavailable when the connection fails; psycopg.Error for what Postgres objects to."""
        async with self._turn:
            try:
                connection = await self._connected()
                cursor = await connection.execute(query, parameters)
                return await cursor.fetchall()
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if isinstance(error, psycopg.errors.QueryCanceled):
                    raise
                await self._close()
                raise DatabaseUnavailable(str(error)) from error

    async def _connected(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=5,
                application_name="realtime",
                options=f"{SESSION} {STATEMENT_TIMEOUT}",
            )
        return self._connection

    async def close(self) -> None:
        async with self._turn:
            await self._close()

    async def _close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
