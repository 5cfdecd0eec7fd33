"""Insert a row, watch the answer arrive: real clients, real Postgres, Valkey, Realtime, webhooks, worker and model."""

import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import httpx
import psycopg
import pytest

from tests.e2e.conftest import LEASE_S, Model
from tests.waiting import async_until
from worker.client import RequestRefused, Rowcall, Update
from worker.local.stack import Stack

QUESTION = "What is the airspeed velocity of an unladen swallow?"


async def watched(rowcall: Rowcall, id: str) -> list[Update]:
    return [update async for update in rowcall.watch(id)]


def sql(stack: Stack, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.admin_db_url) as connection:
        return connection.execute(query, arguments).fetchall()


def outcomes(stack: Stack, id: str) -> list[str | None]:
    found = sql(stack, "select outcome from rowcall.attempts where generation_id = %s order by attempt", id)
    return [outcome for (outcome,) in found]


def assert_one_answer(stack: Stack, updates: Sequence[Update]) -> None:
    """The client saw one ending, and it is the row's; one attempt succeeded; the ledger has no call left open."""
    assert [u.is_finished for u in updates] == [False] * (len(updates) - 1) + [True]
    ending = updates[-1]
    assert ending.row is not None
    assert (ending.status, ending.text) == ("succeeded", ending.row["answer"])
    assert outcomes(stack, ending.id).count("succeeded") == 1
    assert sql(stack, "select count(*) from rowcall.calls where generation_id = %s and status = 'open'", ending.id) == [
        (0,)
    ]


def post_webhook(stack: Stack, body: bytes, secret: str) -> httpx.Response:
    stamp = str(int(time.time()))
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "x-rowcall-signature": f"t={stamp},v1={digest}"}
    return httpx.post(f"{stack.intake_url}/webhooks/supabase", content=body, headers=headers, timeout=10)


def hint(*ids: str) -> bytes:
    rows = [{"id": id, "attempt": 0, "kind": "answer", "lane": "interactive", "tenant": None} for id in ids]
    return json.dumps({"type": "INSERT", "schema": "rowcall", "table": "generations", "rows": rows}).encode()


async def test_an_inserted_question_is_answered_with_citations_while_the_client_watches(
    rowcall_stack: Stack, rowcall: Rowcall
) -> None:
    id = await rowcall.submit({"question": QUESTION})
    updates = await watched(rowcall, id)
    assert_one_answer(rowcall_stack, updates)
    row = updates[-1].row
    assert row is not None
    assert "eleven metres per second" in row["answer"]
    assert [c["source"] for c in row["citations"]] == ["swallows.md"]
    assert (row["route"], row["attempt"]) == ("default", 1)
    assert row["tokens_in"] > row["tokens_out"] > 0


async def test_the_text_grows_and_what_was_streamed_is_what_the_row_says(
    rowcall_stack: Stack, rowcall: Rowcall, model: Model
) -> None:
    await model.slow(0.05)
    id = await rowcall.submit({"question": QUESTION})
    updates = await watched(rowcall, id)
    assert_one_answer(rowcall_stack, updates)
    texts = [u.text for u in updates]
    assert len({t for t in texts if t}) > 5
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


async def test_a_question_without_an_answer_in_the_documents_is_answered_so(
    rowcall_stack: Stack, rowcall: Rowcall
) -> None:
    updates = await watched(rowcall, await rowcall.submit({"question": "Who wrote the Magna Carta?"}))
    assert_one_answer(rowcall_stack, updates)
    row = updates[-1].row
    assert row is not None
    assert row["citations"] == []
    assert "not know" in row["answer"]


async def test_nobody_finds_another_user_s_document(rowcall_stack: Stack, rowcall: Rowcall) -> None:
    stranger = Rowcall.signed_in(
        rowcall_stack.url,
        rowcall_stack.publishable_key,
        email=f"stranger-{time.time_ns()}@example.com",
        password="correct horse",
        sign_up=True,
    )
    async with stranger as client:
        updates = await watched(client, await client.submit({"question": QUESTION}))
        assert updates[-1].row is not None
        assert "eleven" not in updates[-1].row["answer"]
        assert updates[-1].row["citations"] == []
        id = await rowcall.submit({"question": QUESTION})
        with pytest.raises(RequestRefused, match="not this user's"):
            await client.wait(id)


async def test_a_dropped_webhook_only_delays_the_answer(rowcall_stack: Stack, rowcall: Rowcall) -> None:
    rowcall_stack.stop("intake")
    try:
        updates = await watched(rowcall, await rowcall.submit({"question": QUESTION}))
    finally:
        rowcall_stack.start("intake")
    assert_one_answer(rowcall_stack, updates)


async def test_a_doubled_webhook_makes_no_second_answer(rowcall_stack: Stack, rowcall: Rowcall, model: Model) -> None:
    secret = rowcall_stack.environment()["ROWCALL_WEBHOOK_SECRET"]
    await model.slow(0.05)
    id = await rowcall.submit({"question": QUESTION})
    assert [post_webhook(rowcall_stack, hint(id, id), secret).status_code for _ in range(3)] == [202] * 3
    updates = await watched(rowcall, id)
    assert post_webhook(rowcall_stack, hint(id), secret).status_code == 202
    assert_one_answer(rowcall_stack, updates)
    assert outcomes(rowcall_stack, id) == ["succeeded"]
    assert len(await model.answers()) == 1


async def test_a_forged_webhook_is_refused_and_the_row_is_answered_by_the_real_one(
    rowcall_stack: Stack, rowcall: Rowcall
) -> None:
    id = await rowcall.submit({"question": QUESTION})
    assert post_webhook(rowcall_stack, hint(id), "not the secret").status_code == 401
    assert_one_answer(rowcall_stack, await watched(rowcall, id))
    assert outcomes(rowcall_stack, id) == ["succeeded"]


async def test_a_worker_killed_in_mid_answer_is_replaced_and_one_answer_becomes_visible(
    rowcall_stack: Stack, rowcall: Rowcall, model: Model
) -> None:
    await model.slow(0.05)
    id = await rowcall.submit({"question": QUESTION})
    updates: list[Update] = []
    killed_at = 0.0
    async for update in rowcall.watch(id):
        updates.append(update)
        if update.text and not killed_at:
            rowcall_stack.kill("worker-1")
            killed_at = time.monotonic()
            rowcall_stack.start("worker-1")
    assert killed_at
    assert_one_answer(rowcall_stack, updates)
    assert outcomes(rowcall_stack, id) == ["lost", "succeeded"]
    assert time.monotonic() - killed_at > LEASE_S / 3  # nobody took the row while its lease held
    ledger = sql(
        rowcall_stack,
        "select attempt, purpose, status from rowcall.calls where generation_id = %s order by attempt, created_at",
        id,
    )
    assert (1, "answer", "abandoned") in ledger
    assert (2, "answer", "succeeded") in ledger


async def test_the_second_model_answers_when_the_first_is_limited(
    rowcall_stack: Stack, rowcall: Rowcall, model: Model
) -> None:
    await model.fail({"kind": "status", "status": 429, "retry_after_s": 2})
    id = await rowcall.submit({"question": QUESTION})
    updates = await watched(rowcall, id)
    assert_one_answer(rowcall_stack, updates)
    assert outcomes(rowcall_stack, id) == ["succeeded"]
    row = updates[-1].row
    assert row is not None
    assert row["route"] == "strong"
    assert row["output"]["warnings"] == [
        "route.fell_back: strong answered, because default failed (model.rate_limited)"
    ]
    assert answer_calls(rowcall_stack, id) == [
        (1, "default", "failed", "model.rate_limited"),
        (1, "strong", "succeeded", None),
    ]


async def test_a_client_never_sees_the_text_of_two_models_in_one(
    rowcall_stack: Stack, rowcall: Rowcall, model: Model
) -> None:
    await model.fail({"kind": "cut_stream", "after_chunks": 6})
    id = await rowcall.submit({"question": QUESTION})
    updates = await watched(rowcall, id)
    assert_one_answer(rowcall_stack, updates)
    assert outcomes(rowcall_stack, id) == ["retried", "succeeded"]
    assert answer_calls(rowcall_stack, id) == [
        (1, "default", "failed", "model.stream_cut"),
        (2, "strong", "succeeded", None),
    ]
    assert len(await model.answers()) == 2
    row = updates[-1].row
    assert row is not None
    assert row["route"] == "strong"
    for attempt in (1, 2):  # what the client saw of each attempt is a beginning of what that attempt's one model wrote
        texts = [u.text for u in updates if u.attempt == attempt and u.text]
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert row["answer"].startswith(tuple(u.text for u in updates if u.attempt == 2))


async def test_a_model_that_fails_is_asked_again_and_every_call_is_in_the_ledger(
    rowcall_stack: Stack, rowcall: Rowcall, model: Model
) -> None:
    limited = {"kind": "status", "status": 429, "retry_after_s": 0.2}
    await model.fail(limited, {"kind": "status", "status": 500})
    id = await rowcall.submit({"question": QUESTION})
    assert_one_answer(rowcall_stack, await watched(rowcall, id))
    assert outcomes(rowcall_stack, id) == ["retried", "succeeded"]
    assert answer_calls(rowcall_stack, id) == [
        (1, "default", "failed", "model.rate_limited"),
        (1, "strong", "failed", "model.unavailable"),
        (2, "default", "succeeded", None),
    ]
    assert len(await model.answers()) == 3


def answer_calls(stack: Stack, id: str) -> list[tuple[Any, ...]]:
    return sql(
        stack,
        "select attempt, route, status, error_code from rowcall.calls where generation_id = %s and purpose = 'answer' "
        "order by attempt, created_at",
        id,
    )


async def test_the_owner_cancels_and_keeps_the_text_so_far(
    rowcall_stack: Stack, rowcall: Rowcall, model: Model
) -> None:
    await model.slow(0.2)
    id = await rowcall.submit({"question": QUESTION})
    updates: list[Update] = []
    async for update in rowcall.watch(id):
        if update.text and not any(u.text for u in updates):  # long before a checkpoint
            assert await rowcall.cancel(id)
        updates.append(update)
    assert updates[-1].status == "canceled"
    await async_until(lambda: was_aborted(model), "the model call was ended")
    await async_until(lambda: is_kept(rowcall_stack, id), "the text so far is the row's")
    [(answer, tokens_out)] = sql(rowcall_stack, "select answer, tokens_out from rowcall.generations where id = %s", id)
    assert all(answer.startswith(u.text) for u in updates)
    assert tokens_out > 0


async def is_kept(stack: Stack, id: str) -> bool:
    return bool(sql(stack, "select 1 from rowcall.generations where id = %s and answer <> ''", id))


async def was_aborted(model: Model) -> bool:
    return any(entry["outcome"] == "aborted" for entry in await model.answers())
