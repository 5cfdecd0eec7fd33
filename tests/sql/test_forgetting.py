"""What is deleted in time, and what is left of a user who goes."""

from datetime import UTC, datetime, timedelta

from tests.sql.session import Session
from tests.sql.verbs import claim, finish, insert


def test_prune_deletes_what_is_older_than_its_retention_and_nothing_else(sql: Session) -> None:
    now = datetime.now(UTC)
    user = sql.new_user()
    _ended, recent, waiting = (
        insert(sql, user, status=status, created_at=now - timedelta(days=100), finished_at=finished_at)
        for status, finished_at in (
            ("succeeded", now - timedelta(days=91)),
            ("succeeded", now - timedelta(days=89)),
            ("queued", None),
        )
    )
    sql.run(
        """insert into rowcall.calls (kind, attempt, purpose, created_at)
           select 'answer', 1, 'prune_test', now() - make_interval(days => d) from unnest(array[399, 401]) d"""
    )
    sql.run(
        "insert into rowcall.spend (tenant, day) select 'prune_test', current_date - d from unnest(array[399, 402]) d"
    )
    sql.run(
        """insert into rowcall.answer_cache (tenant, question_key, question, answer, chunk_ids, expires_at)
           select 'prune_test', d::text, 'q', 'a', '{}', now() + make_interval(days => d) from unnest(array[-1, 1]) d"""
    )
    sql.run("select * from rowcall.prune_v1(1000)")
    assert [
        str(id) for id in sql.column("select id from rowcall.generations where user_id = %s order by status", user.id)
    ] == [waiting, recent]
    assert sql.value("select count(*) from rowcall.calls where purpose = 'prune_test'") == 1
    assert sql.value("select count(*) from rowcall.spend where tenant = 'prune_test'") == 1
    assert sql.column("select question_key from rowcall.answer_cache where tenant = 'prune_test'") == ["1"]


def test_prune_keeps_to_its_limit_and_says_what_it_deleted(sql: Session) -> None:
    for _ in range(3):
        insert(sql, status="failed", finished_at="2020-01-01")
    deleted = {found["table_name"]: found["deleted"] for found in sql.all("select * from rowcall.prune_v1(2)")}
    assert deleted.keys() == {"generations", "calls", "spend", "answer_cache"}
    assert deleted["generations"] == 2


def test_deleting_a_user_erases_what_is_his_and_keeps_numbers_without_him(sql: Session) -> None:
    user, other = sql.new_user(), sql.new_user()
    ids = [insert(sql, who) for who in (user, other)]
    works = [claim(sql, id, opens=({"kind": "answer", "purpose": "embed"},))[0] for id in ids]
    finish(sql, *(
        {"id": str(work["id"]), "attempt": 1, "status": "succeeded", "answer": "a",
         "calls": [{"id": str(work["call_id"]), "status": "succeeded", "cost_usd": 0.5, "tokens_in": 7}]}
        for work in works))  # fmt: skip
    sql.as_user(user)
    sql.run("insert into rowcall.feedback (generation_id, rating) values (%s, 1)", ids[0])
    sql.run("insert into rowcall.documents (content) values ('mine')")
    sql.as_service()
    sql.run("insert into rowcall.examples (user_id, question, answer) values (%s, 'q', 'a')", user.id)
    sql.run(
        """insert into rowcall.answer_cache (tenant, question_key, question, answer, chunk_ids, user_id, expires_at)
           values (%s, 'k', 'q', 'a', '{}', %s, now() + interval '1 day')""",
        user.id,
        user.id,
    )
    sql.as_postgres()
    sql.run("delete from auth.users where id = %s", user.id)
    for table in ("generations", "documents", "examples", "feedback", "answer_cache"):
        assert sql.value(f"select count(*) from rowcall.{table} where user_id = %s", user.id) == 0
    call = sql.one("select * from rowcall.calls where id = %s", works[0]["call_id"])
    assert (call["user_id"], call["tenant"], call["generation_id"]) == (None, None, None)
    assert (float(call["cost_usd"]), call["tokens_in"], call["status"]) == (0.5, 7, "succeeded")
    assert sql.value("select count(*) from rowcall.spend where tenant = %s", user.id) == 0
    kept = sql.one("select * from rowcall.calls where id = %s", works[1]["call_id"])
    assert (str(kept["user_id"]), kept["tenant"]) == (other.id, other.id)
    assert sql.value("select count(*) from rowcall.spend where tenant = %s", other.id) == 1


def test_a_team_s_numbers_stay_with_the_team_when_a_member_goes(sql: Session) -> None:
    user = sql.new_user(tenant_id="test_team")
    id = insert(sql, user, tenant="test_team")
    (work,) = claim(sql, id, opens=({"kind": "answer", "purpose": "embed"},))
    finish(
        sql,
        {
            "id": id,
            "attempt": 1,
            "status": "failed",
            "calls": [{"id": str(work["call_id"]), "status": "succeeded", "cost_usd": 2}],
        },
    )
    sql.as_postgres()
    sql.run("delete from auth.users where id = %s", user.id)
    call = sql.one("select * from rowcall.calls where id = %s", work["call_id"])
    assert (call["user_id"], call["tenant"]) == (None, "test_team")
    assert float(sql.value("select cost_usd from rowcall.spend where tenant = 'test_team'")) == 2.0
