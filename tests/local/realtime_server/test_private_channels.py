"""Who may listen and speak on private topics: the policies of realtime.messages decide."""

from uuid import uuid4

import psycopg

from tests.local.realtime_server.test_broadcast import nothing_came, post, push, send
from tests.local.realtime_server.wire import Wire, token_for, wire
from worker.local.stack import Stack

PRIVATE = {"private": True, "broadcast": {"ack": True}}


async def joined_privately(client: Wire, topic: str, token: str | None = None) -> None:
    reply = await client.join(topic, PRIVATE, token)
    assert reply["status"] == "ok", reply


async def test_the_owner_joins_and_hears_what_the_database_sends(stack: Stack, database: psycopg.Connection) -> None:
    owner = str(uuid4())
    async with wire(stack) as client:
        await joined_privately(client, f"own:{owner}", token_for(stack, owner))
        send(database, f"own:{owner}", {"n": 1}, private=True)
        assert (await client.event("broadcast"))["payload"]["n"] == 1


async def test_others_are_refused(stack: Stack) -> None:
    topic = f"own:{uuid4()}"
    refusal = {
        "status": "error",
        "response": {
            "reason": f"Unauthorized: You do not have permissions to read from this Channel topic: {topic}",
        },
    }
    async with wire(stack) as client:
        assert await client.join(topic, PRIVATE, token_for(stack)) == refusal
        assert await client.join(topic, PRIVATE) == refusal
        reply = await client.ask(f"realtime:{topic}", "broadcast", push("e", {}))
        assert reply == {"status": "error", "response": {"reason": "unmatched topic"}}


async def test_a_policy_that_fails_refuses(stack: Stack) -> None:
    async with wire(stack) as client:
        assert (await client.join("broken", PRIVATE))["status"] == "error"
        assert (await client.join("room:open", PRIVATE))["status"] == "ok"


async def test_the_secret_key_passes(stack: Stack) -> None:
    async with wire(stack, key=stack.secret_key) as client:
        await joined_privately(client, f"own:{uuid4()}")


async def test_without_an_insert_policy_a_broadcast_is_dropped_and_not_answered(stack: Stack) -> None:
    async with wire(stack) as forger, wire(stack) as listener:
        for client in (forger, listener):
            await joined_privately(client, "room:open", token_for(stack))
        ref = await forger.send("realtime:room:open", "broadcast", push("forged", {}))
        rest = await forger.everything_before(uuid4().hex, uuid4().hex)
        assert [heard for heard in rest if heard.ref == ref] == []
        assert await nothing_came(listener)


async def test_with_an_insert_policy_a_broadcast_is_delivered_and_answered(stack: Stack) -> None:
    owner = str(uuid4())
    topic = f"own:{owner}"
    async with wire(stack) as speaker, wire(stack) as listener:
        for client in (speaker, listener):
            await joined_privately(client, topic, token_for(stack, owner))
        assert (await speaker.ask(f"realtime:{topic}", "broadcast", push("e", {"n": 1})))["status"] == "ok"
        assert await listener.event("broadcast") == push("e", {"n": 1})


async def test_http_requests_obey_the_same_policies(stack: Stack) -> None:
    owner = str(uuid4())
    topic = f"own:{owner}"
    body = {"messages": [{"topic": topic, "event": "e", "payload": {}, "private": True}]}
    mine, foreign = (f"Bearer {token_for(stack, user)}" for user in (owner, None))
    key = stack.publishable_key
    async with wire(stack) as listener:
        await joined_privately(listener, topic, token_for(stack, owner))
        assert (await post(stack, body, apikey=key, authorization=foreign)).status_code == 202
        path = f"/{topic}/events/e?private=true"
        assert (await post(stack, {}, path=path, apikey=key, authorization=foreign)).status_code == 403
        assert await nothing_came(listener)
        assert (await post(stack, body, apikey=key, authorization=mine)).status_code == 202
        assert (await post(stack, {}, path=path, apikey=key, authorization=mine)).status_code == 202
        for _ in range(2):
            assert await listener.event("broadcast") == push("e", {})


async def test_a_token_of_someone_else_ends_the_channel(stack: Stack, database: psycopg.Connection) -> None:
    owner = str(uuid4())
    topic = f"own:{owner}"
    async with wire(stack) as client:
        await joined_privately(client, topic, token_for(stack, owner))
        await client.send(f"realtime:{topic}", "access_token", {"access_token": token_for(stack)})
        assert await client.event("system") == {
            "extension": "system",
            "status": "error",
            "message": f"You do not have permissions to read from this Channel topic: {topic}",
            "channel": topic,
        }
        await client.event("phx_close")
        send(database, topic, {"n": 1}, private=True)
        assert await nothing_came(client)


async def test_a_probe_leaves_nothing_behind(stack: Stack, database: psycopg.Connection) -> None:
    topic = f"own:{uuid4()}"
    async with wire(stack) as client:
        await client.join(topic, PRIVATE, token_for(stack))
    count = database.execute("select count(*) from realtime.messages where topic = %s", (topic,)).fetchone()
    assert count == (0,)
