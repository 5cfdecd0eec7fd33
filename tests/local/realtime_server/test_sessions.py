"""Sockets and channels from opening to closing: keys, tokens, heartbeats, malformed frames, lost servers."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.local.realtime_server.test_broadcast import push, send
from tests.local.realtime_server.test_changes import ALL_NOTES, OPEN, a_number, next_change
from tests.local.realtime_server.wire import token_for, wire
from tests.waiting import DEADLINE_S, async_until
from worker.local.stack import Stack

VSNS = ("1.0.0", "2.0.0")


# Opening


async def test_a_socket_without_a_key_of_the_project_is_refused(stack: Stack) -> None:
    for key in ("sb_publishable_wrong", "x", token_for(stack, lasts_s=-10)):
        with pytest.raises(InvalidStatus) as refusal:
            async with wire(stack, key=key):
                pass
        assert refusal.value.response.status_code == 401


async def test_a_jwt_of_the_project_is_a_key_too(stack: Stack) -> None:
    async with wire(stack, key=token_for(stack, role="anon")) as client:
        assert (await client.join("t", {}))["status"] == "ok"


@pytest.mark.parametrize(
    "config",
    [
        {"broadcast": {"ack": False, "self": False}, "presence": {"key": "", "enabled": False}, "private": False},
        {},
        {"broadcast": None, "presence": None, "postgres_changes": None, "private": None},
        {"broadcast": [], "postgres_changes": {"a": 1}, "presence": "no"},
    ],
)
async def test_what_clients_send_by_default_and_what_makes_no_sense_joins(stack: Stack, config: dict[str, Any]) -> None:
    async with wire(stack) as client:
        assert await client.join("t", config) == {"status": "ok", "response": {"postgres_changes": []}}


@pytest.mark.parametrize(
    ("topic", "config", "reason"),
    [
        ("", {}, "TopicNameRequired: You must provide a topic name"),
        ("t", {"presence": {"enabled": True}}, "PresenceNotServed: "),
        ("t", {"private": True, "broadcast": {"replay": {"since": 1}}}, "UnableToReplayMessages: "),
    ],
)
async def test_what_is_not_served_is_refused_at_the_join(
    stack: Stack, topic: str, config: dict[str, Any], reason: str
) -> None:
    async with wire(stack) as client:
        reply = await client.join(topic, config)
        assert reply["status"] == "error"
        assert reply["response"]["reason"].startswith(reason)


async def test_presence_is_refused_also_later(stack: Stack) -> None:
    async with wire(stack) as client:
        await client.join("t", {})
        reply = await client.ask("realtime:t", "presence", {"type": "presence", "event": "track", "payload": {}})
        assert reply["response"]["reason"].startswith("PresenceNotServed")


@pytest.mark.parametrize("vsn", VSNS)
async def test_a_heartbeat_is_answered(stack: Stack, vsn: str) -> None:
    async with wire(stack, vsn=vsn) as client:
        assert await client.ask("phoenix", "heartbeat", {}) == {"status": "ok", "response": {}}


async def test_a_client_is_told_when_the_replication_is_ready(stack: Stack) -> None:
    async with wire(stack) as client:
        await client.join("t", {"broadcast": {"replication_ready": True}})
        assert await client.event("system") == {
            "extension": "system",
            "status": "ok",
            "message": "Replication connection established",
            "channel": "t",
        }


# Channels


@pytest.mark.parametrize("vsn", VSNS)
async def test_leaving_is_answered_and_ends_the_channel(stack: Stack, database: psycopg.Connection, vsn: str) -> None:
    topic = uuid4().hex
    async with wire(stack, vsn=vsn) as client:
        await client.join(topic, {"postgres_changes": [OPEN]})
        await client.event("system")
        assert await client.ask(f"realtime:{topic}", "phx_leave", {}) == {"status": "ok", "response": {}}
        closed = await client.until(lambda heard: heard.event == "phx_close")
        assert closed.ref == "1"
        database.execute("insert into rt_open values (%s, 'x')", (a_number(),))
        send(database, topic, {})
        rest = await client.everything_before(uuid4().hex, uuid4().hex)
        assert [heard for heard in rest if heard.event in {"broadcast", "postgres_changes"}] == []


async def test_a_second_join_closes_the_first(stack: Stack, database: psycopg.Connection) -> None:
    topic = uuid4().hex
    async with wire(stack) as client:
        for _ in range(2):
            await client.join(topic, {})
        closed = await client.until(lambda heard: heard.event == "phx_close")
        assert (closed.ref, closed.join_ref) == ("1", "1")
        await client.send(f"realtime:{topic}", "phx_leave", {}, join_ref="1")  # too late: meant the first
        send(database, topic, {"n": 1})
        assert (await client.event("broadcast"))["payload"]["n"] == 1
        rest = await client.everything_before(uuid4().hex, uuid4().hex)
        assert [heard for heard in rest if heard.event == "broadcast"] == []


@pytest.mark.parametrize(
    ("topic", "event", "reply"),
    [
        ("realtime:never joined", "broadcast", {"status": "error", "response": {"reason": "unmatched topic"}}),
        ("realtime:never joined", "phx_leave", {"status": "ok", "response": {}}),
        ("another prefix", "phx_join", {"status": "error", "response": {"reason": "unmatched topic"}}),
    ],
)
async def test_a_topic_that_was_not_joined_is_answered_so(
    stack: Stack, topic: str, event: str, reply: dict[str, Any]
) -> None:
    async with wire(stack) as client:
        assert await client.ask(topic, event, push("e", {})) == reply


async def test_an_unknown_event_is_ignored(stack: Stack) -> None:
    async with wire(stack) as client:
        await client.join("t", {})
        ref = await client.send("realtime:t", "dance", {})
        rest = await client.everything_before(uuid4().hex, uuid4().hex)
        assert [heard for heard in rest if heard.ref == ref] == []


# Tokens


async def test_a_bad_token_refuses_the_join(stack: Stack) -> None:
    good = token_for(stack)
    bad = {
        "garbage": "MalformedJWT: The token provided is not a valid JWT",
        good[:-6] + "AAAAAA": "JwtSignatureError: Failed to validate JWT signature",
        token_for(stack, lasts_s=-100): "InvalidJWTToken: Token has expired 10",
    }
    async with wire(stack) as client:
        for token, reason in bad.items():
            reply = await client.join("t", {}, token)
            assert reply["status"] == "error"
            assert reply["response"]["reason"].startswith(reason)
        # In the place of a token, any key stands for the one that the socket was opened with.
        assert (await client.join("t", {}, "sb_secret_whatever"))["status"] == "ok"


async def test_a_new_token_decides_what_is_shown_from_now_on(stack: Stack, database: psycopg.Connection) -> None:
    one, other = str(uuid4()), str(uuid4())
    async with wire(stack) as client:
        await client.watch("t", ALL_NOTES, token=token_for(stack, one))
        await client.send("realtime:t", "access_token", {"access_token": token_for(stack, other)})
        assert (await client.event("system"))["message"] == "Subscribed to PostgreSQL"
        database.execute("insert into rt_notes (owner, body) values (%s, 'one'), (%s, 'other')", (one, other))
        assert (await next_change(client))["record"]["body"] == "other"


@pytest.mark.parametrize("vsn", VSNS)
async def test_an_expired_token_ends_the_channel(stack: Stack, database: psycopg.Connection, vsn: str) -> None:
    topic = uuid4().hex
    async with wire(stack, vsn=vsn) as client:
        token = token_for(stack, lasts_s=2)
        assert (await client.join(topic, {}, token))["status"] == "ok"
        system = await client.event("system")
        assert (system["status"], system["extension"]) == ("error", "system")
        assert system["message"].startswith("Token has expired ")
        await client.event("phx_close")
        send(database, topic, {})
        rest = await client.everything_before(uuid4().hex, uuid4().hex)
        assert [heard for heard in rest if heard.event == "broadcast"] == []


async def test_a_token_that_is_refreshed_in_time_keeps_the_channel(stack: Stack, database: psycopg.Connection) -> None:
    topic, user = uuid4().hex, str(uuid4())
    async with wire(stack) as client:
        await client.join(topic, {}, token_for(stack, user, lasts_s=2))
        first_ends = time.time() + 2
        await client.send(f"realtime:{topic}", "access_token", {"access_token": token_for(stack, user)})

        async def first_has_ended() -> bool:
            return time.time() > first_ends + 0.2

        await async_until(first_has_ended, "the first token has expired")
        send(database, topic, {"n": 1})
        assert (await client.event("broadcast"))["payload"]["n"] == 1
        rest = await client.everything_before(uuid4().hex, uuid4().hex)
        assert [heard.event for heard in rest if heard.event in {"system", "phx_close"}] == []


async def test_a_refresh_with_a_bad_token_ends_the_channel(stack: Stack) -> None:
    async with wire(stack) as client:
        await client.join("t", {}, token_for(stack))
        for harmless in (None, "sb_publishable_x"):
            await client.send("realtime:t", "access_token", {"access_token": harmless})
        await client.send("realtime:t", "access_token", {"access_token": "garbage"})
        assert (await client.event("system"))["message"] == "The token provided is not a valid JWT"
        await client.event("phx_close")


# Clients that misbehave


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        '["1","1","realtime:t","phx_join"]',
        '[null,null,1,"e",{}]',
        "[" * 100_000,
        b"",
        b"\x03\xff",
        b"\0",
    ],
)
async def test_a_malformed_frame_costs_its_sender_the_socket_and_nobody_else(stack: Stack, frame: str | bytes) -> None:
    async with wire(stack) as sender, wire(stack) as other:
        await sender.socket.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(DEADLINE_S):
                await sender.socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007
        assert await other.ask("phoenix", "heartbeat", {}) == {"status": "ok", "response": {}}


async def test_a_client_that_does_not_read_is_let_go_and_others_are_served(stack: Stack) -> None:
    topic = uuid4().hex
    async with wire(stack) as sleeper, wire(stack) as sender:
        await sleeper.join(topic, {})
        await sender.join(topic, {"broadcast": {"ack": True}})
        before = stack.log("realtime").count("socket.too_slow")
        for _ in range(120):  # what the limit, the client's queue and the kernel's buffers hold, and more
            reply = await sender.ask(f"realtime:{topic}", "broadcast", push("e", "x" * 900_000))
            assert reply["status"] == "ok"

        async def let_go() -> bool:
            return stack.log("realtime").count("socket.too_slow") > before

        await async_until(let_go, "the sleeper was let go")
        assert await sender.ask("phoenix", "heartbeat", {}) == {"status": "ok", "response": {}}
        sleeper.socket.transport.abort()


# Servers that go away


@pytest.mark.usefixtures("restored")
async def test_a_server_that_stops_says_so_and_its_successor_serves(stack: Stack, database: psycopg.Connection) -> None:
    async with wire(stack) as client:
        await client.join("t", {})
        stack.stop("realtime")
        with pytest.raises(ConnectionClosed) as closed:
            await client.socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    stack.start("realtime")
    number = a_number()
    async with wire(stack) as client:
        await client.watch("t", OPEN)
        database.execute("insert into rt_open values (%s, 'x')", (number,))
        assert (await next_change(client))["record"]["id"] == number


async def test_a_database_connection_that_dies_costs_no_change(stack: Stack, database: psycopg.Connection) -> None:
    number = a_number()
    async with wire(stack) as client:
        await client.watch("t", OPEN)
        database.execute("insert into rt_open values (%s, 'x')", (number,))
        assert (await next_change(client))["record"]["id"] == number
        with psycopg.connect(stack.admin_db_url) as admin:
            ended = admin.execute(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where application_name = 'realtime' and backend_type = 'client backend'"
            ).fetchone()
        assert ended == (2,)
        database.execute("insert into rt_open values (%s, 'y')", (number + 1,))
        assert (await next_change(client))["record"]["label"] == "y"
        assert (await client.join("room:open", {"private": True}))["status"] == "ok"


@pytest.mark.usefixtures("restored")
async def test_without_a_database_a_private_join_is_refused_and_public_topics_work(stack: Stack) -> None:
    async with wire(stack) as client:
        stack.stop("postgres")
        reply = await client.join("room:open", {"private": True})
        reason = "UnableToConnectToProject: Realtime was unable to connect to the project database"
        assert reply == {"status": "error", "response": {"reason": reason}}
        assert (await client.join("t", {"broadcast": {"self": True}}))["status"] == "ok"
        await client.send("realtime:t", "broadcast", push("e", {"n": 1}))
        assert (await client.event("broadcast"))["payload"] == {"n": 1}
        await client.join("late", {"postgres_changes": [OPEN]})
        stack.start("postgres")
        assert (await client.event("system"))["message"] == "Subscribed to PostgreSQL"
