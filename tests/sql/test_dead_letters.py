"""Rows that want a person, listed and replayed by their ids or by the code of their error."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sql.session import Session, jsonb
from tests.sql.verbs import insert, row

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def dead(sql: Session) -> list[str]:
    """Four rows that failed a minute apart, every other one of a rate limit, and one that succeeded."""
    insert(sql, status="succeeded", finished_at=BEGAN)
    codes = ["model.rate_limited", "input.invalid"] * 2
    return [
        insert(sql, status="failed", finished_at=BEGAN + timedelta(minutes=n), error={"code": code, "message": "no"})
        for n, code in enumerate(codes)
    ]


def listed(sql: Session, code: str | None = None) -> list[str]:
    return [str(id) for id in sql.column("select id from rowcall.dead_generations_v2(%s, 1000)", code)]


def replayed(sql: Session, code: str, *, before: datetime, max_rows: int = 500) -> list[str]:
    found = sql.all("select * from rowcall.replay_dead_generations_v2(%s, %s, max_rows => %s)", code, before, max_rows)
    assert all(told["outcome"] == "replayed" for told in found)
    return [str(told["id"]) for told in found]


def test_failed_rows_are_listed_latest_first_and_by_code(sql: Session, dead: list[str]) -> None:
    assert [id for id in listed(sql) if id in dead] == dead[::-1]
    assert [id for id in listed(sql, "input.invalid") if id in dead] == [dead[3], dead[1]]
    assert len(sql.all("select * from rowcall.dead_generations_v2(max_rows => 2)")) == 2


def test_a_listing_tells_what_went_wrong_and_not_what_was_asked(sql: Session, dead: list[str]) -> None:
    (seen,) = [
        told
        for told in sql.all("select * from rowcall.dead_generations_v2('input.invalid', 1000)")
        if str(told["id"]) == dead[1]
    ]
    assert (seen["error_code"], seen["error_message"]) == ("input.invalid", "no")
    assert "why?" not in str(seen)


def test_a_replay_by_code_takes_the_oldest_first_and_none_that_failed_later(sql: Session, dead: list[str]) -> None:
    before = BEGAN + timedelta(minutes=2, seconds=1)
    assert replayed(sql, "model.rate_limited", before=before, max_rows=1) == [dead[0]]
    assert replayed(sql, "model.rate_limited", before=before) == [dead[2]]
    assert replayed(sql, "model.rate_limited", before=before) == []
    assert replayed(sql, "input.invalid", before=BEGAN) == []
    assert [row(sql, id)["status"] for id in dead] == ["queued", "failed", "queued", "failed"]


def test_one_that_fails_again_at_once_is_not_replayed_without_end(sql: Session, dead: list[str]) -> None:
    before = BEGAN + timedelta(minutes=10)
    assert len(replayed(sql, "input.invalid", before=before)) == 2
    sql.run("update rowcall.generations set status = 'running' where id = %s", dead[1])
    sql.run(
        "update rowcall.generations set status = 'failed', finished_at = now(), error = %s where id = %s",
        jsonb({"code": "input.invalid", "message": "still"}),
        dead[1],
    )
    assert replayed(sql, "input.invalid", before=before) == []


class TestWithAutomations:
    """Refused rows, and columns that refuse."""

    @pytest.fixture
    def unfilled(self, sql: Session) -> list[str]:
        """Three rows whose answer 'too long' their column has refused, an hour apart."""
        sql.as_postgres()
        sql.run("create table public.dead_posts (id bigint primary key, summary text check (length(summary) < 5))")
        sql.run("insert into public.dead_posts (id) select n from generate_series(1, 3) n")
        return [
            insert(
                sql,
                status="succeeded",
                answer="too long",
                error={"code": "target.failed", "message": "no"},
                target={"schema": "public", "table": "dead_posts", "key": {"id": n}, "column": "summary", "hops": 0},
                finished_at=BEGAN + timedelta(hours=n),
            )
            for n in range(1, 4)
        ]

    def replayed(self, sql: Session, *ids: str) -> dict[str, tuple[str | None, str | None]]:
        found = sql.all("select * from rowcall.replay_generations_v2(%s::uuid[])", list(ids))
        return {str(r["id"]): (r["outcome"], r["problem"]) for r in found}

    def test_failed_refused_and_unfilled_rows_are_listed_latest_first_and_no_others(
        self, sql: Session, dead: list[str], unfilled: list[str]
    ) -> None:
        code = {"code": "limits.test", "message": "no"}
        refused = insert(sql, status="refused", finished_at=BEGAN - timedelta(days=1), error=code)
        canceled = insert(sql, status="canceled", finished_at=BEGAN)
        mine = {*dead, *unfilled, refused, canceled}
        found = [id for id in listed(sql, None) if id in mine]
        assert found == [*unfilled[::-1], *dead[::-1], refused]
        assert listed(sql, "limits.test") == [refused]
        seen = sql.all("select * from rowcall.dead_generations_v2('target.failed', 1000)")
        (target,) = {r["target"] for r in seen if str(r["id"]) in unfilled}
        assert target == "public.dead_posts.summary"

    def test_a_kept_answer_fills_its_column_when_the_cause_is_mended(self, sql: Session, unfilled: list[str]) -> None:
        first, second, third = unfilled
        outcome, problem = self.replayed(sql, first)[first]
        assert outcome is None
        assert row(sql, first)["error"]["message"] == problem
        assert "violates check constraint" in (problem or "")
        sql.as_postgres()
        sql.run("alter table public.dead_posts drop constraint dead_posts_summary_check")
        sql.run("delete from public.dead_posts where id = 2")
        sql.as_service()
        made = self.replayed(sql, *unfilled)
        assert made[first] == made[third] == ("filled", None)
        assert "has no row with that key" in (made[second][1] or "")
        assert [row(sql, id)["status"] for id in unfilled] == ["succeeded"] * 3
        assert {first, second, third} & set(listed(sql, "target.failed")) == {second}
        assert self.replayed(sql, first) == {first: (None, "it has succeeded")}
        sql.as_postgres()
        assert sql.column("select summary from public.dead_posts order by id") == ["too long", "too long"]

    def test_what_a_newer_generation_fills_is_not_filled_by_an_older_answer(
        self, sql: Session, unfilled: list[str]
    ) -> None:
        sql.as_postgres()
        sql.run("alter table public.dead_posts drop constraint dead_posts_summary_check")
        target = {"schema": "public", "table": "dead_posts", "key": {"id": 1}, "column": "summary", "hops": 0}
        insert(sql, target=target, origin="automation", created_at=datetime.now(UTC) + timedelta(minutes=1))
        assert self.replayed(sql, unfilled[0])[unfilled[0]] == (None, "a newer generation fills this column")
        assert row(sql, unfilled[0])["error"]["code"] == "target.superseded"
        assert unfilled[0] not in listed(sql, None)

    def test_a_replay_by_code_looks_at_each_row_once_in_pages(self, sql: Session, unfilled: list[str]) -> None:
        page = "select * from rowcall.replay_dead_generations_v2('target.failed', %s, %s, %s, 2)"
        before, after = BEGAN + timedelta(days=1), (BEGAN, "00000000-0000-0000-0000-000000000000")
        seen = list[str]()
        while found := sql.all(page, before, *after):
            seen += [str(r["id"]) for r in found]
            assert all(r["problem"] for r in found)
            after = (found[-1]["finished_at"], str(found[-1]["id"]))
        assert seen == unfilled

    @pytest.mark.parametrize(
        ("columns", "says"),
        [
            ({}, "it has not ended: it is queued"),
            ({"status": "succeeded"}, "it has succeeded"),
            ({"status": "refused", "error": {"code": "input.too_large", "message": ""}}, "only the beginning"),
            ({"status": "refused", "error": {"code": "automation.no_owner", "message": ""}}, "nobody's name"),
        ],
    )
    def test_what_cannot_be_replayed_says_why(self, sql: Session, columns: dict[str, Any], says: str) -> None:
        id = insert(sql, **columns)
        outcome, problem = self.replayed(sql, id)[id]
        assert outcome is None
        assert says in (problem or "")
        assert row(sql, id)["status"] == columns.get("status", "queued")

    @pytest.mark.parametrize("code", ["limits.usd_per_tenant_and_day", "automation.too_many_hops"])
    def test_what_a_limit_refused_runs_when_it_is_replayed(self, sql: Session, code: str) -> None:
        id = insert(sql, status="refused", finished_at=BEGAN, error={"code": code, "message": "no"})
        missing = "00000000-0000-4000-8000-000000000000"
        assert self.replayed(sql, id, missing) == {id: ("replayed", None), missing: (None, "it does not exist")}
        assert row(sql, id)["status"] == "queued"

    def test_a_row_that_has_succeeded_still_takes_no_other_change(self, sql: Session, unfilled: list[str]) -> None:
        with sql.refused("PT409", "status cannot move from succeeded to succeeded"):
            sql.run("update rowcall.generations set answer = 'forged', error = null where id = %s", unfilled[0])

    def test_the_listing_is_read_from_its_index(self, sql: Session) -> None:
        sql.as_postgres()
        sql.run("set local enable_seqscan = off")
        body = """select g.id from rowcall.generations g
                   where (g.status in ('failed', 'refused')
                          or (g.status = 'succeeded' and g.error ->> 'code' = 'target.failed'))
                   order by g.finished_at desc, g.id desc limit 20"""
        plan = "\n".join(sql.column(f"explain {body}"))
        assert "generations_dead_letters" in plan
