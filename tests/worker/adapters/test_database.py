"""How errors of the SDK, of httpx and of the server become errors of a job."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from jobs.errors import AttemptLost, JobError, Permanent, Retryable
from worker.adapters.database import Database, QueryFailed, ValuesRefused, connected
from worker.local.ports import free_port
from worker.local.stack import Stack

SECRET = "sb_secret_of_the_test"
PRIVATE = "what the user asked in confidence"
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(reply: Reply) -> AsyncIterator[str]:
    """A server that replies to every request in that way; its URL."""
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        await reader.readuntil(b"\r\n\r\n")
        await reply(writer)

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = running.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        for writer in connections:
            writer.close()
        running.close()
        await running.wait_closed()


def answering(status: str, body: str, *headers: str) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        lines = (f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers, "", body)
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        writer.close()

    return reply


async def hang(_writer: asyncio.StreamWriter) -> None:
    """Accepts, and never answers."""


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def error_of(url: str, *, timeout_s: float = 10.0) -> JobError:
    async with connected(url, SECRET, timeout_s=timeout_s) as database:
        with pytest.raises(JobError) as raised:
            await database.call("finish_generations_v4", {"results": [{"answer": PRIVATE}]})
    assert PRIVATE not in str(raised.value)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is not None
    return raised.value


async def test_a_closed_port_is_retryable() -> None:
    error = await error_of(f"http://127.0.0.1:{free_port()}")
    assert isinstance(error, Retryable)
    assert error.code == "database.unavailable"


async def test_a_server_that_hangs_is_retryable_once_the_timeout_is_over() -> None:
    async with server(hang) as url:
        error = await error_of(url, timeout_s=0.2)
    assert isinstance(error, Retryable)
    assert "ReadTimeout" in error.message


async def test_a_connection_that_is_closed_without_an_answer_is_retryable() -> None:
    async with server(hang_up) as url:
        assert isinstance(await error_of(url), Retryable)


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout", "520 Unknown"])
async def test_an_outage_behind_the_gateway_is_retryable(status: str) -> None:
    async with server(answering(status, "<html>try later</html>")) as url:
        error = await error_of(url)
    assert isinstance(error, Retryable)
    assert not isinstance(error, QueryFailed)
    assert status[:3] in error.message


@pytest.mark.parametrize("body", ['{"code":"57014","message":"' + PRIVATE + '"}', "oops"])
async def test_a_query_that_failed_is_retryable_and_told_from_an_outage(body: str) -> None:
    async with server(answering("500 Internal Server Error", body)) as url:
        assert isinstance(await error_of(url), QueryFailed)


@pytest.mark.parametrize(("header", "wait_s"), [("3", 3.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
async def test_too_many_requests_is_retryable_after_what_the_server_says(header: str, wait_s: float | None) -> None:
    async with server(answering("429 Too Many Requests", "{}", f"retry-after: {header}")) as url:
        error = await error_of(url)
    assert isinstance(error, Retryable)
    assert error.wait_s == wait_s


@pytest.mark.parametrize(
    ("code", "message", "becomes"),
    [
        ("PT409", "attempt.lost: generation 1 is not running attempt 2", AttemptLost),
        ("PT409", "document.incomplete: 3 chunks", Retryable),
        ("PT409", PRIVATE, ValuesRefused),
        ("22P02", f'invalid input syntax for type integer: "{PRIVATE}"', ValuesRefused),
        ("PGRST202", "Could not find the function", Retryable),
        ("PGRST301", "JWT expired", Permanent),
    ],
)
async def test_a_refusal_is_told_by_its_code(code: str, message: str, becomes: type[JobError]) -> None:
    body = (
        f'{{"code":"{code}","message":"{message.replace(chr(34), "")}","details":"Failing row contains ({PRIVATE})"}}'
    )
    async with server(answering("409 Conflict", body)) as url:
        error = await error_of(url)
    assert type(error) is becomes


async def test_a_key_that_nobody_knows_is_permanent(stack: Stack) -> None:
    error = await error_of(stack.url)
    assert isinstance(error, Permanent)
    assert not isinstance(error, ValuesRefused)


async def test_a_function_that_the_migrations_do_not_have_is_worth_another_attempt(database: Database) -> None:
    with pytest.raises(Retryable) as raised:
        await database.call("finish_generations_v9", {})
    assert raised.value.code == "database.outdated"


async def test_a_value_that_postgres_refuses_is_not_quoted(database: Database) -> None:
    with pytest.raises(ValuesRefused) as raised:
        await database.call("finish_generations_v4", {"results": [{"id": PRIVATE}]})
    assert PRIVATE not in str(raised.value)


async def test_a_row_that_is_begun_and_not_accepted_names_field_and_value(database: Database) -> None:
    born = [{"claims": {"role": "anon"}, "kind": "nope", "input": {"question": PRIVATE}, "options": {}}]
    with pytest.raises(ValuesRefused, match=r"kind must be one of answer, .*, not nope") as raised:
        await database.call("begin_generation_v1", {"born": born, "worker": "w", "lease_s": 9, "opens": []})
    assert PRIVATE not in str(raised.value)


async def test_a_timeout_of_one_call_leaves_the_connections_usable(stack: Stack) -> None:
    async with connected(stack.url, stack.secret_key, timeout_s=10.0) as database:
        patient, database.http.timeout = database.http.timeout, 0.000_001
        with pytest.raises(Retryable):
            await database.call("due_generations_v1", {"grace_s": 0, "max_rows": 1})
        database.http.timeout = patient
        assert isinstance(await database.call("due_generations_v1", {"grace_s": 0, "max_rows": 1}), list)
