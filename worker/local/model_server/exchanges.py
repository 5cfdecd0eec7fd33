"""One request and its answer: journalled, and given up as soon as the client goes away."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from worker.local.model_server.faults import CutStream, Endpoint, Fault, Hang, Malformed, Status
from worker.local.model_server.journal import Journal, Record
from worker.local.model_server.protocol import ApiError, injected_error


class Cut(Exception):
    pass


class Exchange:
    """The way to answer one request. `record` holds what is known about it."""

    def __init__(self, body: bytes, record: Record, send: Send) -> None:
        self.body = body
        self.record = record
        self._send = send

    async def suffer(self, fault: Fault | None) -> None:
        """Faults that keep a request from being answered at all: does not return, or raises `ApiError`."""
        match fault:
            case None:
                return
            case Status(status=status, retry_after_s=retry_after_s, code=code):
                self.record.fault = fault.kind
                raise injected_error(status, retry_after_s, code)
            case Hang(after_chunks=after_chunks) if after_chunks == 0 or not self.record.stream:
                self.record.fault = fault.kind
                await forever()
            case _:
                self.record.fault = fault.kind

    async def answer(
        self,
        status: int,
        content: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        fault: Fault | None = None,
    ) -> None:
        """A whole answer in JSON; `Malformed` and `CutStream` leave half of it."""
        body = json.dumps(content).encode()
        half = body[: len(body) // 2]
        sent = half if isinstance(fault, Malformed) else body
        await self._begin(status, {**(headers or {}), "content-type": "application/json"}, length=len(sent))
        if isinstance(fault, CutStream):
            await self._send({"type": "http.response.body", "body": half, "more_body": True})
            raise Cut
        await self._send_last(sent)

    async def begin_stream(self) -> None:
        await self._begin(200, {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"})

    async def send_event(self, data: str) -> None:
        await self._send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})

    async def end_stream(self) -> None:
        await self._send_last(b"data: [DONE]\n\n")

    async def _send_last(self, body: bytes) -> None:
        # First the journal: a client that has the last byte may read it at once.
        self.record.end("finished")
        await self._send({"type": "http.response.body", "body": body})

    async def _begin(self, status: int, headers: Mapping[str, str], *, length: int | None = None) -> None:
        self.record.status = status
        named = {**headers, "x-request-id": self.record.request_id}
        if length is not None:
            named["content-length"] = str(length)
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})


async def forever() -> None:
    """Until it is cancelled."""
    await asyncio.Event().wait()


class Served:
    """An ASGI application that answers each request by `work`, within a journalled exchange."""

    def __init__(self, endpoint: Endpoint, work: Callable[[Exchange], Awaitable[None]], journal: Journal) -> None:
        self._endpoint = endpoint
        self._work = work
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        record = Record(self._endpoint, client_request_id=request.headers.get("x-client-request-id"))
        self._journal.open(record)
        working = asyncio.create_task(self._answer(Exchange(body, record, send)))
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            gone.cancel()
            await asyncio.gather(working, gone, return_exceptions=True)
            _close(record, working)

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._work(exchange)
        except ApiError as error:
            await exchange.answer(error.status, error.body, headers=error.headers)


def _close(record: Record, working: asyncio.Task[None]) -> None:
    """Raises what the work raised, unless that was meant."""
    if working.cancelled():
        record.end("aborted")
        return
    match working.exception():
        case None:
            return
        case Cut():
            record.end("cut")  # the server closes a connection whose answer is not complete
        case error:
            record.end("failed")
            raise error


async def _until_gone(receive: Receive) -> None:
    """The body is read: what is still received is the end of the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
