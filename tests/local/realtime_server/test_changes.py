"""postgres_changes, frame by frame."""

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.local.realtime_server.wire import Wire, token_for, wire
from worker.local.stack import Stack

ALL_NOTES = {"event": "*", "schema": "public", "table": "rt_notes"}
OPEN = {"event": "*", "schema": "public", "table": "rt_open"}


def a_number() -> int:
    return uuid4().int % 2**31


async def next_change(client: Wire) -> dict[str, Any]:
    data: dict[str, Any] = (await client.event("postgres_changes"))["data"]
    return data


async def test_a_user_is_told_about_rows_that_their_policy_shows_and_about_no_others(
    stack: Stack, database: psycopg.Connection
) -> None:
    one, other = str(uuid4()), str(uuid4())
    async with wire(stack) as first, wire(stack) as second:
        await first.watch("mine", ALL_NOTES, token=token_for(stack, one))
        await second.watch("mine", ALL_NOTES, token=token_for(stack, other))
        database.execute("insert into rt_notes (owner, body) values (%s, 'of one'), (%s, 'of the other')", (one, other))
        assert (await next_change(first))["record"]["body"] == "of one"
        assert (await next_change(second))["record"]["body"] == "of the other"
        for client in (first, second):
            rest = await client.everything_before("marker", uuid4().hex)
            assert [heard for heard in rest if heard.event == "postgres_changes"] == []


async def test_a_change_tells_type_columns_time_and_the_old_key(stack: Stack, database: psycopg.Connection) -> None:
    owner = str(uuid4())
    async with wire(stack) as client:
        reply = await client.join("shape", {"postgres_changes": [ALL_NOTES]}, token_for(stack, owner))
        [echo] = reply["response"]["postgres_changes"]
        assert echo == {**ALL_NOTES, "id": echo["id"]}
        assert await client.event("system") == {
            "extension": "postgres_changes",
            "status": "ok",
            "message": "Subscribed to PostgreSQL",
            "channel": "shape",
        }
        row = database.execute("insert into rt_notes (owner, body) values (%s, 'a') returning id", (owner,)).fetchone()
        assert row is not None
        inserted = await client.event("postgres_changes")
        assert inserted["ids"] == [echo["id"]]
        assert inserted["data"] == {
            "schema": "public",
            "table": "rt_notes",
            "type": "INSERT",
            "commit_timestamp": inserted["data"]["commit_timestamp"],
            "columns": [
                {"name": "id", "type": "int8"},
                {"name": "owner", "type": "uuid"},
                {"name": "body", "type": "text"},
                {"name": "amount", "type": "numeric"},
                {"name": "long", "type": "text"},
            ],
            "errors": None,
            "record": {"id": row[0], "owner": owner, "body": "a", "amount": None, "long": None},
        }
        database.execute("update rt_notes set amount = 2.50 where owner = %s", (owner,))
        updated = await next_change(client)
        assert (updated["type"], updated["record"]["amount"]) == ("UPDATE", 2.5)
        assert updated["old_record"] == {"id": row[0]}
        database.execute("delete from rt_notes where owner = %s", (owner,))
        deleted = await next_change(client)
        assert (deleted["type"], deleted["old_record"], "record" in deleted) == ("DELETE", {"id": row[0]}, False)


async def test_a_column_that_the_role_may_not_select_is_left_out(stack: Stack, database: psycopg.Connection) -> None:
    owner = str(uuid4())
    async with wire(stack) as user, wire(stack, key=stack.secret_key) as service:
        await user.watch("columns", ALL_NOTES, token=token_for(stack, owner))
        await service.watch("columns", {**ALL_NOTES, "filter": f"owner=eq.{owner}"})
        database.execute("insert into rt_notes (owner) values (%s)", (owner,))
        assert "secret" not in (await next_change(user))["record"]
        assert (await next_change(service))["record"]["secret"] == "not for clients"


async def test_privileges_count_as_they_are_when_the_change_comes(stack: Stack, database: psycopg.Connection) -> None:
    async with wire(stack) as client:
        await client.watch("grants", {**OPEN, "event": "INSERT"})
        database.execute("revoke select on rt_open from anon; grant select (id) on rt_open to anon")
        try:
            database.execute("insert into rt_open values (%s, 'hidden')", (a_number(),))
            assert list((await next_change(client))["record"]) == ["id"]
        finally:
            database.execute("grant select on rt_open to anon")


async def test_a_delete_reaches_every_subscriber_with_the_key_alone(stack: Stack, database: psycopg.Connection) -> None:
    number = a_number()
    async with wire(stack) as anyone, wire(stack) as stranger:
        await anyone.watch("full", {"event": "DELETE", "schema": "public", "table": "rt_full"})
        await stranger.watch("full", {**ALL_NOTES, "event": "DELETE"}, token=token_for(stack))
        database.execute("insert into rt_full values (%s, 'gone soon', null)", (number,))
        database.execute("delete from rt_full where id = %s", (number,))
        assert (await next_change(anyone))["old_record"] == {"id": number}
        row = database.execute("insert into rt_notes (owner) values (gen_random_uuid()) returning id").fetchone()
        assert row is not None
        database.execute("delete from rt_notes where id = %s", row)
        assert (await next_change(stranger))["old_record"] == {"id": row[0]}


async def test_the_old_row_is_whole_where_the_replica_identity_is_full(
    stack: Stack, database: psycopg.Connection
) -> None:
    number, long = a_number(), "x" * 5000
    async with wire(stack) as client:
        await client.watch("identity", {"event": "UPDATE", "schema": "public", "table": "rt_full"})
        database.execute("insert into rt_full values (%s, 'before', %s)", (number, long))
        database.execute("update rt_full set label = 'after' where id = %s", (number,))
        change = await next_change(client)
        assert change["record"] == {"id": number, "label": "after", "long": long}
        assert change["old_record"] == {"id": number, "label": "before", "long": long}


async def test_a_large_value_that_did_not_change_is_missing(stack: Stack, database: psycopg.Connection) -> None:
    owner = str(uuid4())
    async with wire(stack) as client:
        await client.watch("toast", {**ALL_NOTES, "event": "UPDATE"}, token=token_for(stack, owner))
        database.execute("insert into rt_notes (owner, long) values (%s, repeat('x', 5000))", (owner,))
        database.execute("update rt_notes set body = 'b' where owner = %s", (owner,))
        change = await next_change(client)
        assert "long" not in change["record"]
        assert change["record"]["body"] == "b"
        database.execute("update rt_notes set long = 'short' where owner = %s", (owner,))
        assert (await next_change(client))["record"]["long"] == "short"


async def test_above_a_mebibyte_large_values_are_dropped_and_the_client_is_told(
    stack: Stack, database: psycopg.Connection
) -> None:
    owner = str(uuid4())
    async with wire(stack) as client:
        await client.watch("large", {**ALL_NOTES, "event": "INSERT"}, token=token_for(stack, owner))
        for length in (1_020_000, 1_050_000):
            sql = "insert into rt_notes (owner, body, long) values (%s, 'small', repeat('x', %s))"
            database.execute(sql, (owner, length))
        whole, cut = await next_change(client), await next_change(client)
        assert (whole["errors"], len(whole["record"]["long"])) == (None, 1_020_000)
        assert cut["errors"] == ["Error 413: Payload Too Large"]
        assert cut["record"].keys() == {"id", "owner", "body", "amount"}


@pytest.mark.parametrize(
    ("table", "insertion", "error"),
    [
        ("rt_keyless", "insert into rt_keyless values ('x')", "Error 400: Bad Request, no primary key"),
        ("rt_blind", "insert into rt_blind values ({number}, 'x')", "Error 401: Unauthorized"),
        (
            "rt_fussy",
            "insert into rt_fussy values ({number}, 0)",
            "Error 500: Internal Server Error, RLS policy evaluation failed",
        ),
    ],
)
async def test_what_cannot_be_judged_is_an_error_without_the_row(
    stack: Stack, database: psycopg.Connection, table: str, insertion: str, error: str
) -> None:
    async with wire(stack) as client:
        await client.watch("errors", {"event": "INSERT", "schema": "public", "table": table})
        database.execute(insertion.format(number=a_number()).encode())
        change = await next_change(client)
        assert (change["table"], change["errors"], change["record"], change["columns"]) == (table, [error], {}, [])


async def test_a_row_on_which_a_policy_fails_does_not_cost_its_neighbours(
    stack: Stack, database: psycopg.Connection
) -> None:
    numbers = [a_number() for _ in range(3)]
    async with wire(stack) as client:
        await client.watch("neighbours", {"event": "INSERT", "schema": "public", "table": "rt_fussy"})
        with database.transaction():
            for number, divisor in zip(numbers, (1, 0, 1), strict=True):
                database.execute("insert into rt_fussy values (%s, %s)", (number, divisor))
        changes = [await next_change(client) for _ in numbers]
        assert [change["record"].get("id") for change in changes] == [numbers[0], None, numbers[2]]


async def test_filters_decide_what_is_told(stack: Stack, database: psycopg.Connection) -> None:
    owner = str(uuid4())
    token = token_for(stack, owner)
    async with wire(stack) as client:
        await client.watch(
            "filtered",
            {**ALL_NOTES, "filter": "amount=gte.10,amount=lt.100"},
            {**ALL_NOTES, "filter": 'body=in.("a, b",c)'},
            token=token,
        )
        rows = [("x", 9), ("y", 10), ("z", 99.99), ("z", 100), ("c", 1), ("a, b", 50), ("last", 11)]
        for body, amount in rows:
            database.execute("insert into rt_notes (owner, body, amount) values (%s, %s, %s)", (owner, body, amount))
        heard = [await client.event("postgres_changes") for _ in range(5)]
        assert [change["data"]["record"]["body"] for change in heard] == ["y", "z", "c", "a, b", "last"]
        by_amount, by_body = heard[0]["ids"][0], heard[2]["ids"][0]
        assert heard[3]["ids"] == [by_amount, by_body]


async def test_a_selection_shows_its_columns_and_the_key(stack: Stack, database: psycopg.Connection) -> None:
    owner = str(uuid4())
    async with wire(stack) as client:
        await client.watch("selected", {**ALL_NOTES, "select": ["body"]}, token=token_for(stack, owner))
        database.execute("insert into rt_notes (owner, body) values (%s, 'b')", (owner,))
        change = await next_change(client)
        assert change["record"].keys() == {"id", "body"}
        assert [column["name"] for column in change["columns"]] == ["id", "body"]


async def test_a_whole_schema_can_be_watched(stack: Stack, database: psycopg.Connection) -> None:
    number = a_number()
    async with wire(stack) as client:
        await client.watch("schema", {"event": "INSERT", "schema": "public"})
        database.execute("insert into rt_open values (%s, 'x')", (number,))
        assert (await next_change(client))["record"] == {"id": number, "label": "x"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": "public", "table": "nowhere"}, "Please check Realtime is enabled"),
        ({"schema": "public", "table": "rt_unpublished"}, "Please check Realtime is enabled"),
        ({**OPEN, "filter": "id=near.5"}, 'Error parsing `filter` params: ["near", "5"]'),
        ({**OPEN, "filter": "nothing=eq.5"}, "invalid column for filter nothing"),
        ({**OPEN, "filter": "id=eq.five"}, 'invalid input syntax for type integer: "five"'),
        ({**OPEN, "filter": "id=like.5%"}, "operator like is not supported on column id of type integer"),
        ({**OPEN, "filter": "label=match.("}, "operator match is not supported on column label"),
        ({**OPEN, "filter": "id=is.true"}, "is true filter requires a boolean column"),
        ({**OPEN, "filter": f"id=in.({','.join(map(str, range(101)))})"}, "too many values for `in` filter"),
        ({**OPEN, "select": ["nothing"]}, "invalid column for select nothing"),
        ({"event": "*", "schema": "public", "select": ["id"]}, "not supported for wildcard subscriptions"),
        ({"event": "*"}, "No subscription params provided"),
        ({"schema": "pub\0lic"}, "An exception happened"),
    ],
)
async def test_a_bad_subscription_joins_and_is_then_told_why(stack: Stack, change: dict[str, Any], reason: str) -> None:
    async with wire(stack) as client:
        reply = await client.join("bad", {"postgres_changes": [change]})
        assert reply["status"] == "ok"
        assert reply["response"]["postgres_changes"][0].keys() == {*change, "id"}
        system = await client.event("system")
        assert (system["status"], system["extension"], system["channel"]) == ("error", "postgres_changes", "bad")
        assert reason in system["message"]


async def test_a_client_that_waits_for_its_subscription_is_answered_by_it(
    stack: Stack, database: psycopg.Connection
) -> None:
    wait = {"postgres_changes_options": {"wait": True}}
    number = a_number()
    async with wire(stack) as client:
        assert (await client.join("waits", {"postgres_changes": [OPEN], **wait}))["status"] == "ok"
        database.execute("insert into rt_open values (%s, 'x')", (number,))
        assert (await next_change(client))["record"]["id"] == number
        reply = await client.join("waits", {"postgres_changes": [{"table": "nowhere"}], **wait})
        assert reply["status"] == "error"
        assert reply["response"]["reason"].startswith("RealtimeDisabledForConfiguration: ")


async def test_a_table_that_is_altered_is_understood_at_once(stack: Stack, database: psycopg.Connection) -> None:
    database.execute("""
        create table rt_altered (id integer primary key, label integer);
        grant select on rt_altered to anon;
        alter publication supabase_realtime add table rt_altered""")
    async with wire(stack) as client:
        await client.watch("altered", {"schema": "public", "table": "rt_altered", "filter": "label=eq.1"})
        database.execute("insert into rt_altered values (1, 1)")
        assert (await next_change(client))["record"] == {"id": 1, "label": 1}
        database.execute("""
            alter table rt_altered alter column label type text using lpad(label::text, 2, '0');
            alter table rt_altered add column colour text default 'red'""")
        database.execute("insert into rt_altered values (2, '01'), (3, '1')")
        assert (await next_change(client))["record"] == {"id": 3, "label": "1", "colour": "red"}


async def test_changes_of_concurrent_writers_arrive_complete_and_in_order(stack: Stack) -> None:
    """Each commit races with the check of who may see it."""
    owner, writers, rows = str(uuid4()), 8, 250
    token = token_for(stack, owner)

    async def write(writer: int) -> None:
        async with await psycopg.AsyncConnection.connect(stack.db_url, autocommit=True) as connection:
            for n in range(rows):
                sql = "insert into rt_notes (owner, body, amount) values (%s, %s, %s)"
                await connection.execute(sql, (owner, str(writer), n))

    async with wire(stack) as one, wire(stack, vsn="1.0.0") as two:
        for client in (one, two):
            await client.watch("many", {**ALL_NOTES, "filter": f"owner=eq.{owner}"}, token=token)
        await asyncio.gather(*(write(writer) for writer in range(writers)))
        for client in (one, two):
            records = [(await next_change(client))["record"] for _ in range(writers * rows)]
            for writer in range(writers):
                amounts = [record["amount"] for record in records if record["body"] == str(writer)]
                assert amounts == list(range(rows))


async def test_one_transaction_of_thousands_of_rows_arrives_whole(stack: Stack, database: psycopg.Connection) -> None:
    owner = str(uuid4())
    async with wire(stack) as client:
        await client.watch("bulk", {**ALL_NOTES, "event": "INSERT"}, token=token_for(stack, owner))
        database.execute("insert into rt_notes (owner, amount) select %s, n from generate_series(1, 2000) n", (owner,))
        amounts = [(await next_change(client))["record"]["amount"] for _ in range(2000)]
        assert amounts == list(range(1, 2001))
