from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from tests.worker.adapters.grounds import Ground, MemoryGround, SupabaseGround
from worker.adapters.database import Database, connected
from worker.local.stack import Stack


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[Database]:
    async with connected(stack.url, stack.secret_key) as database:
        yield database


@pytest.fixture
def postgres(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(stack.db_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def supabase_ground(database: Database, postgres: psycopg.Connection[Any]) -> SupabaseGround:
    return SupabaseGround(database, postgres)


@pytest.fixture(params=["memory", "supabase"])
def ground(request: pytest.FixtureRequest) -> Ground:
    if request.param == "memory":
        return MemoryGround()
    found: SupabaseGround = request.getfixturevalue("supabase_ground")
    return found
