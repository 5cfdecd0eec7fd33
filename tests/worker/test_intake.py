"""The intake on a real queue: whatever it refuses, nothing is enqueued."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from arq.connections import ArqRedis
from prometheus_client import generate_latest
from starlette.applications import Starlette

from tests.valkey import Valkey
from tests.worker.queue.wires import wire_to
from worker.adapters.memory import MemoryCancels, MemoryQueue
from worker.intake import Bounds, create_intake, why_unready
from worker.ports import Hint, Queue
from worker.queue.arq_queue import ArqQueue
from worker.queue.connecting import connected
from worker.serving import serving
from worker.telemetry import Metrics

NOW_S = 1_780_000_000.0
SECRETS = ["new secret", "old secret"]
JSON = {"content-type": "application/json"}
BOUNDS = Bounds(max_body_bytes=2_000, max_backlog=5)


def rows(*ids: str) -> bytes:
    hints = [{"id": id, "attempt": 0, "kind": "answer", "lane": "interactive", "tenant": None} for id in ids]
    return json.dumps({"type": "INSERT", "schema": "rowcall", "table": "generations", "rows": hints}).encode()


def change(id: str, **more: Any) -> bytes:
    record = {"id": id, "attempt": 0, "kind": "answer", "lane": "interactive", "tenant": None, "status": "queued"}
    record |= {"run_at": "2026-01-01T00:00:00+00:00", "input": {"question": "?"}}
    body = {"type": "INSERT", "schema": "rowcall", "table": "generations", "record": record, "old_record": None}
    return json.dumps(body | more).encode()


def signed(body: bytes, *, secret: str = SECRETS[0], stamp: int = int(NOW_S)) -> dict[str, str]:
    code = hmac.new(secret.encode(), b"%d." % stamp + body, hashlib.sha256).hexdigest()
    return {**JSON, "x-rowcall-signature": f"t={stamp},v1={code}"}


def with_secret(secret: str = SECRETS[0]) -> dict[str, str]:
    return {**JSON, "x-rowcall-secret": secret}


def new_id() -> str:
    return str(uuid4())


@pytest.fixture
def queue(redis: ArqRedis) -> ArqQueue:
    return ArqQueue(redis)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def intake_on(
    queue: Queue, metrics: Metrics, bounds: Bounds = BOUNDS, *, cancels: MemoryCancels | None = None
) -> Starlette:
    return create_intake(
        queue, cancels or MemoryCancels(), metrics, secrets=SECRETS, bounds=bounds, clock=lambda: NOW_S
    )


def client_of(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://intake")


@pytest.fixture
async def client(queue: ArqQueue, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(intake_on(queue, metrics)) as client:
        yield client


async def post(client: httpx.AsyncClient, body: Any, headers: dict[str, str]) -> httpx.Response:
    return await client.post("/webhooks/supabase", content=body, headers=headers)


# Accepted


async def test_signed_rows_are_enqueued(client: httpx.AsyncClient, queue: ArqQueue) -> None:
    body = rows(new_id(), new_id())
    answer = await post(client, body, signed(body))
    assert (answer.status_code, answer.json()) == (202, {"enqueued": 2})
    assert await queue.depth() == 2


async def test_a_database_webhook_with_the_shared_secret_is_enqueued(
    client: httpx.AsyncClient, queue: ArqQueue
) -> None:
    answer = await post(client, change(new_id()), with_secret())
    assert (answer.status_code, answer.json()) == (202, {"enqueued": 1})
    assert await queue.depth() == 1


async def test_both_secrets_are_good_while_they_are_rotated(client: httpx.AsyncClient, queue: ArqQueue) -> None:
    for secret in SECRETS:
        body = rows(new_id())
        assert (await post(client, body, signed(body, secret=secret))).status_code == 202
        assert (await post(client, change(new_id()), with_secret(secret))).status_code == 202
    assert await queue.depth() == 4


async def test_a_replay_changes_nothing(client: httpx.AsyncClient, queue: ArqQueue) -> None:
    body = rows(new_id())
    headers = signed(body)
    answers = [(await post(client, body, headers)).json() for _ in range(3)]
    assert answers == [{"enqueued": 1}, {"enqueued": 0}, {"enqueued": 0}]
    assert await queue.depth() == 1


async def test_a_cancel_is_announced_to_the_workers_and_enqueues_nothing(queue: ArqQueue, metrics: Metrics) -> None:
    id, cancels = new_id(), MemoryCancels()
    body = rows(id).replace(b"INSERT", b"CANCEL")
    async with client_of(intake_on(queue, metrics, cancels=cancels)) as client:
        answer = await post(client, body, signed(body))
    assert (answer.status_code, answer.json()) == (202, {"enqueued": 0})
    assert [hint.id for hint in cancels.announced] == [id]
    assert await queue.depth() == 0


@pytest.mark.parametrize("more", [{"type": "UPDATE"}, {"type": "DELETE", "record": None}])
async def test_a_change_that_makes_no_work_is_accepted_and_enqueues_nothing(
    client: httpx.AsyncClient, queue: ArqQueue, more: dict[str, Any]
) -> None:
    answer = await post(client, change(new_id(), **more), with_secret())
    assert (answer.status_code, answer.json()) == (202, {"enqueued": 0})
    assert await queue.depth() == 0


async def test_a_row_for_later_becomes_due_later(metrics: Metrics) -> None:
    clock_s = 0.0
    queue = MemoryQueue(lambda: clock_s)
    body = json.loads(change(new_id()))
    body["record"]["run_at"] = "2026-05-28T20:28:00+00:00"  # 1_780_000_080
    async with client_of(intake_on(queue, metrics)) as client:
        assert (await post(client, json.dumps(body), with_secret())).json() == {"enqueued": 1}
    assert await queue.take(1) == ()
    clock_s = 81.0
    assert len(await queue.take(1)) == 1


async def test_a_charset_beside_the_content_type_is_fine(client: httpx.AsyncClient) -> None:
    body = rows(new_id())
    headers = signed(body) | {"content-type": "Application/JSON; charset=utf-8"}
    assert (await post(client, body, headers)).status_code == 202


async def test_a_body_of_exactly_the_largest_size_is_accepted(client: httpx.AsyncClient, queue: ArqQueue) -> None:
    body = rows(new_id()).ljust(BOUNDS.max_body_bytes)
    assert (await post(client, body, signed(body))).status_code == 202
    assert await queue.depth() == 1


# Refused


@pytest.mark.parametrize(
    ("headers_for", "status", "code"),
    [
        (lambda _: JSON, 401, "webhook.unauthorized"),
        (lambda _: with_secret("a guess"), 401, "webhook.unauthorized"),
        (lambda _: with_secret(""), 401, "webhook.unauthorized"),
        (lambda body: signed(body, secret="a guess"), 401, "webhook.unauthorized"),
        (lambda body: signed(body + b" "), 401, "webhook.unauthorized"),
        (lambda body: signed(body, stamp=int(NOW_S) - 301), 401, "webhook.unauthorized"),
        (lambda body: signed(body, stamp=int(NOW_S) + 301), 401, "webhook.unauthorized"),
        (lambda _: {**JSON, "x-rowcall-signature": ""}, 401, "webhook.unauthorized"),
        # A signature that is wrong is not made good by a secret beside it.
        (lambda body: signed(body, secret="a guess") | with_secret(), 401, "webhook.unauthorized"),
        (lambda body: signed(body) | {"content-type": "text/plain"}, 415, "webhook.not_json"),
        (lambda body: {k: v for k, v in signed(body).items() if k != "content-type"}, 415, "webhook.not_json"),
    ],
)
async def test_who_may_not_send_is_refused(
    client: httpx.AsyncClient,
    queue: ArqQueue,
    headers_for: Callable[[bytes], dict[str, str]],
    status: int,
    code: str,
) -> None:
    body = rows(new_id())
    answer = await post(client, body, headers_for(body))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await queue.depth() == 0


async def test_who_may_not_send_learns_nothing_of_what_is_wrong(client: httpx.AsyncClient) -> None:
    for headers in (JSON, with_secret("a guess"), signed(b"other")):
        assert (await post(client, b"no json", headers)).status_code == 401


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff\xfe", "body"),
        (rows("not-a-uuid"), "rows.0.id"),
        (rows(str(uuid4()))[:-4] + b"}]}", "body"),
        (rows().replace(b"rowcall", b"public"), "'public'"),
    ],
)
async def test_a_malformed_body_is_refused_with_the_field_that_is_wrong(
    client: httpx.AsyncClient, queue: ArqQueue, body: bytes, named: str
) -> None:
    answer = await post(client, body, signed(body))
    assert (answer.status_code, answer.json()["code"]) == (400, "webhook.malformed")
    assert named in answer.json()["message"]
    assert await queue.depth() == 0


async def test_one_wrong_row_refuses_them_all(client: httpx.AsyncClient, queue: ArqQueue) -> None:
    body = rows(new_id(), "not-a-uuid")
    assert (await post(client, body, signed(body))).status_code == 400
    assert await queue.depth() == 0


async def test_a_malformed_database_webhook_is_refused(client: httpx.AsyncClient, queue: ArqQueue) -> None:
    answer = await post(client, change(new_id(), table="users"), with_secret())
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "table: Input should be 'generations' (it is 'users')",
    )
    assert await queue.depth() == 0


async def test_a_body_that_is_too_large_is_refused(client: httpx.AsyncClient, queue: ArqQueue) -> None:
    body = rows(new_id()).ljust(BOUNDS.max_body_bytes + 1)
    answer = await post(client, body, signed(body))
    assert (answer.status_code, answer.json()["code"]) == (413, "webhook.too_large")
    assert await queue.depth() == 0


async def test_a_body_without_a_stated_length_is_counted_as_it_comes(
    client: httpx.AsyncClient, queue: ArqQueue
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1
            yield b" " * 500

    answer = await post(client, endless(), with_secret())
    assert answer.status_code == 413
    assert sent < 10
    assert await queue.depth() == 0


async def test_other_methods_and_paths_are_not_there(client: httpx.AsyncClient) -> None:
    assert (await client.get("/webhooks/supabase")).status_code == 405
    assert (await client.post("/webhooks/other")).status_code == 404
    assert (await client.get("/metrics")).status_code == 404


async def test_a_backlog_at_its_limit_is_refused_until_it_is_worked_off(
    client: httpx.AsyncClient, queue: ArqQueue, redis: ArqRedis
) -> None:
    await queue.enqueue([Hint(new_id(), 0, "answer", "bulk", None) for _ in range(BOUNDS.max_backlog)])
    body = rows(new_id())
    answer = await post(client, body, signed(body))
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "queue.full", "5")
    assert await queue.depth() == BOUNDS.max_backlog
    await redis.flushall()
    assert (await post(client, body, signed(body))).status_code == 202


async def test_a_redis_that_is_away_is_a_503_and_works_again_afterwards(mortal: Valkey, metrics: Metrics) -> None:
    async with connected(mortal.url) as redis, client_of(intake_on(ArqQueue(redis), metrics)) as client:
        body = rows(new_id())
        mortal.kill()
        answer = await post(client, body, signed(body))
        assert (answer.status_code, answer.json()["code"]) == (503, "queue.unavailable")
        assert int(answer.headers["retry-after"]) > 0
        mortal.start()
        assert await ArqQueue(redis).depth() == 0
        assert (await post(client, body, signed(body))).json() == {"enqueued": 1}


# Readiness: whoever asks is told what a webhook would be told


async def test_intake_is_ready_while_the_queue_takes_hints(redis: ArqRedis, queue: ArqQueue) -> None:
    assert await why_unready(queue, BOUNDS) == ()
    await queue.enqueue([Hint(new_id(), 0, "answer", "interactive", None) for _ in range(BOUNDS.max_backlog)])
    assert await why_unready(queue, BOUNDS) == ("queue.full",)
    await redis.flushall()
    assert await why_unready(queue, BOUNDS) == ()


async def test_intake_is_unready_while_redis_may_be_read_and_takes_nothing(redis: ArqRedis, queue: ArqQueue) -> None:
    await redis.config_set("maxmemory", "1")
    try:
        assert await queue.depth() == 0
        assert await why_unready(queue, BOUNDS) == ("queue.unavailable",)
    finally:
        await redis.config_set("maxmemory", "0")


async def test_intake_is_unready_while_redis_is_away_or_swallows_everything(mortal: Valkey) -> None:
    async with wire_to(mortal) as wire, connected(wire.url) as redis:
        queue = ArqQueue(redis)
        assert await why_unready(queue, BOUNDS) == ()
        wire.is_open = False
        assert await why_unready(queue, BOUNDS) == ("queue.unavailable",)
        wire.is_open = True
        mortal.kill()
        assert await why_unready(queue, BOUNDS) == ("queue.unavailable",)
        mortal.start()
        assert await why_unready(queue, BOUNDS) == ()


async def test_a_refusal_is_counted_by_its_code(client: httpx.AsyncClient, metrics: Metrics) -> None:
    body = rows(new_id())
    await post(client, body, JSON)
    await post(client, body, signed(body))
    shown = generate_latest(metrics.registry).decode()
    assert 'rowcall_webhooks_refused_total{code="webhook.unauthorized"} 1.0' in shown
    assert 'rowcall_hints_enqueued_total{by="webhook"} 1.0' in shown


@pytest.mark.parametrize("secrets", [[], [""], ["good", ""]])
def test_an_intake_without_a_secret_is_not_made(secrets: list[str], metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="secret"):
        create_intake(MemoryQueue(), MemoryCancels(), metrics, secrets=secrets, bounds=BOUNDS)


# Over a socket


async def test_a_client_that_hangs_up_in_the_middle_enqueues_nothing(queue: ArqQueue, metrics: Metrics) -> None:
    async with serving(intake_on(queue, metrics), host="127.0.0.1", port=0, name="intake") as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        body = rows(new_id())
        lines = ["POST /webhooks/supabase HTTP/1.1", "host: intake", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in signed(body).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body[:-1])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await post(client, body, signed(body))).json() == {"enqueued": 1}
    assert await queue.depth() == 1


async def test_a_large_body_over_a_socket_gets_its_answer(queue: ArqQueue, metrics: Metrics) -> None:
    bounds = Bounds(max_body_bytes=300_000)
    async with (
        serving(intake_on(queue, metrics, bounds), host="127.0.0.1", port=0, name="intake") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        fits = rows(new_id()).ljust(300_000)
        assert (await post(client, fits, signed(fits))).status_code == 202
        assert (await post(client, fits + b" ", signed(fits + b" "))).status_code == 413


async def test_a_body_that_does_not_come_is_given_up(queue: ArqQueue, metrics: Metrics) -> None:
    intake = intake_on(queue, metrics, Bounds(body_timeout_s=0.05))
    async with serving(intake, host="127.0.0.1", port=0, name="intake") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "POST /webhooks/supabase HTTP/1.1\r\nhost: intake\r\ncontent-length: 10\r\n"
        writer.write((head + f"x-rowcall-secret: {SECRETS[0]}\r\n\r\n{{").encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()
    assert await queue.depth() == 0
