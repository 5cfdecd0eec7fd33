"""`jobs.ports.Circuits`, in memory and in Redis."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from jobs.decisions.breaking import Breaking
from jobs.ports import Circuits
from tests.valkey import Valkey
from worker.adapters.circuits import RedisCircuits
from worker.adapters.memory import MemoryCircuits
from worker.queue.connecting import connected

BREAKING = Breaking(failures=2, within_s=60.0, open_s=10.0, max_open_s=60.0, probe_s=5.0)


@dataclass
class Clock:
    at_s: float = 1000.0

    def now_s(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
async def circuits(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Circuits]:
    if request.param == "memory":
        yield MemoryCircuits(BREAKING, now_s=clock.now_s)
        return
    server: Valkey = request.getfixturevalue("server")
    async with connected(server.url) as redis:
        await redis.flushall()
        yield RedisCircuits(redis, BREAKING, now_s=clock.now_s, patience_s=5.0)


async def test_failures_in_a_row_open_one_provider_s_circuit_and_no_other_s(circuits: Circuits) -> None:
    await circuits.record("a", "model.timeout")
    assert await circuits.admits("a")
    await circuits.record("a", "model.unavailable")
    assert not await circuits.admits("a")
    assert await circuits.admits("b")


async def test_after_the_pause_one_call_finds_out_for_all(circuits: Circuits, clock: Clock) -> None:
    for _ in range(2):
        await circuits.record("a", "model.timeout")
    clock.at_s += 10.0
    assert [await circuits.admits("a") for _ in range(3)] == [True, False, False]
    await circuits.record("a", None)
    assert [await circuits.admits("a") for _ in range(3)] == [True, True, True]


async def test_an_answer_between_failures_and_a_limit_keep_it_closed(circuits: Circuits) -> None:
    for code in ("model.timeout", None, "model.timeout", "model.rate_limited", "model.rate_limited"):
        await circuits.record("a", code)
    assert await circuits.admits("a")


async def test_workers_share_a_circuit_and_its_opening_is_told_once(redis: ArqRedis) -> None:
    one, other = (RedisCircuits(redis, BREAKING, patience_s=5.0) for _ in range(2))
    with capture_logs() as logs:
        await one.record("a", "model.timeout")
        await other.record("a", "model.timeout")
        assert not await one.admits("a")
        assert not await other.admits("a")
        await other.record("a", None)
        assert await one.admits("a")
    assert [entry["event"] for entry in logs] == ["circuit.opened", "circuit.closed"]


async def test_without_redis_every_circuit_is_closed_and_an_outage_is_told_once(mortal: Valkey) -> None:
    async with connected(mortal.url, timeout_s=0.2) as redis:
        circuits = RedisCircuits(redis, BREAKING, patience_s=5.0, rest_s=0.0)
        for _ in range(2):
            await circuits.record("a", "model.timeout")
        assert not await circuits.admits("a")
        mortal.kill()
        with capture_logs() as logs:
            assert await circuits.admits("a")
            await circuits.record("a", "model.timeout")
            assert await circuits.admits("a")
    assert [entry["event"] for entry in logs] == ["circuits.unreachable"]
