"""What is SupabaseBroadcast's own: one request for many messages, the budget, outages."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from worker.adapters.broadcast import SupabaseBroadcast
from worker.adapters.memory import MemoryMessageQuota
from worker.ports import Broadcasted

Answer = Callable[[], httpx.Response]


class Clock:
    """Time that passes by sleeping, and sleeping takes no time."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Realtime(httpx.AsyncBaseTransport):
    """Keeps the messages of every request, and answers as it is told; 202 where it is told nothing."""

    def __init__(self, clock: Clock) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.began_s: list[float] = []
        self.headers: list[httpx.Headers] = []
        self.answers: list[Answer] = []
        self.under_way = 0
        self.most_under_way = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url == "http://project.test/realtime/v1/api/broadcast"
        self.headers.append(request.headers)
        self.requests.append(json.loads(await request.aread())["messages"])
        self.began_s.append(self._clock.now_s)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        return self.answers.pop(0)() if self.answers else httpx.Response(202)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [message for request in self.requests for message in request]

    def text(self, topic: str) -> str:
        return "".join(m["payload"]["text"] for m in self.messages if m["topic"] == topic and m["event"] == "delta")


def away() -> httpx.Response:
    raise httpx.ConnectError("connection refused")


def late() -> httpx.Response:
    raise httpx.ReadTimeout("no answer")


def overloaded() -> httpx.Response:
    return httpx.Response(429)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def realtime(clock: Clock) -> Realtime:
    return Realtime(clock)


def broadcast_to(realtime: Realtime, clock: Clock, *, messages_per_s: float = 1_000.0) -> SupabaseBroadcast:
    http = httpx.AsyncClient(
        transport=realtime, base_url="http://project.test", headers={"apikey": "sb_secret_of_the_test"}
    )
    quota = MemoryMessageQuota(messages_per_s=messages_per_s, monotonic_s=clock.monotonic_s)
    return SupabaseBroadcast(http, quota=quota, interval_s=0.04, monotonic_s=clock.monotonic_s, sleep=clock.sleep)


def delta(topic: str, offset: int, text: str) -> Broadcasted:
    return Broadcasted(topic, "delta", {"attempt": 1, "offset": offset, "text": text})


async def test_messages_that_meet_go_at_once_and_in_one_request(realtime: Realtime, clock: Clock) -> None:
    broadcast = broadcast_to(realtime, clock)
    await asyncio.gather(*(broadcast.send(delta(f"generation:{n}", 0, "Hi")) for n in range(20)))
    await broadcast.flush()
    assert [len(request) for request in realtime.requests] == [20]
    assert clock.slept == []
    assert realtime.requests[0][7] == {
        "topic": "generation:7",
        "event": "delta",
        "payload": {"attempt": 1, "offset": 0, "text": "Hi"},
        "private": True,
    }
    assert realtime.headers[0]["apikey"] == "sb_secret_of_the_test"
    assert broadcast.sent == 20


async def test_while_traffic_lasts_a_request_begins_every_interval_at_most(realtime: Realtime, clock: Clock) -> None:
    broadcast = broadcast_to(realtime, clock)
    for n in range(200):
        await broadcast.send(delta(f"generation:{n % 10}", n // 10, "x"))
        await asyncio.sleep(0)
    await broadcast.flush()
    pauses = [later - earlier for earlier, later in zip(realtime.began_s, realtime.began_s[1:], strict=False)]
    assert pauses
    assert all(pause >= 0.04 - 1e-9 for pause in pauses)
    assert all(realtime.text(f"generation:{n}") == "x" * 20 for n in range(10))


async def test_requests_never_overtake_each_other(realtime: Realtime, clock: Clock) -> None:
    broadcast = broadcast_to(realtime, clock)
    realtime.gate.clear()
    for n in range(50):
        await broadcast.send(delta("generation:1", n, str(n % 10)))
        await asyncio.sleep(0)
    realtime.gate.set()
    await broadcast.flush()
    assert realtime.most_under_way == 1
    assert realtime.text("generation:1") == "0123456789" * 5
    assert len(realtime.messages) < 10  # what gathered while a request was under way became one delta


async def test_over_the_budget_messages_wait_and_deltas_grow_but_nothing_is_lost(
    realtime: Realtime, clock: Clock
) -> None:
    broadcast = broadcast_to(realtime, clock, messages_per_s=5.0)
    for n in range(100):
        for topic in range(10):
            await broadcast.send(delta(f"generation:{topic}", n, "x"))
        await asyncio.sleep(0)
    await broadcast.flush()
    assert all(realtime.text(f"generation:{topic}") == "x" * 100 for topic in range(10))
    elapsed_s = clock.now_s - 100.0
    assert len(realtime.messages) <= 5.0 * elapsed_s + 5.0 + 1e-6
    assert len(realtime.messages) < 1_000 / 4  # a thousand were sent


async def test_a_request_stays_below_the_size_that_realtime_takes(realtime: Realtime, clock: Clock) -> None:
    broadcast = broadcast_to(realtime, clock)
    for topic in range(10):
        for n in range(6):
            await broadcast.send(delta(f"generation:{topic}", n * 9_000, "\N{EURO SIGN}" * 9_000))
    await broadcast.flush()
    assert all(len(json.dumps(request, ensure_ascii=False).encode()) < 220_000 for request in realtime.requests)
    assert all(len(realtime.text(f"generation:{topic}")) == 54_000 for topic in range(10))


async def test_a_connection_that_was_closed_is_tried_once_more(realtime: Realtime, clock: Clock) -> None:
    broadcast = broadcast_to(realtime, clock)
    realtime.answers = [away]
    with capture_logs() as logs:
        await broadcast.send(delta("generation:1", 0, "Hi"))
        await broadcast.flush()
    assert [len(request) for request in realtime.requests] == [1, 1]
    assert (broadcast.sent, broadcast.failed) == (1, 0)
    assert logs == []


@pytest.mark.parametrize(
    ("answers", "problem"),
    [([away, away], "disconnected"), ([late], "ReadTimeout"), ([overloaded], "HTTP 429")],
)
async def test_what_cannot_be_delivered_is_dropped_logged_and_counted(
    realtime: Realtime, clock: Clock, answers: list[Answer], problem: str
) -> None:
    broadcast = broadcast_to(realtime, clock)
    realtime.answers = list(answers)
    with capture_logs() as logs:
        await broadcast.send(delta("generation:1", 0, "a secret"))
        await broadcast.flush()
    assert broadcast.failed == 1
    assert logs == [{"event": "broadcast.failed", "log_level": "warning", "problem": problem, "messages": 1}]


async def test_an_outage_is_logged_once_and_so_is_its_end(realtime: Realtime, clock: Clock) -> None:
    broadcast = broadcast_to(realtime, clock)
    realtime.answers = [overloaded] * 5
    with capture_logs() as logs:
        for n in range(6):
            await broadcast.send(delta("generation:1", n, "x"))
            await broadcast.flush()
    assert [entry["event"] for entry in logs] == ["broadcast.failed", "broadcast.restored"]
    assert (broadcast.sent, broadcast.failed, logs[1]["failed"]) == (1, 5, 5)


async def test_a_message_sent_the_moment_the_last_one_has_left_is_not_forgotten(
    realtime: Realtime, clock: Clock
) -> None:
    broadcast = broadcast_to(realtime, clock)
    for n in range(30):  # a different number of turns of the loop between one message and the next
        await broadcast.send(delta("generation:1", n, "x"))
        for _ in range(n):
            await asyncio.sleep(0)
    if broadcast._delivery is not None:
        await broadcast._delivery
    assert realtime.text("generation:1") == "x" * 30


async def test_flush_of_an_idle_broadcast_returns(realtime: Realtime, clock: Clock) -> None:
    await broadcast_to(realtime, clock).flush()
    assert realtime.requests == []


def test_this_module_s_logs_are_captured() -> None:
    """Otherwise the assertions that nothing is logged could not fail."""
    with capture_logs() as logs:
        structlog.get_logger("worker.adapters.broadcast").info("probe.logged")
    assert [entry["event"] for entry in logs] == ["probe.logged"]
