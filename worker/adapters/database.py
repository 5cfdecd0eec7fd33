"""Schema `rowcall` through the supabase SDK: its functions called, and what their errors mean for a job."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions, Client, ClientOptions

from jobs.errors import AttemptLost, JobError, Permanent, Retryable, Superseded
from worker.storable import storable

SCHEMA = "rowcall"


class QueryFailed(Retryable):
    """The database gave up on this very call (HTTP 500). In a batch one item may be the cause: a slow target, say."""


class ValuesRefused(Permanent):
    """Postgres refused the values of this call, with an SQLSTATE."""


class Database:
    """Made by `connected`. Errors name the function and a code, never an argument or a row."""

    def __init__(self, http: httpx.AsyncClient, supabase: AsyncClient, for_a_thread: Client) -> None:
        self.http = http
        self._schema = supabase.schema(SCHEMA)
        self._schema_for_a_thread = for_a_thread.schema(SCHEMA)

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """The function's answer as JSON. Raises Retryable, Permanent, AttemptLost or Superseded."""
        try:
            answer = await self._schema.rpc(function, storable(arguments)).execute()
        except (httpx.HTTPError, APIError) as error:
            raise translated(error, function) from error
        return answer.data

    def call_from_thread(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """The same, blocking, over a connection of its own: for one thread beside the event loop."""
        try:
            answer = self._schema_for_a_thread.rpc(function, storable(arguments)).execute()
        except (httpx.HTTPError, APIError) as error:
            raise translated(error, function) from error
        return answer.data

    async def select(self, table: str, column: str, matching: Mapping[str, str | int]) -> list[Any]:
        """That column of the rows whose columns equal the values given. Raises Retryable or Permanent."""
        query = self._schema.from_(table).select(column)
        for name, value in matching.items():
            query = query.eq(name, value)
        try:
            answer = await query.execute()
        except (httpx.HTTPError, APIError) as error:
            raise translated(error, table) from error
        rows: Any = answer.data
        return [row[column] for row in rows]


@asynccontextmanager
async def connected(
    url: str, secret_key: str, *, timeout_s: float = 10.0, thread_timeout_s: float = 5.0
) -> AsyncIterator[Database]:
    """Connections that are kept alive while the block runs. `timeout_s` bounds connecting, each read and each write;
    `thread_timeout_s` those of `call_from_thread`.
    """
    # HTTP/1.1: one connection for all calls, as with HTTP/2, is one that all calls lose together.
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32, keepalive_expiry=60.0)
    options: dict[str, Any] = {
        "auto_refresh_token": False,
        "persist_session": False,
        "postgrest_client_retry": False,  # one owner of retries: the executor, and SupabaseRows for write-backs
    }
    async with httpx.AsyncClient(
        timeout=timeout_s, limits=limits, event_hooks={"response": [raise_when_unavailable]}
    ) as http:
        with httpx.Client(timeout=thread_timeout_s, event_hooks={"response": [raise_in_thread]}) as thread_http:
            yield Database(
                http,
                AsyncClient(url, secret_key, AsyncClientOptions(httpx_client=http, **options)),
                Client(url, secret_key, ClientOptions(httpx_client=thread_http, **options)),
            )


async def raise_when_unavailable(response: httpx.Response) -> None:
    """The SDK's errors lose the HTTP status, which alone tells an outage from a refusal."""
    if is_unavailable(response):
        await response.aread()  # otherwise the connection could not be kept
        response.raise_for_status()


def raise_in_thread(response: httpx.Response) -> None:
    if is_unavailable(response):
        response.read()
        response.raise_for_status()


def is_unavailable(response: httpx.Response) -> bool:
    return response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error


AUTOMATION = "rowcall.generate: "


def translated(error: httpx.HTTPError | APIError, called: str) -> JobError:
    match error:
        case httpx.HTTPStatusError(response=response) if response.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            return QueryFailed("database.failed", f"{called} answered HTTP 500")
        case httpx.HTTPStatusError(response=response):
            message = f"{called} answered HTTP {response.status_code}"
            return Retryable("database.unavailable", message, wait_s=retry_after_s(response))
        case httpx.HTTPError():
            return Retryable("database.unavailable", f"{called}: {type(error).__name__}")
        case _:
            return refusal(error, called)


def refusal(error: APIError, called: str) -> JobError:
    """Our functions say what happened at the start of a message with code PT409; every other text may quote a row."""
    happened = (error.message or "").partition(":")[0] if error.code == "PT409" else None
    match happened:
        case "attempt.lost":
            return AttemptLost(f"{called} says so")
        case "document.superseded":
            return Superseded(f"{called} says so")
        case "document.incomplete":  # its chunks were deleted meanwhile: another attempt reads and embeds them again
            return Retryable("document.incomplete", "chunks have lost their embeddings")
    if error.code == "22023" and (error.message or "").startswith(AUTOMATION):  # it names tables and columns
        return Permanent("automation.invalid", str(error.message).removeprefix(AUTOMATION))
    if (error.code or "").startswith("PGRST2"):  # function or table not found: a deployment under way, a stale cache
        return Retryable("database.outdated", f"{called} is not there ({error.code})")
    if error.code == "PT400" and called == "begin_generation_v1":  # names field and value of the asker's own row
        return ValuesRefused("database.refused", str(error.message))
    refused = ValuesRefused if re.fullmatch(r"[0-9A-Z]{5}", error.code or "") else Permanent
    return refused("database.refused", f"{called} was refused ({error.code})")


def retry_after_s(response: httpx.Response) -> float | None:
    """The header's seconds; its other form, a date, is not used by these servers."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
