"""SQL as one of the API's roles, in a transaction that is rolled back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class User:
    id: str
    app_metadata: Mapping[str, Any]


class Session:
    """Begins as postgres; `as_…` changes who asks, as PostgREST does it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    # Who asks

    def as_postgres(self) -> None:
        self._become("postgres", {})

    def as_service(self) -> None:
        self._become("service_role", {"role": "service_role"})

    def as_anon(self) -> None:
        self._become("anon", {"role": "anon"})

    def as_user(self, user: User) -> None:
        claims = {"sub": user.id, "role": "authenticated", "app_metadata": user.app_metadata, "exp": 2_000_000_000}
        self._become("authenticated", claims)

    def _become(self, role: str, claims: Mapping[str, Any]) -> None:
        settings = {"request.jwt.claims": json.dumps(claims), "request.jwt.claim.sub": "", "role": role}
        for name, value in settings.items():
            self.connection.execute("select set_config(%s, %s, true)", (name, value))

    def new_user(self, **app_metadata: Any) -> User:
        """Made as postgres, who asks afterwards."""
        self.as_postgres()
        id = str(uuid4())
        self.run("insert into auth.users (id, email) values (%s, %s)", id, f"{id}@example.com")
        return User(id, app_metadata)

    # What is asked

    def run(self, sql: str, *values: Any) -> int:
        """The number of rows touched."""
        return self._execute(sql, values).rowcount

    def all(self, sql: str, *values: Any) -> list[Row]:
        return self._execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Row:
        (row,) = self.all(sql, *values)
        return row

    def value(self, sql: str, *values: Any) -> Any:
        (value,) = self.one(sql, *values).values()
        return value

    def column(self, sql: str, *values: Any) -> list[Any]:
        return [next(iter(row.values())) for row in self.all(sql, *values)]

    @contextmanager
    def refused(self, sqlstate: str, *saying: str) -> Iterator[None]:
        """The block is refused with that code and a message that holds all those texts; it leaves no trace."""
        with pytest.raises(psycopg.Error) as raised, self.connection.transaction():
            yield
        assert raised.value.sqlstate == sqlstate, f"{raised.value.sqlstate}: {raised.value}"
        for text in saying:
            assert text in str(raised.value)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What the block does is rolled back."""
        with self.connection.transaction(force_rollback=True):
            yield

    def _execute(self, sql: str, values: Sequence[Any]) -> psycopg.Cursor[Row]:
        cursor = self.connection.cursor(row_factory=dict_row)
        return cursor.execute(sql, values or None)


def jsonb(value: Any) -> str:
    return json.dumps(value)


def vector(*numbers: float) -> str:
    """384 numbers as pgvector reads them: these, then zeros."""
    return json.dumps([*numbers, *([0.0] * (384 - len(numbers)))])
