"""A generation's row, followed to its end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from realtime import AsyncRealtimeChannel
from realtime.types import (
    RealtimeChannelBroadcastConfig,
    RealtimeChannelConfig,
    RealtimeChannelPresenceConfig,
    RealtimePostgresChangesListenEvent,
)
from supabase import AsyncClient

from worker.refusals import RequestRefused, Unreachable, rows
from worker.transcript import TERMINAL, Transcript

REREAD_S = 5.0  # an unfinished row is read again after so long a silence, whatever Realtime says or does not
GAP_REREAD_S = 0.5  # and after this one while text is missing
APART_REREAD_S = 1.0  # and this often while Realtime is away
READ_S = 10.0  # for one read: the SDK would wait for half a minute, four times over
GIVE_UP_S = 60.0  # a project that did not answer for so long is gone
CHANNEL = RealtimeChannelConfig(
    private=True,
    broadcast=RealtimeChannelBroadcastConfig(ack=False, self=False),
    presence=RealtimeChannelPresenceConfig(key="", enabled=False),
)


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


_Event = _Delta | _Running | _Reread


async def follow(supabase: AsyncClient, id: str) -> AsyncIterator[Update]:
    """Updates until the row has ended; each brings more text or another status.

    Subscribes, then reads the row, then applies deltas. Realtime may lose any of them, or be away altogether: a gap, a
    reconnect or a silence leads to a read of the row, which is the record. Raises RequestRefused.
    """
    watching = _Watch(supabase, id)
    try:
        async for update in watching.updates():
            yield update
    finally:
        await watching.close()


class _Watch:
    def __init__(self, supabase: AsyncClient, id: str) -> None:
        self._supabase = supabase
        self._id = id
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self._unanswered_since_s: float | None = None
        self._gap_since_s: float | None = None
        self._is_reread_waiting = False  # in the events: one tells as much as many
        self._channel = self._make_channel()
        self._joining = asyncio.create_task(self._channel.subscribe(lambda *_state: self._reread()))

    async def close(self) -> None:
        self._joining.cancel()
        await asyncio.gather(self._joining, return_exceptions=True)
        await self._supabase.realtime.remove_channel(self._channel)

    async def updates(self) -> AsyncIterator[Update]:
        transcript = Transcript()
        while True:
            event = await self._next(transcript)
            before, row = transcript, None
            match event:
                case _Delta(attempt, offset, text):
                    transcript = transcript.with_delta(attempt, offset, text)
                case _Running(attempt):
                    transcript = transcript.with_snapshot(attempt, "running", None, None)
                case _Reread() if read := await self._read():
                    row, partial = read
                    transcript = transcript.with_snapshot(row["attempt"], row["status"], partial, row["answer"])
            if transcript.is_finished:
                yield Update(self._id, transcript.status, transcript.attempt, transcript.text, row)
                return
            if transcript != before:
                yield Update(self._id, transcript.status, transcript.attempt, transcript.text)

    async def _next(self, transcript: Transcript) -> _Event:
        now_s = asyncio.get_running_loop().time()
        if not transcript.has_gap:
            self._gap_since_s = None
        elif self._gap_since_s is None:
            self._gap_since_s = now_s
        if self._gap_since_s is not None:  # deltas that go on behind a gap do not put its end off
            patience_s = self._gap_since_s + GAP_REREAD_S - now_s
        else:
            patience_s = REREAD_S if self._channel.is_joined else APART_REREAD_S
        event = await self._event_within(patience_s) if patience_s > 0 else _Reread()
        if isinstance(event, _Reread):
            self._is_reread_waiting, self._gap_since_s = False, None
        return event

    async def _event_within(self, patience_s: float) -> _Event:
        try:
            async with asyncio.timeout(patience_s):
                return await self._events.get()
        except TimeoutError:
            return _Reread()

    async def _read(self) -> tuple[Mapping[str, Any], str | None] | None:
        """The row, and the running attempt's text so far; None: the project does not answer just now."""
        try:
            async with asyncio.timeout(READ_S):
                return await self._read_now()
        except (Unreachable, TimeoutError) as error:
            now_s = asyncio.get_running_loop().time()
            self._unanswered_since_s = self._unanswered_since_s or now_s
            if now_s - self._unanswered_since_s > GIVE_UP_S:
                raise Unreachable(f"the project has not answered for {GIVE_UP_S:g} s") from error
            return None

    async def _read_now(self) -> tuple[Mapping[str, Any], str | None]:
        rowcall = self._supabase.schema("rowcall")  # anew: the SDK replaces its client when the token is refreshed
        found = await rows(rowcall.table("generations").select("*").eq("id", self._id))
        if not found:
            raise RequestRefused(f"generation {self._id} does not exist, or is not this user's")
        row, partial = found[0], None
        if row["status"] == "running":
            attempts = rowcall.table("attempts").select("partial")
            running = await rows(attempts.eq("generation_id", self._id).eq("attempt", row["attempt"]))
            partial = running[0]["partial"] if running else None
        self._unanswered_since_s = None
        return row, partial

    def _reread(self) -> None:
        if not self._is_reread_waiting:
            self._is_reread_waiting = True
            self._events.put_nowait(_Reread())

    def _make_channel(self) -> AsyncRealtimeChannel:
        def on_delta(message: Any) -> None:
            delta = message["payload"]
            self._events.put_nowait(_Delta(delta["attempt"], delta["offset"], delta["text"]))

        def on_change(change: Any) -> None:
            record = change["data"]["record"]
            running = record["status"] not in TERMINAL
            if running:
                self._events.put_nowait(_Running(record["attempt"]))
            else:
                self._reread()

        channel = self._supabase.channel(f"generation:{self._id}", {"config": CHANNEL})
        channel.on_broadcast("delta", on_delta)
        channel.on_broadcast("done", lambda _message: self._reread())
        channel.on_postgres_changes(
            RealtimePostgresChangesListenEvent.Update,
            on_change,
            table="generations",
            schema="rowcall",
            filter=f"id=eq.{self._id}",
        )
        return channel
