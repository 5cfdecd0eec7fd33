"""A client that shows every frame: what the official clients hide, tests of the protocol must see."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import jwt
from websockets.asyncio.client import ClientConnection, connect

from tests.waiting import DEADLINE_S
from worker.local.stack import Stack

Config = dict[str, Any]


def token_for(stack: Stack, user: str | None = None, *, lasts_s: float = 600, role: str = "authenticated") -> str:
    claims = {"role": role, "sub": user or str(uuid4()), "exp": int(time.time() + lasts_s)}
    return jwt.encode(claims, stack.jwt_secret, algorithm="HS256")


@dataclass(frozen=True, slots=True)
class Heard:
    topic: str
    event: str
    payload: dict[str, Any]
    ref: str | None
    join_ref: str | None
    binary: bool = False


class Wire:
    def __init__(self, socket: ClientConnection, vsn: str) -> None:
        self.socket = socket
        self._vsn = vsn
        self._refs = itertools.count(1)
        self._heard: list[Heard] = []

    async def send(self, topic: str, event: str, payload: Any, join_ref: str | None = None) -> str:
        ref = str(next(self._refs))
        if event == "phx_join":
            join_ref = ref
        fields = [join_ref, ref, topic, event, payload]
        names = ("join_ref", "ref", "topic", "event", "payload")
        await self.socket.send(json.dumps(fields if self._vsn == "2.0.0" else dict(zip(names, fields, strict=True))))
        return ref

    async def ask(self, topic: str, event: str, payload: Any, join_ref: str | None = None) -> dict[str, Any]:
        """The reply's payload."""
        ref = await self.send(topic, event, payload, join_ref)
        return (await self.until(lambda heard: heard.event == "phx_reply" and heard.ref == ref)).payload

    async def join(self, topic: str, config: Config, token: str | None = None) -> dict[str, Any]:
        payload: dict[str, Any] = {"config": config}
        if token is not None:
            payload["access_token"] = token
        return await self.ask(f"realtime:{topic}", "phx_join", payload)

    async def watch(self, topic: str, *changes: Config, token: str | None = None) -> None:
        """Returns when the subscription stands."""
        reply = await self.join(topic, {"postgres_changes": list(changes)}, token)
        assert reply["status"] == "ok", reply
        system = await self.event("system")
        assert system["status"] == "ok", system

    async def event(self, name: str) -> dict[str, Any]:
        return (await self.until(lambda heard: heard.event == name)).payload

    async def until(self, wanted: Callable[[Heard], bool]) -> Heard:
        """The first message, past or to come, that is wanted. What was passed over stays for later."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for position, heard in enumerate(self._heard):
                    if wanted(heard):
                        return self._heard.pop(position)
                self._heard.append(self._read(await self.socket.recv()))

    async def everything_before(self, topic: str, marker: str) -> list[Heard]:
        """Sends a broadcast to itself on a topic of its own; returns what came before it."""
        mark = f"realtime:{topic}"
        await self.ask(mark, "phx_join", {"config": {"broadcast": {"self": True}}})
        await self.send(mark, "broadcast", {"type": "broadcast", "event": marker, "payload": {}})
        await self.until(lambda heard: heard.event == "broadcast" and heard.payload["event"] == marker)
        return [heard for heard in self._heard if heard.topic != mark]

    def _read(self, frame: str | bytes) -> Heard:
        if isinstance(frame, bytes):
            return read_binary(frame)
        content = json.loads(frame)
        if self._vsn == "2.0.0":
            join_ref, ref, topic, event, payload = content
            return Heard(topic, event, payload, ref, join_ref)
        return Heard(content["topic"], content["event"], content["payload"], content["ref"], None)


def read_binary(frame: bytes) -> Heard:
    kind, topic_length, event_length, meta_length, encoding = frame[:5]
    assert kind == 4
    topic, event, meta, payload = (
        frame[5 : 5 + topic_length],
        frame[5 + topic_length : 5 + topic_length + event_length],
        frame[5 + topic_length + event_length : 5 + topic_length + event_length + meta_length],
        frame[5 + topic_length + event_length + meta_length :],
    )
    content: dict[str, Any] = {
        "type": "broadcast",
        "event": event.decode(),
        "payload": json.loads(payload) if encoding else payload,
    }
    if meta:
        content["meta"] = json.loads(meta)
    return Heard(topic.decode(), "broadcast", content, None, None, binary=True)


def binary_push(topic: str, event: str, payload: bytes, *, ref: str = "9", join_ref: str = "", is_json: bool) -> bytes:
    """Kind 3, as supabase-js writes it."""
    fields = [field.encode() for field in (join_ref, ref, topic, event, "")]
    return b"".join((bytes([3, *(len(field) for field in fields), int(is_json)]), *fields, payload))


@asynccontextmanager
async def wire(stack: Stack, *, key: str | None = None, vsn: str = "2.0.0") -> AsyncIterator[Wire]:
    query = urlencode({"apikey": key or stack.publishable_key, "vsn": vsn})
    async with connect(f"{stack.url.replace('http', 'ws')}/realtime/v1/websocket?{query}") as socket:
        yield Wire(socket, vsn)
