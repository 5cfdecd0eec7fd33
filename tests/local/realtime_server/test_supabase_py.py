"""The official Python client against the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from postgrest import ReturnMethod
from realtime import AsyncRealtimeChannel, RealtimeSubscribeStates
from realtime.types import RealtimePostgresChangesListenEvent
from supabase import AsyncClient

from tests.clients import client_with, signed_up
from tests.local.realtime_server.test_broadcast import send
from tests.local.realtime_server.wire import token_for
from tests.waiting import DEADLINE_S, async_until
from worker.local.stack import Stack

# realtime-py 2.34 reads properties of a closed connection that websockets 15 calls deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:ConnectionClosed\.(code|reason) is deprecated:DeprecationWarning")

Queue = asyncio.Queue[Any]


@asynccontextmanager
async def listening(client: AsyncClient) -> AsyncIterator[AsyncClient]:
    try:
        yield client
    finally:
        await client.remove_all_channels()


async def soon(queue: Queue) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        return await queue.get()


async def subscribed(channel: AsyncRealtimeChannel, states: Queue | None = None) -> None:
    """Joined, and if it watches tables, told so."""
    stands = asyncio.Event()
    heard: Queue = states if states is not None else asyncio.Queue()
    channel.on_system(lambda payload: stands.set() if payload.extension == "postgres_changes" else None)
    await channel.subscribe(lambda state, error: heard.put_nowait((state, error)))
    state, error = await soon(heard)
    assert state == RealtimeSubscribeStates.SUBSCRIBED, error
    if channel.postgres_changes_callbacks:
        async with asyncio.timeout(DEADLINE_S):
            await stands.wait()


async def user_id(client: AsyncClient) -> str:
    session = await client.auth.get_session()
    assert session is not None
    return str(session.user.id)


async def test_two_users_follow_their_own_rows_from_insert_to_delete(stack: Stack) -> None:
    async with signed_up(stack) as one, signed_up(stack) as other, listening(one), listening(other):
        events: dict[AsyncClient, Queue] = {one: asyncio.Queue(), other: asyncio.Queue()}
        for client, queue in events.items():
            channel = client.channel("notes").on_postgres_changes(
                RealtimePostgresChangesListenEvent.All,
                queue.put_nowait,
                table="rt_notes",
                schema="public",
                filter=f"owner=eq.{await user_id(client)}",
            )
            await subscribed(channel)
        for client in events:
            own = client.table("rt_notes")
            await own.insert({"body": "first"}, returning=ReturnMethod.minimal).execute()
            await own.update({"body": "second"}, returning=ReturnMethod.minimal).eq("body", "first").execute()
        for client, queue in events.items():
            inserted, updated = (await soon(queue))["data"], (await soon(queue))["data"]
            assert (inserted["type"], inserted["record"]["body"]) == ("INSERT", "first")
            assert (updated["type"], updated["record"]["body"]) == ("UPDATE", "second")
            assert updated["record"]["owner"] == await user_id(client)
            assert queue.empty()


async def test_a_delete_arrives_with_its_key(stack: Stack, database: psycopg.Connection) -> None:
    async with client_with(stack, stack.publishable_key) as client, listening(client):
        deleted: Queue = asyncio.Queue()
        channel = client.channel("deletes")
        channel.on_postgres_changes("DELETE", deleted.put_nowait, table="rt_open")  # type: ignore[arg-type]
        await subscribed(channel)
        database.execute("insert into rt_open values (-7, 'x')")
        database.execute("delete from rt_open where id = -7")
        assert (await soon(deleted))["data"]["old_record"] == {"id": -7}


async def test_broadcasts_from_socket_http_and_database_arrive(stack: Stack, database: psycopg.Connection) -> None:
    topic = uuid4().hex
    async with (
        client_with(stack, stack.publishable_key) as speaker,
        client_with(stack, stack.publishable_key) as listener,
        listening(speaker),
        listening(listener),
    ):
        heard: Queue = asyncio.Queue()
        await subscribed(listener.channel(topic).on_broadcast("*", heard.put_nowait))
        voice = speaker.channel(topic)
        await subscribed(voice)
        await voice.send_broadcast("by socket", {"n": 1})
        assert await soon(heard) == {"event": "by socket", "payload": {"n": 1}}
        await voice.http_send("by http", {"n": 2})
        assert await soon(heard) == {"event": "by http", "payload": {"n": 2}}
        send(database, topic, {"n": 3})
        message = await soon(heard)
        assert message["payload"] == {"n": 3, "id": message["meta"]["id"]}


async def test_a_private_channel_lets_its_owner_in_and_nobody_else(stack: Stack, database: psycopg.Connection) -> None:
    async with signed_up(stack) as owner, signed_up(stack) as stranger, listening(owner), listening(stranger):
        topic = f"own:{await user_id(owner)}"
        private: Any = {"config": {"private": True, "broadcast": {"ack": False, "self": False}}}
        heard, refused = asyncio.Queue[Any](), asyncio.Queue[Any]()
        await subscribed(owner.channel(topic, private).on_broadcast("said", heard.put_nowait))
        await stranger.channel(topic, private).subscribe(lambda state, error: refused.put_nowait((state, error)))
        state, error = await soon(refused)
        assert state == RealtimeSubscribeStates.CHANNEL_ERROR
        assert "You do not have permissions to read from this Channel topic" in str(error)
        send(database, topic, {"n": 1}, private=True)
        assert (await soon(heard))["payload"]["n"] == 1


async def test_a_new_token_changes_what_is_heard_and_an_expired_one_closes(
    stack: Stack, database: psycopg.Connection
) -> None:
    one, other = str(uuid4()), str(uuid4())
    async with client_with(stack, stack.publishable_key) as client, listening(client):
        await client.realtime.set_auth(token_for(stack, one))
        changes, states, stands = asyncio.Queue[Any](), asyncio.Queue[Any](), asyncio.Queue[Any]()
        channel = client.channel("tokens").on_system(stands.put_nowait)
        channel.on_postgres_changes("INSERT", changes.put_nowait, table="rt_notes")  # type: ignore[arg-type]
        await subscribed(channel, states)
        await soon(stands)
        await client.realtime.set_auth(token_for(stack, other, lasts_s=4))
        await soon(stands)
        database.execute("insert into rt_notes (owner) values (%s), (%s)", (one, other))
        assert (await soon(changes))["data"]["record"]["owner"] == other
        state, error = await soon(states)
        assert state == RealtimeSubscribeStates.CHANNEL_ERROR
        assert "Token has expired" in str(error)
        assert (await soon(states))[0] == RealtimeSubscribeStates.CLOSED


@pytest.mark.usefixtures("restored")
async def test_the_client_reconnects_when_the_server_comes_back(stack: Stack, database: psycopg.Connection) -> None:
    async with client_with(stack, stack.publishable_key) as client, listening(client):
        changes, states = asyncio.Queue[Any](), asyncio.Queue[Any]()
        channel = client.channel("reconnect")
        channel.on_postgres_changes("INSERT", changes.put_nowait, table="rt_open")  # type: ignore[arg-type]
        await subscribed(channel, states)
        stack.kill("realtime")
        assert (await soon(states))[0] == RealtimeSubscribeStates.CHANNEL_ERROR
        stack.start("realtime")
        while (await soon(states))[0] != RealtimeSubscribeStates.SUBSCRIBED:
            pass
        await inserts_arrive(database, changes)


@pytest.mark.usefixtures("restored")
async def test_channels_outlive_a_restart_of_postgres(stack: Stack) -> None:
    """What happens in between is lost."""
    async with client_with(stack, stack.publishable_key) as client, listening(client):
        changes, broadcasts, states = asyncio.Queue[Any](), asyncio.Queue[Any](), asyncio.Queue[Any]()
        channel = client.channel("restart").on_broadcast("said", broadcasts.put_nowait)
        channel.on_postgres_changes("INSERT", changes.put_nowait, table="rt_open")  # type: ignore[arg-type]
        await subscribed(channel, states)
        stack.stop("postgres")
        stack.start("postgres")
        with psycopg.connect(stack.db_url, autocommit=True) as database:
            await inserts_arrive(database, changes)
            send(database, "restart", {"n": 1})
        assert (await soon(broadcasts))["payload"]["n"] == 1
        assert states.empty()


async def inserts_arrive(database: psycopg.Connection, changes: Queue) -> None:
    """Sooner or later: until the server reads the WAL again, they are lost."""

    async def one_arrives() -> bool:
        database.execute("insert into rt_open values (%s, 'x')", (uuid4().int % 2**31,))
        try:
            await asyncio.wait_for(changes.get(), 0.2)
        except TimeoutError:
            return False
        return True

    await async_until(one_arrives, "a change arrives")


async def test_bursts_arrive_whole(stack: Stack) -> None:
    async with signed_up(stack) as client, listening(client):
        owner, bursts, rows = await user_id(client), 20, 100
        heard: Queue = asyncio.Queue()
        channel = client.channel("burst")
        channel.on_postgres_changes("INSERT", heard.put_nowait, table="rt_notes")  # type: ignore[arg-type]
        await subscribed(channel)
        async with await psycopg.AsyncConnection.connect(stack.db_url, autocommit=True) as connection:
            for burst in range(bursts):
                await connection.execute(
                    "insert into rt_notes (owner, amount) select %s, %s + n from generate_series(0, %s - 1) n",
                    (owner, burst * rows, rows),
                )
        amounts = [(await soon(heard))["data"]["record"]["amount"] for _ in range(bursts * rows)]
        assert amounts == list(range(bursts * rows))


@pytest.mark.parametrize("filter_", ["amount=gt.1e3,body=not.is.null", 'body=in.("a,b",c)', "body=ilike.%ü%"])
async def test_its_filters_are_understood(stack: Stack, database: psycopg.Connection, filter_: str) -> None:
    owner = str(uuid4())
    async with client_with(stack, stack.secret_key) as client, listening(client):
        heard: Queue = asyncio.Queue()
        channel = client.channel("filters")
        channel.on_postgres_changes(
            "INSERT",  # type: ignore[arg-type]
            heard.put_nowait,
            table="rt_notes",
            filter=f"owner=eq.{owner},{filter_}",
        )
        await subscribed(channel)
        for body, amount in ((None, 1), ("none", 1000), ("a,b", 2), ("ÜBER", 3), ("x", 1001)):
            database.execute("insert into rt_notes (owner, body, amount) values (%s, %s, %s)", (owner, body, amount))
        expected = {"amount=gt.1e3,body=not.is.null": "x", "body=ilike.%ü%": "ÜBER"}.get(filter_, "a,b")
        assert (await soon(heard))["data"]["record"]["body"] == expected
        assert heard.empty()
