"""Broadcasts by socket, by HTTP and from the database, frame by frame."""

import json
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.local.realtime_server.wire import Wire, binary_push, token_for, wire
from worker.local.stack import Stack

VSNS = ("1.0.0", "2.0.0")


def push(event: str, payload: Any) -> dict[str, Any]:
    return {"type": "broadcast", "event": event, "payload": payload}


async def joined(client: Wire, topic: str, **broadcast: bool) -> None:
    reply = await client.join(topic, {"broadcast": broadcast})
    assert reply == {"status": "ok", "response": {"postgres_changes": []}}


async def nothing_came(client: Wire) -> bool:
    return [h for h in await client.everything_before(uuid4().hex, uuid4().hex) if h.event == "broadcast"] == []


@pytest.mark.parametrize("vsn", VSNS)
@pytest.mark.parametrize("sender_vsn", VSNS)
async def test_a_broadcast_reaches_the_others_on_its_topic(stack: Stack, vsn: str, sender_vsn: str) -> None:
    topic = uuid4().hex
    async with wire(stack, vsn=sender_vsn) as sender, wire(stack, vsn=vsn) as listener, wire(stack) as elsewhere:
        await joined(sender, topic)
        await joined(listener, topic)
        await joined(elsewhere, topic + "x")
        await sender.send(f"realtime:{topic}", "broadcast", push("greeting", {"text": "grüß dich \ud83d\ude00"}))
        assert await listener.event("broadcast") == push("greeting", {"text": "grüß dich 😀"})
        assert await nothing_came(sender)
        assert await nothing_came(elsewhere)


async def test_a_sender_hears_itself_and_is_answered_when_it_asked_for_that(stack: Stack) -> None:
    topic = uuid4().hex
    async with wire(stack) as client:
        await joined(client, topic, self=True, ack=True)
        assert await client.ask(f"realtime:{topic}", "broadcast", push("echo", {"n": 1})) == {
            "status": "ok",
            "response": {},
        }
        assert await client.event("broadcast") == push("echo", {"n": 1})


@pytest.mark.parametrize("vsn", VSNS)
async def test_a_binary_frame_with_json_reaches_both_protocol_versions(stack: Stack, vsn: str) -> None:
    topic = uuid4().hex
    async with wire(stack) as sender, wire(stack, vsn=vsn) as listener:
        await joined(sender, topic, ack=True)
        await joined(listener, topic)
        payload = json.dumps({"n": 1}).encode()
        await sender.socket.send(binary_push(f"realtime:{topic}", "press", payload, ref="77", is_json=True))
        await sender.until(lambda heard: heard.event == "phx_reply" and heard.ref == "77")
        assert await listener.event("broadcast") == push("press", {"n": 1})


async def test_binary_payloads_reach_those_who_can_read_them(stack: Stack) -> None:
    topic, payload = uuid4().hex, bytes(range(256))
    async with wire(stack) as sender, wire(stack) as modern, wire(stack, vsn="1.0.0") as old:
        for client in (sender, modern, old):
            await joined(client, topic)
        await sender.socket.send(binary_push(f"realtime:{topic}", "bytes", payload, is_json=False))
        assert (await modern.event("broadcast"))["payload"] == payload
        assert await nothing_came(old)


async def test_an_event_too_long_for_a_binary_frame_comes_as_text(stack: Stack) -> None:
    topic, event = uuid4().hex, "e" * 300
    async with wire(stack) as sender, wire(stack) as listener:
        await joined(sender, topic)
        await joined(listener, topic)
        await sender.send(f"realtime:{topic}", "broadcast", push("short", {}))
        await sender.send(f"realtime:{topic}", "broadcast", push(event, {}))
        heard = [await listener.until(lambda heard: heard.event == "broadcast") for _ in range(2)]
        assert [(h.payload["event"], h.binary) for h in heard] == [("short", True), (event, False)]


async def test_a_payload_above_the_limit_is_refused(stack: Stack) -> None:
    topic = uuid4().hex
    async with wire(stack) as client:
        await joined(client, topic, self=True, ack=True)
        reply = await client.ask(f"realtime:{topic}", "broadcast", push("huge", "x" * 3_000_001))
        assert reply == {"status": "error", "response": {"reason": "payload_size_exceeded"}}
        assert await nothing_came(client)


# HTTP


async def post(stack: Stack, body: Any, *, path: str = "", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"apikey": stack.secret_key, "content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await http.post(f"{stack.url}/realtime/v1/api/broadcast{path}", content=content, headers=given)


@pytest.mark.parametrize("vsn", VSNS)
async def test_one_request_carries_many_messages(stack: Stack, vsn: str) -> None:
    topics = [uuid4().hex for _ in range(3)]
    async with wire(stack, vsn=vsn) as client:
        for topic in topics:
            await joined(client, topic)
        messages = [{"topic": topic, "event": "e", "payload": {"n": n}} for n, topic in enumerate(topics)]
        response = await post(stack, {"messages": messages})
        assert (response.status_code, response.content) == (202, b"")
        heard = [await client.until(lambda heard: heard.event == "broadcast") for _ in topics]
        assert [(h.topic, h.payload) for h in heard] == [
            (f"realtime:{topic}", push("e", {"n": n})) for n, topic in enumerate(topics)
        ]


async def test_a_single_message_names_topic_and_event_in_its_path(stack: Stack) -> None:
    topic = f"room/{uuid4().hex}"
    quoted = topic.replace("/", "%2F")
    async with wire(stack) as client:
        await joined(client, topic)
        response = await post(stack, {"n": 1}, path=f"/{quoted}/events/sp%C3%A4t%2Fer")
        assert response.status_code == 202
        assert await client.event("broadcast") == push("spät/er", {"n": 1})
        response = await post(stack, b"\0\xff", path=f"/{quoted}/events/bytes", content_type="application/octet-stream")
        assert response.status_code == 202
        assert await client.event("broadcast") == push("bytes", b"\0\xff")


async def test_the_publishable_key_may_send_to_public_topics(stack: Stack) -> None:
    topic = uuid4().hex
    async with wire(stack) as client:
        await joined(client, topic)
        body = {"messages": [{"topic": topic, "event": "e", "payload": {}}]}
        key = stack.publishable_key
        assert (await post(stack, body, apikey=key, authorization=f"Bearer {key}")).status_code == 202
        assert await client.event("broadcast") == push("e", {})


@pytest.mark.parametrize("key", ["sb_secret_wrong", "", "a.b.c"])
async def test_a_wrong_key_is_answered_with_401(stack: Stack, key: str) -> None:
    body = {"messages": [{"topic": "t", "event": "e", "payload": {}}]}
    assert (await post(stack, body, apikey=key)).status_code == 401


async def test_a_stale_token_beside_a_good_key_is_answered_with_401(stack: Stack) -> None:
    body = {"messages": [{"topic": "t", "event": "e", "payload": {}}]}
    stale = token_for(stack, lasts_s=-5)
    assert (await post(stack, body, authorization=f"Bearer {stale}")).status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "errors"),
    [
        ({}, 422, {"messages": ["can't be blank"]}),
        ({"messages": {}}, 422, {"messages": ["can't be blank"]}),
        (
            {"messages": [{"topic": "t", "event": "e", "payload": {}}, {"topic": "", "payload": 1}]},
            422,
            {"messages": [{}, {"topic": ["can't be blank"], "event": ["can't be blank"], "payload": ["is invalid"]}]},
        ),
        (
            {"messages": [{"topic": "t", "event": "e", "payload": {"x": "x" * 3_000_000}}]},
            422,
            {"messages": [{"payload": ["Payload size exceeds tenant limit"]}]},
        ),
        (b"{", 400, None),
    ],
)
async def test_a_malformed_batch_is_refused_as_a_whole(stack: Stack, body: Any, status: int, errors: Any) -> None:
    response = await post(stack, body)
    assert (response.status_code, response.json().get("errors")) == (status, errors)


async def test_another_content_type_is_refused(stack: Stack) -> None:
    response = await post(stack, b"hello", path="/t/events/e", content_type="text/plain")
    assert response.status_code == 415


# From the database


def send(database: psycopg.Connection, topic: str, payload: Any, *, private: bool = False) -> None:
    database.execute("select realtime.send(%s::jsonb, 'said', %s, %s)", (json.dumps(payload), topic, private))


@pytest.mark.parametrize("vsn", VSNS)
async def test_the_database_sends_after_commit_and_with_an_id(
    stack: Stack, database: psycopg.Connection, vsn: str
) -> None:
    topic = uuid4().hex
    async with wire(stack, vsn=vsn) as client:
        await joined(client, topic)
        with database.transaction(force_rollback=True):
            send(database, topic, {"n": "rolled back"})
        with database.transaction():
            send(database, topic, {"n": 1, "text": "ünï"})
            send(database, topic, {"n": 2, "id": "mine"})
        first, second = await client.event("broadcast"), await client.event("broadcast")
        assert first["payload"] == {"n": 1, "text": "ünï", "id": first["meta"]["id"]}
        assert second["payload"] == {"n": 2, "id": "mine"}
        assert second["meta"]["id"] != "mine"


async def test_what_the_database_sends_is_visible_to_whoever_reads_because_of_it(
    stack: Stack, database: psycopg.Connection
) -> None:
    """The WAL is ahead of other sessions' snapshots."""
    topic = uuid4().hex
    async with (
        wire(stack) as client,
        await psycopg.AsyncConnection.connect(stack.db_url, autocommit=True) as reader,
    ):
        await joined(client, topic)
        for n in range(200):
            row = database.execute(
                "with made as (insert into rt_notes (owner, body) values (gen_random_uuid(), %s) returning id)"
                " select id, realtime.send(jsonb_build_object('row', id), 'made', %s, false) from made",
                (str(n), topic),
            ).fetchone()
            assert row is not None
            heard = await client.event("broadcast")
            cursor = await reader.execute("select body from rt_notes where id = %s", (heard["payload"]["row"],))
            assert await cursor.fetchone() == (str(n),)


async def test_an_unusable_message_of_the_database_harms_nobody(stack: Stack, database: psycopg.Connection) -> None:
    topic = uuid4().hex
    async with wire(stack) as client:
        await joined(client, topic)
        database.execute("insert into realtime.messages (topic, extension) values (%s, 'broadcast')", (topic,))
        send(database, topic, {"n": 1})
        assert (await client.event("broadcast"))["payload"]["n"] == 1


async def test_private_and_public_topics_of_one_name_are_two(stack: Stack, database: psycopg.Connection) -> None:
    name = "room:open"
    async with wire(stack) as public, wire(stack) as private:
        await joined(public, name)
        assert (await private.join(name, {"private": True}))["status"] == "ok"
        send(database, name, {"for": "public"})
        send(database, name, {"for": "private"}, private=True)
        messages = [{"topic": name, "event": "e", "payload": {"for": "both"}, "private": p} for p in (False, True)]
        assert (await post(stack, {"messages": messages})).status_code == 202
        for client, audience in ((public, "public"), (private, "private")):
            heard = [(await client.event("broadcast"))["payload"]["for"] for _ in range(2)]
            assert heard == [audience, "both"]
            assert await nothing_came(client)
