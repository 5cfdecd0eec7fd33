"""The official JavaScript client against the server: protocol 2.0.0 with its binary frames."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.local.realtime_server.test_broadcast import send
from tests.local.realtime_server.test_changes import a_number
from tests.local.realtime_server.wire import token_for
from tests.waiting import DEADLINE_S
from worker.local import node
from worker.local.stack import Stack

SCRIPT = Path(__file__).with_name("supabase_js.mjs")
ACK = {"broadcast": {"ack": True, "self": True}}


class Script:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._commands, self._output = process.stdin, process.stdout
        self._heard: list[dict[str, Any]] = []

    async def do(self, command: str, **parameters: Any) -> None:
        self._commands.write(json.dumps({"command": command, **parameters}).encode() + b"\n")
        await self._commands.drain()

    async def hear(self, kind: str, topic: str) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for position, heard in enumerate(self._heard):
                    if (heard["heard"], heard["topic"]) == (kind, topic):
                        return self._heard.pop(position)
                line = await self._output.readline()
                assert line, "the script has ended"
                self._heard.append(json.loads(line))

    async def subscribe(self, topic: str, **parameters: Any) -> None:
        await self.do("subscribe", topic=topic, **parameters)
        state = await self.hear("state", topic)
        assert state["state"] == "SUBSCRIBED", state
        if parameters.get("changes"):
            assert (await self.hear("system", topic))["message"] == "Subscribed to PostgreSQL"


@asynccontextmanager
async def running_script(stack: Stack) -> AsyncIterator[Script]:
    process = await asyncio.create_subprocess_exec(
        node.find_node(),
        str(SCRIPT),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **stack.environment(), "LOCAL_MODULES": str(node.FOLDER)},
    )
    try:
        yield Script(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def test_a_user_follows_own_rows_through_filters(stack: Stack, database: psycopg.Connection) -> None:
    user = str(uuid4())
    watch = {"event": "*", "schema": "public", "table": "rt_notes", "filter": 'body=in.("a, b",c)'}
    async with running_script(stack) as script:
        await script.do("authorize", token=token_for(stack, user))
        await script.subscribe("notes", changes=[watch])
        for owner in (str(uuid4()), user):
            for body in ("a", "a, b"):
                database.execute("insert into rt_notes (owner, body, amount) values (%s, %s, 1.50)", (owner, body))
        database.execute("update rt_notes set body = 'c' where owner = %s and body = 'a'", (user,))
        inserted, updated = await script.hear("change", "notes"), await script.hear("change", "notes")
        assert (inserted["eventType"], inserted["errors"]) == ("INSERT", None)
        assert inserted["new"] | {"id": 0} == {"id": 0, "owner": user, "body": "a, b", "amount": 1.5, "long": None}
        assert (updated["eventType"], updated["new"]["body"]) == ("UPDATE", "c")
        assert updated["old"] == {"id": updated["new"]["id"]}


async def test_a_subscription_may_be_waited_for(stack: Stack, database: psycopg.Connection) -> None:
    config = {"postgres_changes_options": {"wait": True}}
    async with running_script(stack) as script:
        await script.subscribe(
            "waiting", config=config, changes=[{"event": "INSERT", "schema": "public", "table": "rt_open"}]
        )
        number = a_number()
        database.execute("insert into rt_open values (%s, 'x')", (number,))
        assert (await script.hear("change", "waiting"))["new"]["id"] == number


async def test_broadcasts_from_socket_http_and_database_arrive(stack: Stack, database: psycopg.Connection) -> None:
    topic = f"room ü {uuid4().hex}"
    async with running_script(stack) as script:
        await script.subscribe(topic, config=ACK)
        await script.do("send", topic=topic, event="by söcket", payload={"n": 1})
        assert (await script.hear("sent", topic))["result"] == "ok"
        heard = await script.hear("broadcast", topic)
        assert (heard["event"], heard["payload"]) == ("by söcket", {"n": 1})
        await script.do("send", topic=topic, event="bytes", bytes=[0, 255])
        assert (await script.hear("sent", topic))["result"] == "ok"
        assert (await script.hear("broadcast", topic))["payload"] == [0, 255]
        await script.do("httpSend", topic=topic, event="by/http", payload={"n": 2})
        assert (await script.hear("sent", topic))["result"] == {"success": True}
        heard = await script.hear("broadcast", topic)
        assert (heard["event"], heard["payload"]) == ("by/http", {"n": 2})
        send(database, topic, {"n": 3})
        heard = await script.hear("broadcast", topic)
        assert heard["payload"] == {"n": 3, "id": heard["meta"]["id"]}


async def test_private_channels_obey_the_policies(stack: Stack, database: psycopg.Connection) -> None:
    user = str(uuid4())
    own, foreign = f"own:{user}", f"own:{uuid4()}"
    async with running_script(stack) as script:
        await script.do("authorize", token=token_for(stack, user))
        await script.do("subscribe", topic=foreign, config={"private": True})
        refused = await script.hear("state", foreign)
        assert refused["state"] == "CHANNEL_ERROR"
        reason = f"Unauthorized: You do not have permissions to read from this Channel topic: {foreign}"
        assert refused["error"] == {"reason": reason}
        await script.subscribe(own, config={"private": True, **ACK})
        await script.do("send", topic=own, event="e", payload={})
        assert (await script.hear("sent", own))["result"] == "ok"
        assert (await script.hear("broadcast", own))["event"] == "e"
        send(database, own, {"n": 1}, private=True)
        assert (await script.hear("broadcast", own))["payload"]["n"] == 1
        await script.do("httpSend", topic=foreign, event="forged", payload={})
        assert (await script.hear("sent", foreign))["result"] == "Unauthorized"


async def test_a_token_is_refreshed_and_one_that_expires_closes_the_channel(
    stack: Stack, database: psycopg.Connection
) -> None:
    one, other = str(uuid4()), str(uuid4())
    changes = [{"event": "INSERT", "schema": "public", "table": "rt_notes"}]
    async with running_script(stack) as script:
        await script.do("authorize", token=token_for(stack, one))
        await script.subscribe("tokens", changes=changes)
        await script.do("authorize", token=token_for(stack, other, lasts_s=4))
        assert (await script.hear("system", "tokens"))["status"] == "ok"
        database.execute("insert into rt_notes (owner) values (%s), (%s)", (one, other))
        assert (await script.hear("change", "tokens"))["new"]["owner"] == other
        assert "Token has expired" in (await script.hear("system", "tokens"))["message"]
        assert (await script.hear("state", "tokens"))["state"] == "CLOSED"


@pytest.mark.usefixtures("restored")
async def test_it_rejoins_when_the_server_comes_back(stack: Stack) -> None:
    topic = uuid4().hex
    async with running_script(stack) as script:
        await script.subscribe(topic, config=ACK)
        stack.kill("realtime")
        assert (await script.hear("state", topic))["state"] == "CHANNEL_ERROR"
        stack.start("realtime")
        while (await script.hear("state", topic))["state"] != "SUBSCRIBED":
            pass
        await script.do("send", topic=topic, event="back", payload={})
        assert (await script.hear("broadcast", topic))["event"] == "back"


async def test_leaving_is_confirmed(stack: Stack) -> None:
    async with running_script(stack) as script:
        await script.subscribe("leaving")
        await script.do("leave", topic="leaving")
        assert (await script.hear("left", "leaving"))["result"] == "ok"
