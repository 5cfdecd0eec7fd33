"""Failed rows, listed and replayed by the code of their error."""

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


def listed(sql: Session, **arguments: Any) -> list[str]:
    """Of this test's rows: others of the database may have failed at other times."""
    named = ", ".join(f"{name} => %s" for name in {"before": BEGAN + timedelta(days=1), **arguments})
    values = {"before": BEGAN + timedelta(days=1), **arguments}.values()
    return [str(id) for id in sql.column(f"select id from rowcall.dead_generations_v1({named})", *values)]


def replayed(sql: Session, code: str, *, before: datetime, max_rows: int = 500) -> list[str]:
    found = sql.column("select rowcall.replay_dead_generations_v1(%s, %s, %s)", code, before, max_rows)
    return [str(id) for id in found]


def test_failed_rows_are_listed_latest_first_by_pages_and_by_code(sql: Session, dead: list[str]) -> None:
    assert listed(sql) == dead[::-1]
    assert listed(sql, max_rows=2) == dead[:1:-1]
    assert listed(sql, max_rows=2, before=BEGAN + timedelta(minutes=2)) == dead[1::-1]
    assert listed(sql, code="input.invalid") == [dead[3], dead[1]]


def test_a_listing_tells_what_went_wrong_and_not_what_was_asked(sql: Session, dead: list[str]) -> None:
    seen = sql.one("select * from rowcall.dead_generations_v1('input.invalid', %s)", BEGAN + timedelta(minutes=2))
    assert (str(seen["id"]), seen["error_code"], seen["error_message"]) == (dead[1], "input.invalid", "no")
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
