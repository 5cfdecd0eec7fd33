"""What finishing a generation writes: the row, its attempt, the ledger, and the target of an automation."""

from typing import Any

import pytest

from tests.sql.session import Session, jsonb
from tests.sql.verbs import ERROR, attempts, claim, finish, insert, row, running


def test_finishing_fills_the_row_and_closes_attempt_and_calls_in_one_transaction(sql: Session) -> None:
    user = sql.new_user()
    id = insert(sql, user)
    (work,) = claim(sql, id, opens=({"kind": "answer", "purpose": "embed"},))
    tokens = {"tokens_in": 11, "tokens_cached": 1, "tokens_out": 2, "cost_usd": 0.5}
    closing = {
        "id": str(work["call_id"]),
        "status": "succeeded",
        "duration_ms": 70,
        "first_token_ms": 9,
        "tokens_reasoning": 0,
        **tokens,
    }
    result = {
        "id": id,
        "attempt": 1,
        "status": "succeeded",
        "answer": "Because.",
        "output": {"a": 1},
        "citations": [{"chunk_id": 1}],
        "route": "fast",
        "variant": "b",
        "prompt_version": "abc",
        "first_token_at": "2026-01-01T00:00:00+00:00",
        "calls": [closing],
        **tokens,
    }
    (answer,) = finish(sql, result)
    assert (str(answer["id"]), answer["attempt"], answer["accepted"], answer["problem"]) == (id, 1, True, None)
    now = row(sql, id)
    for column in (
        "status",
        "answer",
        "output",
        "citations",
        "route",
        "variant",
        "prompt_version",
        "tokens_in",
        "tokens_out",
    ):
        assert now[column] == result[column]
    assert now["finished_at"] is not None
    assert now["first_token_at"].year == 2026
    assert attempts(sql, id)[0]["outcome"] == "succeeded"
    call = sql.one("select * from rowcall.calls where id = %s", work["call_id"])
    assert {name: call[name] for name in ("status", "tokens_in", "duration_ms", "first_token_ms")} == {
        "status": "succeeded", "tokens_in": 11, "duration_ms": 70, "first_token_ms": 9}  # fmt: skip
    spend = sql.one("select * from rowcall.spend where tenant = %s", user.id)
    assert (float(spend["cost_usd"]), spend["calls"], spend["unpriced_calls"], spend["tokens_in"]) == (0.5, 1, 0, 11)


def test_a_call_is_booked_once_however_often_it_is_closed(sql: Session) -> None:
    user = sql.new_user()
    id = insert(sql, user)
    (work,) = claim(sql, id, opens=({"kind": "answer", "purpose": "embed"},))
    closing = {"id": str(work["call_id"]), "status": "failed", "cost_usd": 1, "tokens_in": 5}
    for _ in range(3):
        finish(sql, {"id": id, "attempt": 1, "status": "failed", "calls": [closing, closing]})
    sql.run("select rowcall.close_calls_v1(array[%s::jsonb])", jsonb(closing | {"cost_usd": 100}))
    assert float(sql.value("select cost_usd from rowcall.spend where tenant = %s", user.id)) == 1.0


def test_calls_without_a_price_are_counted_apart(sql: Session) -> None:
    user = sql.new_user()
    works = [claim(sql, insert(sql, user), opens=({"kind": "answer", "purpose": "embed"},))[0] for _ in range(2)]
    finish(sql, *(
        {"id": str(work["id"]), "attempt": 1, "status": "failed",
         "calls": [{"id": str(work["call_id"]), "status": "succeeded", "cost_usd": cost}]}
        for work, cost in zip(works, (None, 0.25), strict=True)))  # fmt: skip
    spend = sql.one("select * from rowcall.spend where tenant = %s", user.id)
    assert (float(spend["cost_usd"]), spend["calls"], spend["unpriced_calls"]) == (0.25, 2, 1)


def test_a_bad_row_leaves_the_others_of_its_batch(sql: Session) -> None:
    good, bad, other = sorted(running(sql) for _ in range(3))
    answers = finish(
        sql,
        {"id": good, "attempt": 1, "status": "succeeded", "answer": "a"},
        {"id": bad, "attempt": 1, "status": "gone fishing"},
        {"id": other, "attempt": 1, "status": "refused", "error": ERROR},
    )
    assert [answer["accepted"] for answer in answers] == [True, False, True]
    assert "gone fishing" in answers[1]["problem"]
    assert [row(sql, id)["status"] for id in (good, bad, other)] == ["succeeded", "running", "refused"]


def test_done_is_sent_on_the_row_s_private_topic(sql: Session) -> None:
    id = running(sql)
    finish(sql, {"id": id, "attempt": 1, "status": "succeeded", "answer": "a"})
    sql.as_postgres()
    message = sql.one("select * from realtime.messages where topic = %s", f"generation:{id}")
    assert (message["event"], message["private"], message["extension"]) == ("done", True, "broadcast")
    assert message["payload"] | {"id": None} == {"attempt": 1, "status": "succeeded", "id": None}


def test_without_realtime_the_row_is_finished_all_the_same(sql: Session) -> None:
    id = running(sql)
    sql.as_postgres()
    sql.run("revoke insert on realtime.messages from service_role")
    sql.as_service()
    assert finish(sql, {"id": id, "attempt": 1, "status": "succeeded", "answer": "a"})[0]["accepted"]


# Targets


@pytest.fixture
def tickets(sql: Session) -> int:
    """A table of the project's own, with a column to be filled; the id of its one row."""
    sql.as_postgres()
    sql.run(
        """create table public.test_tickets (
             id      bigint generated always as identity,
             region  text default 'eu',
             summary text check (summary <> 'forbidden'),
             score   integer,
             primary key (id, region))"""
    )
    return int(sql.value("insert into public.test_tickets default values returning id"))


def target(ticket: int, column: str = "summary", **changes: Any) -> dict[str, Any]:
    key = {"id": ticket, "region": "eu"}
    return {"schema": "public", "table": "test_tickets", "key": key, "column": column, "hops": 0, **changes}


def test_finishing_fills_the_target_in_the_same_transaction(sql: Session, tickets: int) -> None:
    id = running(sql, target=target(tickets))
    assert finish(sql, {"id": id, "attempt": 1, "status": "succeeded", "answer": "short"})[0]["accepted"]
    assert (row(sql, id)["status"], row(sql, id)["error"]) == ("succeeded", None)
    sql.as_postgres()
    assert sql.value("select summary from public.test_tickets") == "short"


def test_an_answer_is_cast_to_the_target_s_type(sql: Session, tickets: int) -> None:
    id = running(sql, target=target(tickets, "score"))
    finish(sql, {"id": id, "attempt": 1, "status": "succeeded", "answer": "42"})
    sql.as_postgres()
    assert sql.value("select score from public.test_tickets") == 42


@pytest.mark.parametrize(
    ("changes", "answer", "saying"),
    [
        ({}, "forbidden", "check constraint"),
        ({"column": "score"}, "many", "integer"),
        ({"table": "gone"}, "short", "public.gone"),
        ({"column": "gone"}, "short", "gone"),
    ],
)
def test_a_target_that_refuses_the_answer_costs_no_answer(
    sql: Session, tickets: int, changes: dict[str, Any], answer: str, saying: str
) -> None:
    id = running(sql, target=target(tickets, **changes))
    other = running(sql)
    results = (
        {"id": id, "attempt": 1, "status": "succeeded", "answer": answer},
        {"id": other, "attempt": 1, "status": "succeeded"},
    )
    assert all(one["accepted"] for one in finish(sql, *results))
    now = row(sql, id)
    assert (now["status"], now["answer"], now["error"]["code"]) == ("succeeded", answer, "target.failed")
    assert saying in now["error"]["message"]
    assert row(sql, other)["error"] is None


@pytest.mark.parametrize("status", ["failed", "refused", "review"])
def test_what_is_no_answer_yet_fills_no_target(sql: Session, tickets: int, status: str) -> None:
    id = running(sql, target=target(tickets))
    finish(sql, {"id": id, "attempt": 1, "status": status, "answer": "half"})
    sql.as_postgres()
    assert sql.value("select summary from public.test_tickets") is None


def test_a_key_cannot_name_more_than_its_row(sql: Session, tickets: int) -> None:
    """Names and values of a target are data: neither is ever read as SQL."""
    sql.as_postgres()
    other = sql.value("insert into public.test_tickets default values returning id")
    hostile = target(tickets, key={"id": tickets, "region": "eu' or true --"})
    id = running(sql, target=hostile)
    finish(sql, {"id": id, "attempt": 1, "status": "succeeded", "answer": "everywhere"})
    sql.as_postgres()
    assert sql.column("select summary from public.test_tickets where id in (%s, %s)", tickets, other) == [None, None]
