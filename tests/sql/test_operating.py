"""What an operator asks and orders."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.sql.session import Session, User, jsonb, vector
from tests.sql.verbs import attempts, claim, end_lease, finish, insert, row, running

LONG_AGO, SOON = "2001-01-01", "2001-02-01"  # a month that no other test's rows fall into


def book(sql: Session, **columns: Any) -> None:
    """A call in the ledger, in January 2001."""
    sql.as_service()
    values = {"kind": "answer", "attempt": 1, "purpose": "answer", "status": "succeeded", "created_at": "2001-01-10"}
    values |= columns
    places = ", ".join(["%s"] * len(values))
    sql.run(f"insert into rowcall.calls ({', '.join(values)}) values ({places})", *values.values())


def usage(sql: Session, *by: str) -> list[dict[str, Any]]:
    return sql.all("select * from rowcall.usage_v3(%s, %s, %s)", LONG_AGO, SOON, list(by))


def status(sql: Session, window_s: float = 3600) -> dict[str, Any]:
    return dict(sql.value("select rowcall.status_v1(%s)", window_s))


def cancel_all(sql: Session, *ids: str) -> list[str]:
    return [str(id) for id in sql.column("select * from rowcall.cancel_generations_v1(%s::uuid[])", list(ids))]


def test_the_ledger_is_summed_by_what_was_asked_for_and_nothing_else(sql: Session) -> None:
    book(sql, provider="p", model="big", tokens_in=10, tokens_out=2, cost_usd=0.5)
    book(sql, provider="p", model="big", tokens_in=1, tokens_cached=1, cost_usd=0.25, created_at="2001-01-11")
    book(sql, provider="p", model="small", status="failed", purpose="embed", kind="ingest")
    by_model = {line["model"]: line for line in usage(sql, "model")}
    assert by_model["p/big"]["calls"] == 2
    assert by_model["p/big"]["cost_usd"] == Decimal("0.75")
    assert (by_model["p/big"]["tokens_in"], by_model["p/big"]["tokens_cached"], by_model["p/big"]["tokens_out"]) == (
        11, 1, 2)  # fmt: skip
    assert (by_model["p/small"]["failed"], by_model["p/small"]["cost_usd"]) == (1, 0)
    assert {line["day"] for line in by_model.values()} == {None}
    assert [str(line["day"]) for line in usage(sql, "day")] == ["2001-01-11", "2001-01-10"]
    assert {(line["kind"], line["purpose"]) for line in usage(sql, "kind", "purpose")} == {
        ("answer", "answer"), ("ingest", "embed")}  # fmt: skip
    [total] = usage(sql)
    assert total["calls"] == 3


def test_a_call_that_the_cache_spared_is_none_and_tells_what_it_saved(sql: Session) -> None:
    book(sql, cost_usd=0.5, duration_ms=100)
    book(sql, cost_usd=0.5, duration_ms=300)
    book(sql, purpose="cache", cost_usd=0, duration_ms=1, reused_id=7, saved_usd=0.5)
    [total] = usage(sql)
    assert (total["calls"], total["reused"]) == (2, 1)
    assert (total["cost_usd"], total["saved_usd"]) == (Decimal("1.0"), Decimal("0.5"))
    assert (total["p50_ms"], total["p95_ms"]) == (200, 290)


def test_what_a_cascade_checked_and_where_it_escalated_is_counted(sql: Session) -> None:
    book(sql, route="default")
    book(sql, route="default", failed_checks=[])
    book(sql, route="default", failed_checks=["ending", "arithmetic"])
    book(sql, route="strong")
    by_route = {line["route"]: (line["checked"], line["escalated"]) for line in usage(sql, "route")}
    assert by_route == {"default": (2, 1), "strong": (0, 0)}


def test_a_rated_answer_is_told_with_the_tokens_of_the_call_that_wrote_it(sql: Session) -> None:
    user = sql.new_user()
    ended = {"status": "succeeded", "route": "strong", "tokens_in": 3000, "tokens_out": 90}
    escalated, forgotten = insert(sql, user, **ended), insert(sql, user, **ended)
    for route, tokens in (("default", 1000), ("strong", 1900)):
        book(sql, generation_id=escalated, attempt=0, route=route, tokens_in=tokens, tokens_out=40)
    for id in (escalated, forgotten):
        sql.run("insert into rowcall.feedback (generation_id, user_id, rating) values (%s, %s, 1)", id, user.id)
    rated = sql.all("select * from rowcall.rated_answers_v1('-infinity', %s, 10000)", str(UUID(int=0)))
    taken = {str(line["id"]): (line["tokens_in"], line["tokens_out"]) for line in rated}
    assert taken[escalated] == (1900, 40)
    assert taken[forgotten] == (3000, 90), "the ledger is kept for a shorter time than rows are"


@pytest.mark.parametrize(
    ("by", "column", "values"),
    [
        ("day", "created_at", ("2001-01-10", "2001-01-11")),
        ("tenant", "tenant", ("acme", "other")),
        ("kind", "kind", ("answer", "complete")),
        ("purpose", "purpose", ("answer", "embed")),
        ("route", "route", ("default", "strong")),
        ("reason", "route_reason", ("rule:how_to", "cache:exact")),
        ("prompt", "prompt_version", ("answer@1", "answer@2")),
        ("model", "model", ("small", "big")),
    ],
)
def test_usage_is_kept_apart_by_each_of_its_dimensions_alone(
    sql: Session, by: str, column: str, values: tuple[str, str]
) -> None:
    for value, cost in zip(values, (0.25, 0.5), strict=True):
        book(sql, **{"provider": "p", column: value, "cost_usd": cost})
    lines = {str(line[by]).removeprefix("p/"): line["cost_usd"] for line in usage(sql, by)}
    assert lines == {values[0]: Decimal("0.25"), values[1]: Decimal("0.5")}
    others = {"day", "tenant", "kind", "purpose", "route", "reason", "prompt", "model"} - {by}
    assert all(line[other] is None for line in usage(sql, by) for other in others)


def test_a_finish_books_why_its_route_was_taken_and_by_which_prompt(sql: Session) -> None:
    id = running(sql, sql.new_user(), kind="answer")
    opened = sql.value(
        "select call_id from rowcall.open_calls_v3(%s::jsonb[])",
        [jsonb({"generation_id": id, "attempt": 1, "purpose": "answer"})],
    )
    why = {"route_reason": "classifier", "prompt_version": "answer@1"}
    closing = {"id": str(opened), "status": "succeeded", "cost_usd": 0.5, **why}
    finish(sql, {"id": id, "attempt": 1, "status": "succeeded", "answer": "since", "calls": [closing]})
    booked = sql.one("select route_reason, prompt_version, cost_usd from rowcall.calls where id = %s", opened)
    assert booked == {**why, "cost_usd": Decimal("0.5")}


def test_a_call_whose_price_is_unknown_is_counted_and_costs_no_zero(sql: Session) -> None:
    book(sql, cost_usd=None)
    book(sql, cost_usd=0.5)
    book(sql, status="failed")
    [total] = usage(sql)
    assert (total["unpriced"], total["cost_usd"]) == (1, Decimal("0.5"))


def test_today_counts_the_calls_of_rows_without_a_tenant_too(sql: Session) -> None:
    sql.as_service()
    before = status(sql)["today"]
    book(sql, cost_usd=0.5, created_at="now")
    book(sql, cost_usd=None, created_at="now")
    book(sql, status="open", created_at="now")
    after = status(sql)["today"]
    grown = {name: after[name] - before[name] for name in before}
    assert grown == {"calls": 2, "cost_usd": pytest.approx(0.5), "unpriced_calls": 1}


def test_days_of_the_ledger_are_those_of_utc(sql: Session) -> None:
    sql.run("set local time zone 'Pacific/Auckland'")
    book(sql, created_at="2001-01-10 23:30+00")
    assert [str(line["day"]) for line in usage(sql, "day")] == ["2001-01-10"]


def test_usage_is_refused_by_a_column_that_it_does_not_know(sql: Session) -> None:
    sql.as_service()
    with sql.refused("PT400", "by must be of day, tenant", "not input"):
        usage(sql, "input")


def test_the_status_counts_what_is_open_and_how_long_the_oldest_waits(sql: Session) -> None:
    before = opened(status(as_service(sql)), "bulk")
    insert(sql, lane="bulk", run_at="2020-01-01")
    insert(sql, lane="bulk", run_at="2100-01-01")
    after = opened(status(sql), "bulk")
    assert after["rows"] == before.get("rows", 0) + 2
    assert after["waiting"] == before.get("waiting", 0) + 1
    assert after["oldest_s"] > 86_400


def test_the_status_names_live_workers_and_counts_leases_that_were_lost(sql: Session) -> None:
    worker = f"host:{uuid4().hex}"
    ids = [insert(sql) for _ in range(3)]
    claim(sql, *ids, worker=worker)
    lost = status(sql)["lost_leases"]
    end_lease(sql, ids[0])
    seen = status(sql)
    [mine] = [found for found in seen["workers"] if found["worker"] == worker]
    assert (mine["running"], round(mine["lease_s"])) == (2, 30)
    assert seen["lost_leases"] == lost + 1


def test_the_status_says_how_rows_ended_in_its_window_and_by_which_codes(sql: Session) -> None:
    code = f"test.{uuid4().hex}"
    id = running(sql)
    finish(sql, {"id": id, "attempt": 1, "status": "failed", "error": {"code": code, "message": "m"}})
    insert(sql, status="failed", finished_at="2020-01-01", error='{"code": "old.code"}')
    seen = status(sql, window_s=60)
    assert {"code": code, "rows": 1} in seen["codes"]
    assert "old.code" not in {found["code"] for found in seen["codes"]}
    assert seen["ended"]["failed"] >= 1


def test_each_model_that_wrote_a_vector_is_named_once(sql: Session) -> None:
    user = sql.new_user()
    sql.as_user(user)
    sql.run("insert into rowcall.documents (content) values ('text')")
    sql.as_service()
    document = sql.value("select id from rowcall.documents where user_id = %s", user.id)
    for ordinal, model in enumerate(("zeta", "alpha", None, "zeta")):
        sql.run(
            """insert into rowcall.chunks (document_id, revision, ordinal, content, start_char, end_char, tokens,
                                           content_hash, embedding, embedding_model)
               values (%s, 1, %s, 'c', 0, 1, 1, %s, %s, %s)""",
            document, ordinal, str(ordinal), vector(1.0), model)  # fmt: skip
    models = status(sql)["embedding_models"]
    assert sorted(models) == models
    assert [model for model in models if model in {"alpha", "zeta"}] == ["alpha", "zeta"]


def test_the_operator_cancels_anybody_s_rows_and_learns_which(sql: Session) -> None:
    user = sql.new_user()
    queued, active, ended = insert(sql, user), running(sql, user), insert(sql, user, status="succeeded")
    assert sorted(cancel_all(sql, queued, active, ended, str(uuid4()))) == sorted([queued, active])
    assert [row(sql, id)["status"] for id in (queued, active, ended)] == ["canceled", "canceled", "succeeded"]
    assert attempts(sql, active)[0]["outcome"] == "canceled"
    assert row(sql, active)["finished_at"] is not None


def test_a_text_that_was_checkpointed_stays_with_its_own_row_when_several_are_canceled(sql: Session) -> None:
    first, second = running(sql), running(sql)
    sql.run("update rowcall.attempts set partial = 'so far' where generation_id = %s", first)
    cancel_all(sql, first, second)
    assert (row(sql, first)["answer"], row(sql, second)["answer"]) == ("so far", None)


def as_service(sql: Session) -> Session:
    sql.as_service()
    return sql


def opened(seen: dict[str, Any], lane: str) -> dict[str, Any]:
    """The queued rows of kind answer in a lane."""
    found = [o for o in seen["open"] if (o["lane"], o["kind"], o["status"]) == (lane, "answer", "queued")]
    return dict(found[0]) if found else {}


def test_only_the_secret_key_may_ask(sql: Session) -> None:
    user: User = sql.new_user()
    sql.as_user(user)
    for question in ("status_v1(60)", "usage_v3(now(), now(), '{}')",
                     "embedding_models_v1()", "cancel_generations_v1('{}')"):  # fmt: skip
        with sql.refused("42501", "permission denied"):
            sql.run(f"select * from rowcall.{question}")
