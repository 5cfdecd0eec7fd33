"""The connection under a `Database`, watched and broken by tests."""

from collections import Counter
from collections.abc import Callable

import httpx

from worker.adapters.database import Database


class Wire(httpx.AsyncBaseTransport):
    """Counts requests by the last part of their path. `before` may answer in the server's place; both may raise."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.requests: Counter[str] = Counter()
        self.before: Callable[[str], httpx.Response | None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        called = request.url.path.rpartition("/")[2]
        self.requests[called] += 1
        instead = self.before(called)
        if instead is not None:
            return instead
        response = await self._inner.handle_async_request(request)
        await response.aread()
        self.after(called)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def tapped(database: Database) -> Wire:
    wire = Wire(database.http._transport)
    database.http._transport = wire
    return wire


def lose_replies(wire: Wire, of: str, times: int) -> None:
    """The request arrives and is done; its answer does not come back."""
    left = times

    def lose(called: str) -> None:
        nonlocal left
        if called == of and left > 0:
            left -= 1
            raise httpx.ReadTimeout("the reply was lost")

    wire.after = lose


def be_away(wire: Wire, times: int) -> None:
    """The next requests find nobody listening."""
    left = times

    def refuse(_called: str) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            raise httpx.ConnectError("connection refused")

    wire.before = refuse
