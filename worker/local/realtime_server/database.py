"""One connection to the embedded Postgres, opened when needed and again after it was lost."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg

# Values must be written as the WAL stream writes them (see wal.py), whatever the database's own settings are.
SESSION = "-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1"
STATEMENT_TIMEOUT = "-c statement_timeout=8s"  # a policy may be slow, but not hold up everybody


Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class DatabaseUnavailable(Exception):
    """Postgres does not answer; ask again later."""


class Database:
    """Statements run one after the other, each a transaction of its own."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def rows(self, query: LiteralString, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """DatabaseUnavailable when there is no connection; psycopg.Error for what Postgres objects to. Everything that
        is asked here may be asked twice.
        """
        async with self._turn:
            if self._connection is not None:
                # It may have been lost while nobody used it, by a restart of Postgres for example.
                with contextlib.suppress(DatabaseUnavailable):
                    return await self._ask(self._connection, query, parameters)
            return await self._ask(await self._connected(), query, parameters)

    async def _ask(
        self, connection: Connection, query: LiteralString, parameters: Sequence[object]
    ) -> list[tuple[Any, ...]]:
        try:
            cursor = await connection.execute(query, parameters)
            return await cursor.fetchall()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if not connection.closed:  # not lost: a timeout, or too little of something
                raise
            self._connection = None
            raise DatabaseUnavailable(str(error)) from error

    async def _connected(self) -> Connection:
        try:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=5,
                application_name="realtime",
                options=f"{SESSION} {STATEMENT_TIMEOUT}",
            )
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(str(error)) from error
        return self._connection

    async def close(self) -> None:
        async with self._turn:
            if self._connection is not None:
                await self._connection.close()
                self._connection = None
