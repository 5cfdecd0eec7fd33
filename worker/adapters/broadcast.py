"""Messages to watching clients, through the REST endpoint of Supabase Realtime."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import structlog

from worker.outbox import Outbox, encode
from worker.ports import Broadcasted, MessageQuota

log = structlog.get_logger()

MAX_REQUEST_BYTES = 200_000  # Realtime takes 256 KB on the free plan
PATH = "/realtime/v1/api/broadcast"


class SupabaseBroadcast:
    """`worker.ports.Broadcast`. One request is under way at a time, so no message overtakes another.

    The first message goes at once; while traffic lasts a request begins every `interval_s` at most, with all that has
    gathered. Over the quota messages wait and deltas grow. A message that cannot be delivered is dropped: the client
    finds the gap and reads the row.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        quota: MessageQuota,
        interval_s: float = 0.04,
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`http` knows the project's URL and secret key."""
        self.sent = 0  # messages
        self.failed = 0
        self._http = http
        self._interval_s = interval_s
        self._monotonic_s = monotonic_s
        self._sleep = sleep
        self._outbox = Outbox(MAX_REQUEST_BYTES)
        self._quota = quota
        self._granted = 0  # messages that may be sent
        self._next_request_s = monotonic_s()
        self._delivery: asyncio.Task[None] | None = None
        self._is_failing = False

    async def send(self, message: Broadcasted) -> None:
        self._outbox.put(message)
        if self._delivery is None:
            self._delivery = asyncio.create_task(self._deliver())
            self._delivery.add_done_callback(report_bug)

    async def flush(self) -> None:
        while self._delivery is not None:
            await asyncio.wait((self._delivery,))

    async def _deliver(self) -> None:
        """Until nothing waits."""
        try:
            while self._outbox:
                await self._wait_for_turn()
                messages = self._outbox.take(self._granted)
                self._granted -= len(messages)
                self._next_request_s = self._monotonic_s() + self._interval_s
                await self._post(messages)
        finally:
            self._delivery = None  # here, not when the task is done: what comes in between would wait for ever

    async def _wait_for_turn(self) -> None:
        while (wait_s := self._next_request_s - self._monotonic_s()) > 0:
            await self._sleep(wait_s)
        while (wanted := len(self._outbox) - self._granted) > 0:
            grant = await self._quota.take(wanted)
            self._granted += grant.messages
            if self._granted:
                return
            await self._sleep(grant.wait_s)

    async def _post(self, messages: tuple[Broadcasted, ...]) -> None:
        problem = await self._try(messages)
        if problem == "disconnected":  # a kept connection that the server closed; the same offsets twice do no harm
            problem = await self._try(messages)
        if problem is None:
            self.sent += len(messages)
            if self._is_failing:
                log.info("broadcast.restored", failed=self.failed)
            self._is_failing = False
            return
        self.failed += len(messages)
        if not self._is_failing:  # once an outage, not once a request
            log.warning("broadcast.failed", problem=problem, messages=len(messages))
        self._is_failing = True

    async def _try(self, messages: tuple[Broadcasted, ...]) -> str | None:
        """What went wrong, or None."""
        headers = {"content-type": "application/json"}
        try:
            response = await self._http.post(PATH, content=encode(messages), headers=headers)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return "disconnected"
        except httpx.HTTPError as error:
            return type(error).__name__
        return None if response.is_success else f"HTTP {response.status_code}"


def report_bug(delivery: "asyncio.Task[None]") -> None:
    if not delivery.cancelled() and (error := delivery.exception()) is not None:
        log.error("broadcast.broken", exc_info=error)


@asynccontextmanager
async def broadcasting(
    url: str, secret_key: str, *, quota: MessageQuota, interval_s: float = 0.04, timeout_s: float = 5.0
) -> AsyncIterator[SupabaseBroadcast]:
    """A broadcast whose connection is kept while the block runs; at its end what waits is sent."""
    async with httpx.AsyncClient(base_url=url, headers={"apikey": secret_key}, timeout=timeout_s) as http:
        broadcast = SupabaseBroadcast(http, quota=quota, interval_s=interval_s)
        try:
            yield broadcast
        finally:
            await broadcast.flush()
