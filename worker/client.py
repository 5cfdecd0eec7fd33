"""The Python client: insert a row, watch its answer arrive.

    async with Rowcall(url, key, email=…, password=…) as rowcall:
        async for delta in rowcall.stream("How long does a lease last?"):
            print(delta, end="")

It is an ordinary client of the project: everything it does, it may do by the signed-in user's own policies; with the
secret key it is the project itself, whose rows are nobody's.
"""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx
from postgrest import AsyncPostgrestClient
from supabase import AsyncClient, AsyncClientOptions, AuthApiError, AuthError, acreate_client
from supabase.types import RealtimeClientOptions

from worker.following import Update, follow
from worker.refusals import RequestRefused, answered, rows
from worker.transcript import TERMINAL

__all__ = ["Delta", "NotAnswered", "RequestRefused", "Rowcall", "Update"]

PAGE = 100  # ids in one request
REQUEST_TIMEOUT_S = 30.0
RECONNECTIONS = 10_000  # of Realtime, a minute apart at most: the SDK's own 5 would give up after 15 s
ALREADY_THERE = frozenset({"user_already_exists", "email_exists"})
ANSWERED = frozenset({"succeeded", "review"})


class NotAnswered(Exception):
    """The row has ended without an answer: failed, refused or canceled. `row` is the whole row."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        error = row["error"] or {"code": row["status"], "message": "the generation was ended by its owner"}
        super().__init__(f"{error['code']}: {error['message']}")
        self.row = row


@dataclass(frozen=True, slots=True)
class Delta:
    """New text. As a string it is `text`."""

    text: str
    whole: str  # all of it, this text included
    begins_again: bool = False  # what came before is void: another attempt began, or the row says otherwise
    row: Mapping[str, Any] | None = None  # the whole row, with the last delta, whose text may be empty

    def __str__(self) -> str:
        return self.text


class Rowcall:
    """A view of a project's Rowcall: a user's, by e-mail and password or by an access token; without, the key's own.

    `sign_up` makes the user first; one that exists is signed in.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        email: str | None = None,
        password: str | None = None,
        access_token: str | None = None,
        sign_up: bool = False,
    ) -> None:
        self.supabase: AsyncClient
        self._url = url
        self._key = key
        self._account = (email, password) if email is not None and password is not None else None
        self._access_token = access_token
        self._sign_up = sign_up
        self._closing = AsyncExitStack()

    @classmethod
    def signed_in(cls, url: str, key: str, *, email: str, password: str, sign_up: bool = False) -> Self:
        """The view of a user with a session of their own."""
        return cls(url, key, email=email, password=password, sign_up=sign_up)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            http = await opening.enter_async_context(httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S))
            options = AsyncClientOptions(
                httpx_client=http, persist_session=False, realtime=RealtimeClientOptions(max_retries=RECONNECTIONS)
            )
            if self._access_token is not None:
                options.headers["Authorization"] = f"Bearer {self._access_token}"
            self.supabase = await acreate_client(self._url, self._key, options)
            opening.push_async_callback(self.supabase.realtime.close)
            if self._account is not None:
                await _sign_in(self.supabase, *self._account, sign_up=self._sign_up)
                opening.push_async_callback(self.supabase.auth.sign_out, {"scope": "local"})
            elif self._access_token is not None:
                await self.supabase.realtime.set_auth(self._access_token)
            self._closing = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._closing.aclose()

    async def renew(self, access_token: str) -> None:
        """Goes on under a new token of the same user, watches included; to be called before the last one expires.

        For tokens that come from elsewhere: a session by e-mail and password is refreshed by the SDK.
        """
        self.supabase.options.headers["Authorization"] = f"Bearer {access_token}"
        self.supabase.postgrest.auth(access_token)
        await self.supabase.realtime.set_auth(access_token)

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
        inserted = await rows(self._rowcall.table("generations").insert(row))
        return str(inserted[0]["id"])

    async def stream(self, question: str, options: Mapping[str, Any] | None = None) -> AsyncIterator[Delta]:
        """Inserts the question; its answer, piece by piece. Raises NotAnswered where it ends without one."""
        id = await self.submit({"question": question}, options=options)
        async for delta in self.deltas(id):
            yield delta

    async def deltas(self, id: str) -> AsyncIterator[Delta]:
        """What `stream` gives, of a row that is there."""
        given = ""
        async for update in self.watch(id):
            if update.row is not None and update.status not in ANSWERED:
                raise NotAnswered(update.row)
            goes_on = update.text.startswith(given)
            text = update.text[len(given) :] if goes_on else update.text
            given = update.text
            if text or not goes_on or update.row is not None:
                yield Delta(text, update.text, begins_again=not goes_on, row=update.row)

    async def ask(self, question: str, **options: Any) -> AsyncIterator[Update]:
        """Inserts the question and watches its row to the end."""
        id = await self.submit({"question": question}, options=options)
        async for update in self.watch(id):
            yield update

    def watch(self, id: str) -> AsyncIterator[Update]:
        """Updates until the row has ended; each brings more text or another status."""
        return follow(self.supabase, id)

    async def wait(self, id: str) -> Update:
        """The row once it has ended."""
        async for update in self.watch(id):
            last = update
        return last

    async def cancel(self, id: str) -> bool:
        """False: it had ended, or is not this user's."""
        return bool(await self._call("cancel_generation", id=id))

    async def rate(self, id: str, *, good: bool, comment: str | None = None) -> None:
        """Says what the answer was worth; said again it takes the place of what was said before."""
        rating = {"generation_id": id, "rating": 1 if good else -1, "comment": comment}
        await rows(self._rowcall.table("feedback").upsert(rating, on_conflict="generation_id,user_id"))

    async def rated_well(self, kind: str, *, days: int) -> list[dict[str, Any]]:
        """The input and answer of the user's own rows that the user rated well in these days, the latest rating first;
        at most 1,000.
        """
        since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        ratings = self._rowcall.table("feedback").select("generation_id").eq("rating", 1).gte("created_at", since)
        rated = await rows(ratings.order("created_at", desc=True).limit(1000))
        ids = [rating["generation_id"] for rating in rated]
        found = dict[str, dict[str, Any]]()
        for page in _pages(ids, PAGE):
            query = self._rowcall.table("generations").select("id, input, answer").in_("id", page)
            found |= {row["id"]: row for row in await rows(query.eq("kind", kind).eq("status", "succeeded"))}
        return [found[id] for id in ids if id in found]

    async def put_documents(self, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Writes documents, known by their source: new ones, and those that changed, are ingested.

        `id`, `source` and `generation_id` of each; that generation's status is the document's.
        """
        table = self._rowcall.table("documents")
        values = [dict(document) for document in documents]
        written = await rows(table.upsert(values, on_conflict="user_id,source").select("id"))
        ids = [row["id"] for row in written]
        return await rows(table.select("id, source, generation_id").in_("id", ids))

    async def known_documents(self, sources: Sequence[str]) -> list[dict[str, Any]]:
        """The user's own documents of those sources, without their content: see `known_documents` in SQL."""
        return list(await self._call("known_documents", sources=list(sources)))

    async def ingest_again(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Ingests own documents once more that did not change; answers as `put_documents`."""
        return list(await self._call("ingest_again", documents=list(ids))) if ids else []

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
            ended |= {row["id"]: row for row in await rows(query)}
        return ended

    async def claims(self) -> dict[str, Any]:
        """What the user's token says of him; nothing where the key acts for itself."""
        session = await self.supabase.auth.get_session() if self._account else None
        token = self._access_token if session is None else session.access_token
        if token is None:
            return {}
        payload = token.split(".")[1]
        claims: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims

    async def _call(self, function: str, **arguments: Any) -> Any:
        return await answered(self._rowcall.rpc(function, arguments))

    @property
    def _rowcall(self) -> AsyncPostgrestClient:
        # anew each time: the SDK replaces its client when the token is refreshed
        return self.supabase.schema("rowcall")


def _pages(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[first : first + size] for first in range(0, len(items), size))


async def _sign_in(supabase: AsyncClient, email: str, password: str, *, sign_up: bool) -> None:
    """Leaves the client with a session, and Realtime with its token."""
    try:
        if sign_up:
            await _sign_up(supabase, email, password)
        session = await supabase.auth.get_session()
        if session is None:
            session = (await supabase.auth.sign_in_with_password({"email": email, "password": password})).session
    except (AuthError, httpx.HTTPError) as error:
        raise RequestRefused(f"{email} cannot sign in to {supabase.supabase_url}: {error}") from error
    if session is None:
        raise RequestRefused(f"{email} has no session: does the project ask for confirmation by e-mail?")
    await supabase.realtime.set_auth(session.access_token)


async def _sign_up(supabase: AsyncClient, email: str, password: str) -> None:
    """Makes the user where there is none. Two who do it at once are told apart by the database: to one of them Auth
    answers 500, and the sign-in that follows finds the other's user. Had Auth another trouble, it fails too.
    """
    try:
        await supabase.auth.sign_up({"email": email, "password": password})
    except AuthApiError as error:
        if error.code not in ALREADY_THERE and error.status != httpx.codes.INTERNAL_SERVER_ERROR:
            raise
