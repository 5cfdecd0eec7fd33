"""What a client of the real SDK is told: HTTP codes and messages, through the gateway."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from postgrest.exceptions import APIError

from tests.clients import client_with, signed_up
from tests.sql.session import jsonb
from worker.local.stack import Stack

QUESTION = {"input": {"question": "why?"}}
TABLE = "generations"


async def refused(request: Any, code: str, *saying: str) -> None:
    with pytest.raises(APIError) as raised:
        await request.execute()
    assert raised.value.code == code
    for text in saying:
        assert text in (raised.value.message or "")


async def test_a_user_inserts_a_row_and_reads_it_back(stack: Stack) -> None:
    async with signed_up(stack) as client:
        rows = client.schema("rowcall").table(TABLE)
        inserted: Any = (await rows.insert(QUESTION).execute()).data
        read: Any = (await rows.select("*").execute()).data
        assert [row["id"] for row in read] == [inserted[0]["id"]]
        assert read[0]["status"] == "queued"
        assert read[0]["claims"]["role"] == "authenticated"


@pytest.mark.parametrize(
    "forged",
    [
        {"status": "succeeded"},
        {"answer": "x"},
        {"attempt": 9},
        {"target": {}},
        {"claims": {}},
        {"user_id": str(uuid4())},
    ],
)
async def test_a_forged_column_is_forbidden(stack: Stack, forged: dict[str, Any]) -> None:
    async with signed_up(stack) as client:
        await refused(client.schema("rowcall").table(TABLE).insert(QUESTION | forged), "42501", "permission denied")


@pytest.mark.parametrize(
    ("row", "saying"),
    [
        ({"input": {}}, "input.question must be a non-empty text"),
        ({"input": {"question": "why?", "history": [{"role": "system"}]}}, "role must be user or assistant"),
        (QUESTION | {"options": {"model": "x"}}, "options.model is not known"),
        (QUESTION | {"kind": "ingest"}, "kind must be one of answer, not ingest"),
    ],
)
async def test_a_bad_row_is_refused_by_a_message_that_names_the_field(
    stack: Stack, row: dict[str, Any], saying: str
) -> None:
    async with signed_up(stack) as client:
        await refused(client.schema("rowcall").table(TABLE).insert(row), "PT400", saying)


async def test_rows_of_several_shapes_are_inserted_at_once(stack: Stack) -> None:
    """The SDK sends null for every column that one row has and another lacks."""
    full = QUESTION | {"kind": "answer", "lane": "bulk", "options": {"quality": "fast"}}
    rows: list[dict[str, Any]] = [QUESTION, full, QUESTION | {"options": {}}]
    async with signed_up(stack) as client:
        table = client.schema("rowcall").table(TABLE)
        await table.insert(rows).execute()
        stored: Any = (await table.select("kind,lane,options").execute()).data  # lite's answer to an insert keeps nulls
    assert sorted((row["kind"], row["lane"], row["options"].get("quality", "")) for row in stored) == [
        ("answer", "bulk", "fast"),
        ("answer", "interactive", ""),
        ("answer", "interactive", ""),
    ]


async def test_a_key_makes_an_insert_safe_to_repeat(stack: Stack) -> None:
    keyed = QUESTION | {"idempotency_key": "once"}
    async with signed_up(stack) as client:
        rows = client.schema("rowcall").table(TABLE)
        safe = {"ignore_duplicates": True, "on_conflict": "user_id,idempotency_key"}
        first: Any = (await rows.upsert(keyed, **safe).execute()).data  # type: ignore[arg-type]
        again: Any = (await rows.upsert(keyed, **safe).execute()).data  # type: ignore[arg-type]
        assert (len(first), again) == (1, [])
        await refused(rows.insert(keyed), "23505")


async def test_a_tenant_without_budget_is_told_so(stack: Stack) -> None:
    async with signed_up(stack) as client:
        session = await client.auth.get_session()
        assert session is not None
        with psycopg.connect(stack.db_url, autocommit=True) as postgres:
            postgres.execute(
                "insert into rowcall.spend (tenant, day, cost_usd) values (%s, (now() at time zone 'utc')::date, 10)",
                (session.user.id,),
            )
        await refused(client.schema("rowcall").table(TABLE).insert(QUESTION), "PT429", "limits.usd_per_tenant_and_day")


async def test_a_user_cancels_rates_and_deletes_his_row(stack: Stack) -> None:
    async with signed_up(stack) as client:
        rowcall = client.schema("rowcall")
        inserted: Any = (await rowcall.table(TABLE).insert(QUESTION).execute()).data
        id = inserted[0]["id"]
        assert (await rowcall.rpc("cancel_generation", {"id": id}).execute()).data is True
        for rating in (1, -1):  # a change of mind is the same upsert
            await rowcall.table("feedback").upsert({"generation_id": id, "rating": rating}).execute()
        rated: Any = (await rowcall.table("feedback").select("rating").execute()).data
        assert rated == [{"rating": -1}]
        assert (await rowcall.rpc("delete_generation", {"id": id}).execute()).data is True
        assert (await rowcall.table(TABLE).select("id").execute()).data == []


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("claim_generations_v1", {"ids": [], "worker": "w", "lease_s": 1}),
        ("finish_generations_v4", {"results": []}),
        (
            "fill_target",
            {"generation_id": str(uuid4()), "target": {}, "answer": "x", "asked_at": "2026-01-01T00:00:00Z"},
        ),
        ("become", {"owner": str(uuid4()), "claims": {}}),
        ("replay_generations_v2", {"ids": []}),
        ("send_webhook", {"type": "INSERT", "rows": [jsonb({})]}),
    ],
)
async def test_what_is_the_worker_s_is_forbidden_to_users(
    stack: Stack, function: str, arguments: dict[str, Any]
) -> None:
    async with signed_up(stack) as client:
        await refused(client.schema("rowcall").rpc(function, arguments), "42501", "permission denied")


async def test_an_anonymous_request_reads_and_writes_nothing(stack: Stack) -> None:
    async with client_with(stack, stack.publishable_key) as client:
        rowcall = client.schema("rowcall")
        await refused(rowcall.table(TABLE).select("*"), "42501")
        await refused(rowcall.table(TABLE).insert(QUESTION), "42501")
        assert (await rowcall.table("documents").select("*").execute()).data == []
