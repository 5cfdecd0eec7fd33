from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from openai import AsyncOpenAI

from tests.local.model_server.running import AT_ONCE, ModelServer, running_model_server
from tests.worker.adapters.grounds import Ground, MemoryGround, SupabaseGround
from worker.adapters.database import Database, connected
from worker.adapters.models import openai_client
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


@pytest.fixture(scope="session")
def running_models() -> Iterator[ModelServer]:
    with running_model_server(*AT_ONCE) as server:
        yield server


@pytest.fixture
def model_server(running_models: ModelServer) -> ModelServer:
    """With no faults and an empty log."""
    running_models.forget()
    return running_models


@pytest.fixture
async def model_client(model_server: ModelServer) -> AsyncIterator[AsyncOpenAI]:
    async with openai_client(model_server.url, "sk-a-key-of-ours") as client:
        yield client
