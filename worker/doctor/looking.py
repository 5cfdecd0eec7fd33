"""The facts of a project, each by one question to it. An outage is an answer too."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import redis.exceptions
from realtime import AsyncRealtimeClient

from worker.doctor.judging import Answer
from worker.queue.connecting import connected

WEBHOOK_PATIENCE_S = 10.0
REALTIME_PATIENCE_S = 8.0
GOODBYE_S = 1.0
POLL_S = 0.1


class Api:
    """The project's API, asked with one key."""

    def __init__(self, http: httpx.AsyncClient, url: str, key: str) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._headers = {"apikey": key, "authorization": f"Bearer {key}"}

    async def read(self, table: str, column: str) -> Answer:
        """That column of one row."""
        return await self._ask("GET", f"/rest/v1/{table}?select={column}&limit=1", {"accept-profile": "rowcall"})

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Answer:
        return await self._ask("POST", f"/rest/v1/rpc/{function}", {"content-profile": "rowcall"}, arguments)

    async def broadcast(self, topic: str) -> Answer:
        message = {"topic": topic, "event": "doctor", "payload": {}, "private": False}
        return await self._ask("POST", "/realtime/v1/api/broadcast", {}, {"messages": [message]})

    async def _ask(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> Answer:
        request = self._http.build_request(method, self._url + path, headers={**self._headers, **headers}, json=body)
        return await answered(self._http, request)


async def answered(http: httpx.AsyncClient, request: httpx.Request) -> Answer:
    try:
        response = await http.send(request)
    except httpx.HTTPError as error:
        return Answer(message=f"{type(error).__name__} {error}".strip())
    try:
        body = response.json() if response.content else None
    except ValueError:
        body = None
    said = body if isinstance(body, Mapping) and not response.is_success else {}
    code, message = str(said.get("code") or ""), str(said.get("message") or said.get("error") or response.reason_phrase)
    return Answer(response.status_code, code, message, body)


async def webhook_response(api: Api) -> Mapping[str, Any] | None:
    """What became of an empty webhook that the database sent; None: nothing within the patience."""
    request_id = (await api.call("probe_webhook_v1", {})).body
    deadline = time.monotonic() + WEBHOOK_PATIENCE_S
    while time.monotonic() < deadline:
        answer = await api.call("webhook_response_v1", {"request_id": request_id})
        if isinstance(answer.body, Mapping) and "status_code" in answer.body:
            return answer.body
        await asyncio.sleep(POLL_S)
    return None


async def realtime_problem(api: Api, url: str, key: str) -> str | None:
    """Why a message from the worker's side does not reach a client that subscribed; None: it does."""
    logging.getLogger("realtime").setLevel(logging.CRITICAL)  # what it logs is what we answer
    topic, arrived, joined = f"rowcall-doctor:{uuid4()}", asyncio.Event(), asyncio.Event()
    client = AsyncRealtimeClient(f"{url.rstrip('/')}/realtime/v1", key, auto_reconnect=False, max_retries=1)
    try:
        async with asyncio.timeout(REALTIME_PATIENCE_S):
            channel = client.channel(topic)
            channel.on_broadcast("doctor", lambda _message: arrived.set())
            await channel.subscribe(lambda state, _error: joined.set() if state == "SUBSCRIBED" else None)
            await joined.wait()
            answer = await api.broadcast(topic)
            if not answer.is_success:
                return f"a broadcast is answered {answer.status or answer.message}"
            await arrived.wait()
    except TimeoutError:
        return "a message that was sent did not arrive" if joined.is_set() else "a channel could not be joined"
    except Exception as error:  # noqa: BLE001 - the SDK raises bare exceptions, and websockets' and the system's own
        return f"no connection: {type(error).__name__} {error}"
    finally:
        with suppress(TimeoutError):  # a peer that is gone does not answer the goodbye either
            async with asyncio.timeout(GOODBYE_S):
                await client.close()
    return None


async def redis_info(url: str) -> Mapping[str, Any] | str:
    """INFO, or why there is none."""
    try:
        async with connected(url) as client:
            info: Mapping[str, Any] = await client.info()
            return info
    except (redis.exceptions.RedisError, OSError) as error:
        return str(error) or type(error).__name__
