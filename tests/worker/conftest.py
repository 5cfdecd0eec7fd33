from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from tests.valkey import Valkey, valkey_in
from worker.queue.connecting import connected


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_in(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture
async def redis(server: Valkey) -> AsyncIterator[ArqRedis]:
    """An empty Redis."""
    async with connected(server.url) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Valkey]:
    """A server that the test may kill."""
    with valkey_in(tmp_path) as valkey:
        yield valkey
