"""`worker.ports.Broadcast`: what is sent is heard by who watches the row. In memory, and through Realtime."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest
from realtime import RealtimeSubscribeStates
from supabase import AsyncClient

from jobs.decisions.streaming import utf16_length
from tests.clients import signed_up
from tests.waiting import DEADLINE_S
from worker.adapters.broadcast import broadcasting
from worker.adapters.memory import MemoryBroadcast, MemoryMessageQuota
from worker.local.stack import Stack
from worker.ports import Broadcast, Broadcasted

# realtime-py 2.34 reads properties of a closed connection that websockets 15 calls deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:ConnectionClosed\.(code|reason) is deprecated:DeprecationWarning")

PRIVATE: Any = {"config": {"private": True, "broadcast": {"ack": False, "self": False}}}
EVENTS = ("delta", "done")


class Stage(Protocol):
    broadcast: Broadcast
    topics: list[str]  # of two rows that are watched

    async def heard(self, topic: str) -> list[tuple[str, dict[str, Any]]]:
        """All that was heard until the row was done."""
        ...


class MemoryStage:
    def __init__(self) -> None:
        self.broadcast: Broadcast = MemoryBroadcast()
        self.topics = ["generation:1", "generation:2"]

    async def heard(self, topic: str) -> list[tuple[str, dict[str, Any]]]:
        assert isinstance(self.broadcast, MemoryBroadcast)
        return [(message.event, message.payload) for message in self.broadcast.sent if message.topic == topic]


class RealtimeStage:
    """A signed-up user who watches two rows of his own."""

    def __init__(self, broadcast: Broadcast, client: AsyncClient) -> None:
        self.broadcast = broadcast
        self.topics: list[str] = []
        self._client = client
        self._heard: dict[str, asyncio.Queue[tuple[str, dict[str, Any]]]] = {}

    async def watch_a_new_row(self) -> None:
        rows = self._client.schema("rowcall").table("generations")
        inserted: Any = (await rows.insert({"input": {"question": "why?"}}).execute()).data
        topic = f"generation:{inserted[0]['id']}"
        heard: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        states: asyncio.Queue[Any] = asyncio.Queue()
        channel = self._client.channel(topic, PRIVATE)
        for event in EVENTS:
            channel.on_broadcast(event, lambda message: heard.put_nowait((message["event"], message["payload"])))
        await channel.subscribe(lambda state, error: states.put_nowait((state, error)))
        async with asyncio.timeout(DEADLINE_S):
            assert await states.get() == (RealtimeSubscribeStates.SUBSCRIBED, None)
        self._heard[topic] = heard
        self.topics.append(topic)

    async def heard(self, topic: str) -> list[tuple[str, dict[str, Any]]]:
        heard: list[tuple[str, dict[str, Any]]] = []
        async with asyncio.timeout(DEADLINE_S):
            while not heard or heard[-1][0] != "done":
                heard.append(await self._heard[topic].get())
        return heard


@pytest.fixture
async def realtime_stage(stack: Stack) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as exits:
        broadcast = await exits.enter_async_context(
            broadcasting(stack.url, stack.secret_key, quota=MemoryMessageQuota(messages_per_s=1_000), interval_s=0.005)
        )
        client = await exits.enter_async_context(signed_up(stack))
        exits.push_async_callback(client.remove_all_channels)
        stage = RealtimeStage(broadcast, client)
        await stage.watch_a_new_row()
        await stage.watch_a_new_row()
        yield stage


@pytest.fixture(params=["memory", "realtime"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "memory":
        return MemoryStage()
    found: Stage = request.getfixturevalue("realtime_stage")
    return found


async def stream(stage: Stage, topic: str, words: list[str]) -> None:
    offset = 0
    for word in words:
        await stage.broadcast.send(Broadcasted(topic, "delta", {"attempt": 1, "offset": offset, "text": word}))
        offset += utf16_length(word)
        await asyncio.sleep(0.001)  # so that there are some requests, with some words each; how many does not matter
    await stage.broadcast.send(Broadcasted(topic, "done", {"attempt": 1, "status": "succeeded"}))


async def test_each_topic_s_text_is_heard_whole_in_order_and_done_comes_last(stage: Stage) -> None:
    texts = {topic: [f"{n} of {name} 🌍 " for n in range(60)] for name, topic in zip("ab", stage.topics, strict=True)}
    await asyncio.gather(*(stream(stage, topic, words) for topic, words in texts.items()))
    await stage.broadcast.flush()
    for topic, words in texts.items():
        text = ""
        *deltas, (last, payload) = await stage.heard(topic)
        for event, delta in deltas:
            assert (event, delta["attempt"], delta["offset"]) == ("delta", 1, utf16_length(text))
            text += delta["text"]
        assert text == "".join(words)
        assert (last, payload["status"]) == ("done", "succeeded")


async def test_flush_leaves_nothing_behind_and_more_may_follow(stage: Stage) -> None:
    topic = stage.topics[0]
    for text in ("one", "two"):
        await stream(stage, topic, [text])
        await stage.broadcast.flush()
    first, second = stage.topics
    await stream(stage, second, ["other"])
    await stage.broadcast.flush()
    assert "one" in str(await stage.heard(first))
    assert "two" not in str(await stage.heard(second))
