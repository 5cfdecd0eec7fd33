"""A proxy that treats the requests that pass through it badly, as long as it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import httpx

from worker.local.ports import free_port

Behaviour = Literal[
    "pass",
    "fail",  # HTTP 500; nothing is passed on
    "hang",  # no answer until the behaviour changes, then the connection ends; nothing is passed on
    "cut",  # passed on, and the answer is thrown away with the connection
    "drop",  # the connection ends; nothing is passed on
    "double",  # passed on twice
    "delay",  # passed on, and answered, a second late
]
DELAY_S = 1.0
OWN = frozenset({"content-length", "transfer-encoding", "connection", "content-encoding", "keep-alive", "date"})


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


class Gone(Exception):
    """The connection is to end without an answer."""


class Proxy:
    """One request after the other on each connection, whole: no streams. `hurt` counts those it mistreated."""

    def __init__(self, upstream: str, client: httpx.AsyncClient) -> None:
        self.port = free_port()
        self.hurt = 0
        self._upstream = upstream
        self._client = client
        self._behaviour: Behaviour = "pass"
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def behave(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._changed.set()
        self._changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(Gone, OSError, asyncio.IncompleteReadError):
            while True:
                request = await read_request(reader)
                writer.write(await self._answer(request))
                await writer.drain()
        writer.close()

    async def _answer(self, request: Request) -> bytes:
        behaviour, changed = self._behaviour, self._changed
        self.hurt += behaviour != "pass"
        match behaviour:
            case "pass":
                return await self._pass_on(request)
            case "fail":
                return answer_of(500, [("content-type", "application/json")], b'{"message": "broken on purpose"}')
            case "hang":
                await changed.wait()
                raise Gone
            case "cut":
                await self._pass_on(request)
                raise Gone
            case "drop":
                raise Gone
            case "double":
                await self._pass_on(request)
                return await self._pass_on(request)
            case "delay":
                await asyncio.sleep(DELAY_S)
                return await self._pass_on(request)

    async def _pass_on(self, request: Request) -> bytes:
        headers = [(name, value) for name, value in request.headers if name not in OWN | {"host", "accept-encoding"}]
        headers.append(("accept-encoding", "identity"))
        url = self._upstream + request.path
        try:
            response = await self._client.request(request.method, url, headers=headers, content=request.body)
        except httpx.HTTPError as error:
            raise Gone from error
        kept = [(name, value) for name, value in response.headers.items() if name not in OWN]
        return answer_of(response.status_code, kept, response.content)


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = int(dict(headers).get("content-length", 0))
    return Request(method, path, headers, await reader.readexactly(length))


def answer_of(status: int, headers: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers), f"content-length: {len(body)}"]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


@asynccontextmanager
async def proxying(upstream: str) -> AsyncIterator[Proxy]:
    async with httpx.AsyncClient(timeout=30.0) as client:
        proxy = Proxy(upstream, client)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", proxy.port)
        try:
            yield proxy
        finally:
            proxy.behave("drop")
            server.close()
