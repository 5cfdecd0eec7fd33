"""The Python client: insert a row, watch its answer arrive.

    async with Rowcall.signed_in(url, key, email=…, password=…) as rowcall:
        async for update in rowcall.ask("How long does a lease last?"):
            print(update.text)

It is an ordinary client of the project: everything it does, it may do by the signed-in user's own policies.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx
from postgrest import APIError, AsyncPostgrestClient
from realtime.types import (
    RealtimeChannelBroadcastConfig,
    RealtimeChannelConfig,
    RealtimeChannelPresenceConfig,
    RealtimePostgresChangesListenEvent,
)
from supabase import AsyncClient, AsyncClientOptions, AuthApiError, AuthError, acreate_client

from worker.transcript import TERMINAL, Transcript

REREAD_S = 5.0  # an unfinished row is read again this often, whatever Realtime says or does not
PAGE = 100  # ids in one request
REQUEST_TIMEOUT_S = 30.0
ALREADY_THERE = frozenset({"user_already_exists", "email_exists"})
GAP_REREAD_S = 0.5  # and this often while text is missing
CHANNEL = RealtimeChannelConfig(
    private=True,
    broadcast=RealtimeChannelBroadcastConfig(ack=False, self=False),
    presence=RealtimeChannelPresenceConfig(key="", enabled=False),
)


class RequestRefused(Exception):
    """The project said no, or did not answer; the message is for the person who asked."""


@dataclass(frozen=True, slots=True)
class Update:
    """What is known of a generation now. `row` is the whole row once it has ended."""

    id: str
    status: str
    attempt: int
    text: str
    row: Mapping[str, Any] | None = None

    @property
    def is_finished(self) -> bool:
        return self.row is not None


@dataclass(frozen=True, slots=True)
class _Delta:
    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class _Running:
    attempt: int


class _Reread:
    """Something happened that a read of the row will tell: subscribed, done, ended, or too long a silence."""


class Rowcall:
    """A signed-in user's view of Rowcall."""

    def __init__(self, supabase: AsyncClient) -> None:
        self.supabase = supabase

    @classmethod
    @asynccontextmanager
    async def signed_in(
        cls, url: str, key: str, *, email: str, password: str, sign_up: bool = False
    ) -> AsyncIterator[Self]:
        """A client with a session of its own. `sign_up` makes the user first; one that exists is signed in."""
        async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S) as http:
            options = AsyncClientOptions(httpx_client=http, persist_session=False)
            supabase = await acreate_client(url, key, options)
            try:
                await _sign_in(supabase, email, password, sign_up=sign_up)
                yield cls(supabase)
            finally:
                await supabase.realtime.close()
                await supabase.auth.sign_out({"scope": "local"})

    async def submit(
        self,
        input: Mapping[str, Any],
        *,
        kind: str = "answer",
        options: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """The id of a new generation."""
        row: dict[str, Any] = {"kind": kind, "input": dict(input), "options": dict(options or {})}
        if idempotency_key is not None:
            row["idempotency_key"] = idempotency_key
        inserted = await _rows(self._rowcall.table("generations").insert(row))
        return str(inserted[0]["id"])

    async def ask(self, question: str, **options: Any) -> AsyncIterator[Update]:
        """Inserts the question and watches its row to the end."""
        id = await self.submit({"question": question}, options=options)
        async for update in self.watch(id):
            yield update

    async def wait(self, id: str) -> Update:
        """The row once it has ended."""
        async for update in self.watch(id):
            last = update
        return last

    async def cancel(self, id: str) -> bool:
        """False: it had ended, or is not this user's."""
        return bool(await _answer(self._rowcall.rpc("cancel_generation", {"id": id})))

    async def put_documents(self, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Writes documents, known by their source: new ones, and those that changed, are ingested.

        `id`, `source` and `generation_id` of each; that generation's status is the document's.
        """
        table = self._rowcall.table("documents")
        rows = [dict(document) for document in documents]
        written = await _rows(table.upsert(rows, on_conflict="user_id,source"))
        ids = [row["id"] for row in written]
        return await _rows(table.select("id, source, generation_id").in_("id", ids))

    async def wait_all(self, ids: Iterable[str], *, poll_s: float = 0.5) -> dict[str, dict[str, Any]]:
        """The rows of all generations, by id, once every one has ended. Polls: for many rows at once."""
        pending, ended = set(ids), dict[str, dict[str, Any]]()
        while True:
            ended |= await self.ended_among(pending)
            pending -= ended.keys()
            if not pending:
                return ended
            await asyncio.sleep(poll_s)

    async def ended_among(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The rows of those generations that have ended, by id. One look."""
        ended = dict[str, dict[str, Any]]()
        for page in _pages(sorted(ids), PAGE):
            query = self._rowcall.table("generations").select("*").in_("id", page).in_("status", sorted(TERMINAL))
            ended |= {row["id"]: row for row in await _rows(query)}
        return ended

    async def watch(self, id: str) -> AsyncIterator[Update]:
        """Updates until the row has ended; each brings more text or another status.

        Subscribes, then reads the row, then applies deltas. Realtime may lose any of them: a gap, a reconnect or a
        silence leads to a read of the row, which is the record.
        """
        events: asyncio.Queue[_Delta | _Running | _Reread] = asyncio.Queue()
        channel = self._channel(id, events)
        joining = asyncio.create_task(channel.subscribe(lambda _state, _error: events.put_nowait(_Reread())))
        transcript = Transcript()
        try:
            while True:
                event = await self._next(events, GAP_REREAD_S if transcript.has_gap else REREAD_S)
                before, row = transcript, None
                match event:
                    case _Delta(attempt, offset, text):
                        transcript = transcript.with_delta(attempt, offset, text)
                    case _Running(attempt):
                        transcript = transcript.with_snapshot(attempt, "running", None, None)
                    case _Reread():
                        row, partial = await self._read(id)
                        transcript = transcript.with_snapshot(row["attempt"], row["status"], partial, row["answer"])
                if transcript.is_finished:
                    yield Update(id, transcript.status, transcript.attempt, transcript.text, row)
                    return
                if transcript != before:
                    yield Update(id, transcript.status, transcript.attempt, transcript.text)
        finally:
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)
            await self.supabase.realtime.remove_channel(channel)

    def _channel(self, id: str, events: "asyncio.Queue[_Delta | _Running | _Reread]") -> Any:
        def on_delta(message: Any) -> None:
            delta = message["payload"]
            events.put_nowait(_Delta(delta["attempt"], delta["offset"], delta["text"]))

        def on_change(change: Any) -> None:
            record = change["data"]["record"]
            running = record["status"] not in TERMINAL
            events.put_nowait(_Running(record["attempt"]) if running else _Reread())

        channel = self.supabase.channel(f"generation:{id}", {"config": CHANNEL})
        channel.on_broadcast("delta", on_delta)
        channel.on_broadcast("done", lambda _message: events.put_nowait(_Reread()))
        channel.on_postgres_changes(
            RealtimePostgresChangesListenEvent.Update,
            on_change,
            table="generations",
            schema="rowcall",
            filter=f"id=eq.{id}",
        )
        return channel

    @staticmethod
    async def _next(
        events: "asyncio.Queue[_Delta | _Running | _Reread]", patience_s: float
    ) -> "_Delta | _Running | _Reread":
        try:
            return await asyncio.wait_for(events.get(), patience_s)
        except TimeoutError:
            return _Reread()

    async def _read(self, id: str) -> tuple[Mapping[str, Any], str | None]:
        """The row, and the running attempt's text so far."""
        found = await _rows(self._rowcall.table("generations").select("*").eq("id", id))
        if not found:
            raise RequestRefused(f"generation {id} does not exist, or is not this user's")
        row = found[0]
        if row["status"] != "running":
            return row, None
        attempts = self._rowcall.table("attempts").select("partial")
        running = await _rows(attempts.eq("generation_id", id).eq("attempt", row["attempt"]))
        return row, running[0]["partial"] if running else None

    @property
    def _rowcall(self) -> AsyncPostgrestClient:
        return self.supabase.schema(
            "rowcall"
        )  # anew each time: the SDK replaces its client when the token is refreshed


def _pages(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[first : first + size] for first in range(0, len(items), size))


async def _rows(query: Any) -> list[dict[str, Any]]:
    return list(await _answer(query))


async def _answer(query: Any) -> Any:
    """What a query of the SDK answers. Raises RequestRefused."""
    try:
        return (await query.execute()).data
    except APIError as error:
        hint = f" {error.hint}" if error.hint else ""
        raise RequestRefused(f"{error.message} ({error.code}).{hint}") from error
    except httpx.HTTPError as error:
        raise RequestRefused(f"the project does not answer: {type(error).__name__} {error}") from error


async def _sign_in(supabase: AsyncClient, email: str, password: str, *, sign_up: bool) -> None:
    """Leaves the client with a session, and Realtime with its token."""
    try:
        if sign_up:
            await _sign_up(supabase, email, password)
        session = await supabase.auth.get_session()
        if session is None:
            session = (await supabase.auth.sign_in_with_password({"email": email, "password": password})).session
    except (AuthError, httpx.HTTPError) as error:
        raise RequestRefused(f"{email} cannot sign in: {error}") from error
    if session is None:
        raise RequestRefused(f"{email} has no session: does the project ask for confirmation by e-mail?")
    await supabase.realtime.set_auth(session.access_token)


async def _sign_up(supabase: AsyncClient, email: str, password: str) -> None:
    try:
        await supabase.auth.sign_up({"email": email, "password": password})
    except AuthApiError as error:
        if error.code not in ALREADY_THERE:
            raise
