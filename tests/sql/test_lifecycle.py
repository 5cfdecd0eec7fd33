"""Every move of a generation, by the function that makes it; and every move that none may make."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from tests.sql.session import Session, User, jsonb
from tests.sql.verbs import ERROR, attempts, cancel, claim, end_lease, finish, insert, replay, requeue, row, running
from worker.lifecycle import MOVES, STATUSES, Status, Verb, move_is_allowed

PAIRS = list(product(STATUSES, STATUSES))


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_the_table_of_moves_in_sql_is_the_one_in_python(sql: Session, before: Status, after: Status) -> None:
    assert sql.value("select rowcall.move_is_allowed(%s, %s)", before, after) == move_is_allowed(before, after)


def test_the_statuses_in_sql_are_those_in_python(sql: Session) -> None:
    for status in STATUSES:
        insert(sql, status=status)
    with sql.refused("23514", "generations_status_check"):
        insert(sql, status="paused")


def test_nobody_moves_a_row_along_a_path_that_does_not_exist(sql: Session) -> None:
    rows = {status: insert(sql, status=status) for status in STATUSES}
    for before, after in PAIRS:
        change = ("update rowcall.generations set status = %s where id = %s", after, rows[before])
        if move_is_allowed(before, after):
            with sql.undone():
                assert sql.run(*change) == 1
        else:
            with sql.refused("PT409", f"status cannot move from {before} to {after}"):
                sql.run(*change)


VERBS: dict[tuple[Verb, str], Callable[[Session, User, str], bool]] = {
    ("claim", ""): lambda sql, _, row_id: bool(claim(sql, row_id)),
    ("retry", ""): lambda sql, _, row_id: bool(requeue(sql, "retry", {"id": row_id, "attempt": 1})),
    ("release", ""): lambda sql, _, row_id: bool(requeue(sql, "release", {"id": row_id, "attempt": 1})),
    ("finish", ""): lambda sql, _, row_id: settled(sql, row_id, "succeeded"),
    ("finish", "for review"): lambda sql, _, row_id: settled(sql, row_id, "review"),
    ("fail", ""): lambda sql, _, row_id: settled(sql, row_id, "failed"),
    ("refuse", ""): lambda sql, _, row_id: settled(sql, row_id, "refused"),
    ("cancel", ""): cancel,
    ("cancel", "as its worker heard of it"): lambda sql, _, row_id: bool(
        sql.all(
            "select * from rowcall.keep_canceled_v1(%s::jsonb[])", [jsonb({"id": row_id, "attempt": 1, "partial": "B"})]
        )
    ),
    ("replay", ""): lambda sql, _, row_id: bool(replay(sql, row_id)),
}


def settled(sql: Session, id: str, status: str) -> bool:
    return bool(finish(sql, {"id": id, "attempt": 1, "status": status})[0]["accepted"])


def test_each_verb_makes_exactly_its_moves(sql: Session) -> None:
    """Every verb is tried on a row in every status; what they did is the table in Python."""
    made = set()
    user = sql.new_user()
    for before in STATUSES:
        id = insert(sql, user, status=before, attempt=1)
        if before == "running":  # with a lease that ended
            sql.run(
                """insert into rowcall.attempts (generation_id, attempt, worker, lease_until)
                   values (%s, 1, 'w', now())""",
                id,
            )
        if before == "canceled":
            sql.run(
                """insert into rowcall.attempts (generation_id, attempt, worker, lease_until, outcome)
                   values (%s, 1, 'w', now(), 'canceled')""",
                id,
            )
        for (verb, _), act in VERBS.items():
            with sql.undone():
                accepted = act(sql, user, id)
                after = row(sql, id)
                assert accepted == ((after["status"], after["attempt"], after["answer"]) != (before, 1, None))
                if accepted:
                    made.add((verb, before, after["status"]))
    assert made == MOVES


IMMUTABLE = {
    "id": "gen_random_uuid()",
    "user_id": "null",
    "tenant": "'other'",
    "claims": "'{}'",
    "origin": "'client'",
    "kind": "'ingest'",
    "input": """'{"question": "another"}'""",
    "target": "'{}'",
    "idempotency_key": "'other'",
    "created_at": "now() - interval '1 day'",
}


@pytest.mark.parametrize("column", IMMUTABLE)
def test_who_asked_and_what_was_asked_never_changes(sql: Session, column: str) -> None:
    id = insert(sql, sql.new_user())
    with sql.refused("PT409", "owner and input cannot be changed"):
        sql.run(f"update rowcall.generations set status = 'running', {column} = {IMMUTABLE[column]} where id = %s", id)


def test_the_attempt_never_goes_back(sql: Session) -> None:
    id = running(sql)
    with sql.refused("PT409", "attempt cannot go back from 1 to 0"):
        sql.run("update rowcall.generations set attempt = 0 where id = %s", id)


# Claim


def test_a_claim_opens_an_attempt_with_a_lease_and_the_ledger_row_of_its_kind(sql: Session) -> None:
    user = sql.new_user(tenant_id="acme")
    id = insert(sql, user, tenant="acme")
    opens = ({"kind": "answer", "purpose": "embed", "provider": "p", "model": "m"}, {"kind": "ingest", "purpose": "x"})
    (work,) = claim(sql, id, opens=opens)
    assert (work["attempt"], work["tries"], work["tenant"]) == (1, 1, "acme")
    (attempt,) = attempts(sql, id)
    assert (attempt["worker"], attempt["outcome"]) == ("w", None)
    lease = sql.value("select lease_until - now() from rowcall.attempts where generation_id = %s", id)
    assert lease == timedelta(seconds=30)
    call = sql.one("select * from rowcall.calls where id = %s", work["call_id"])
    assert (call["purpose"], call["model"], call["status"], call["kind"]) == ("embed", "m", "open", "answer")
    assert (str(call["user_id"]), call["tenant"], call["attempt"]) == (user.id, "acme", 1)


def test_a_claim_takes_ids_in_any_number_and_repeats_nothing(sql: Session) -> None:
    ids = [insert(sql) for _ in range(3)]
    assert sorted(str(work["id"]) for work in claim(sql, *ids, *ids)) == sorted(ids)
    assert claim(sql) == []
    assert claim(sql, *ids) == []


def test_started_at_is_that_of_the_first_claim(sql: Session) -> None:
    fresh, resumed = insert(sql), insert(sql, started_at="2026-01-01T00:00:00Z", attempt=1)
    claim(sql, fresh, resumed)
    assert row(sql, fresh)["started_at"] > row(sql, resumed)["started_at"] == datetime(2026, 1, 1, tzinfo=UTC)


# Retry and release


@pytest.mark.parametrize(("verb", "tries", "outcome"), [("retry", 1, "retried"), ("release", 0, "released")])
def test_sending_a_row_back(sql: Session, verb: str, tries: int, outcome: str) -> None:
    id = running(sql)
    (answer,) = requeue(sql, verb, {"id": id, "attempt": 1, "wait_s": 2.5, "error": ERROR})
    assert (str(answer["id"]), answer["attempt"]) == (id, 1)
    now = row(sql, id)
    assert (now["status"], now["tries"], now["attempt"], now["error"]) == ("queued", tries, 1, ERROR)
    assert sql.value("select run_at - now() from rowcall.generations where id = %s", id) == timedelta(seconds=2.5)
    assert attempts(sql, id)[0]["outcome"] == outcome
    assert claim(sql, id) == []


# Cancel and delete


def test_an_owner_cancels_a_queued_row_and_a_running_one_keeps_its_text(sql: Session) -> None:
    user = sql.new_user()
    queued, run = insert(sql, user), running(sql, user)
    sql.run(
        "select * from rowcall.checkpoint_generations_v1(array[%s::jsonb])",
        jsonb({"id": run, "attempt": 1, "partial": "Be", "offset": 2}),
    )
    assert cancel(sql, user, queued)
    assert cancel(sql, user, run)
    rows = (row(sql, queued), row(sql, run))
    assert [(now["status"], now["answer"]) for now in rows] == [
        ("canceled", None),
        ("canceled", "Be"),
    ]
    assert attempts(sql, run)[0]["outcome"] == "canceled"
    assert not cancel(sql, user, run)
    assert not finish(sql, {"id": run, "attempt": 1, "status": "succeeded", "answer": "late"})[0]["accepted"]
    assert claim(sql, queued, run) == []


def test_nobody_cancels_or_deletes_what_is_not_his(sql: Session) -> None:
    alice, bob = sql.new_user(), sql.new_user()
    id = insert(sql, alice)
    assert not cancel(sql, bob, id)
    sql.as_user(bob)
    assert not sql.value("select rowcall.delete_generation(%s)", id)
    sql.as_anon()
    for function in ("cancel_generation", "delete_generation"):
        with sql.refused("42501"):
            sql.value(f"select rowcall.{function}(%s)", id)
    sql.as_service()
    assert row(sql, id)["status"] == "queued"


def test_deleting_a_row_leaves_the_numbers_of_its_calls(sql: Session) -> None:
    user = sql.new_user()
    id = insert(sql, user)
    (work,) = claim(sql, id, opens=({"kind": "answer", "purpose": "embed"},))
    sql.as_user(user)
    sql.run("insert into rowcall.feedback (generation_id, rating) values (%s, 1)", id)
    assert sql.value("select rowcall.delete_generation(%s)", id)
    assert not sql.value("select rowcall.delete_generation(%s)", id)
    sql.as_service()
    call = sql.one("select * from rowcall.calls where id = %s", work["call_id"])
    assert (call["generation_id"], str(call["user_id"])) == (None, user.id)
    for table, column in {"generations": "id", "attempts": "generation_id", "feedback": "generation_id"}.items():
        assert sql.value(f"select count(*) from rowcall.{table} where {column} = %s", id) == 0


# Replay


@pytest.mark.parametrize("status", ["failed", "refused", "review", "canceled"])
def test_a_replay_gives_all_tries_back_and_clears_what_came_of_the_last_one(sql: Session, status: str) -> None:
    id = running(sql)
    if status == "canceled":
        sql.run("update rowcall.generations set status = 'canceled', finished_at = now() where id = %s", id)
    else:
        finish(
            sql,
            {"id": id, "attempt": 1, "status": status, "answer": "old", "output": {}, "citations": [], "error": ERROR},
        )
    assert replay(sql, id) == [id]
    now = row(sql, id)
    assert (now["status"], now["tries"], now["attempt"]) == ("queued", 0, 1)
    assert [now[column] for column in ("answer", "output", "citations", "error", "finished_at")] == [None] * 5
    assert claim(sql, id)[0]["attempt"] == 2


def test_what_succeeded_or_still_runs_is_not_replayed(sql: Session) -> None:
    done, run, queued = running(sql), running(sql), insert(sql)
    finish(sql, {"id": done, "attempt": 1, "status": "succeeded"})
    assert replay(sql, done, run, queued) == []


# Losses


def test_a_row_that_its_workers_die_of_fails_as_poisoned_with_the_claim_that_would_have_been_one_too_many(
    sql: Session,
) -> None:
    id = running(sql, kind="answer")
    for attempt in (2, 3):
        end_lease(sql, id)
        assert [(work["attempt"], work["status"]) for work in claim(sql, id)] == [(attempt, "running")]
    end_lease(sql, id)
    (work,) = claim(sql, id, opens=({"kind": "answer", "purpose": "embed"},))
    assert (work["attempt"], work["status"], work["call_id"]) == (3, "failed", None)
    now = row(sql, id)
    assert (now["status"], now["error"]["code"], now["losses"]) == ("failed", "attempt.poisoned", 3)
    assert now["finished_at"] is not None
    assert [attempt["outcome"] for attempt in attempts(sql, id)] == ["lost"] * 3
    assert claim(sql, id) == []


def test_a_row_that_is_released_or_retried_has_lost_no_worker(sql: Session) -> None:
    id = running(sql)
    for attempt, verb in enumerate(("release", "retry", "release", "retry"), start=1):
        requeue(sql, verb, {"id": id, "attempt": attempt})
        assert claim(sql, id)[0]["status"] == "running"
    assert row(sql, id)["losses"] == 0


def test_a_replay_forgives_the_losses(sql: Session) -> None:
    id = running(sql)
    for _ in range(3):
        end_lease(sql, id)
        claim(sql, id)
    assert replay(sql, id) == [id]
    assert claim(sql, id)[0]["status"] == "running"
    assert row(sql, id)["losses"] == 0


def test_poisoned_rows_leave_the_others_of_their_claim_alone(sql: Session) -> None:
    poisoned, lost, queued = running(sql), running(sql), insert(sql)
    sql.run("update rowcall.generations set losses = 2, status = 'running' where id = %s", poisoned)
    end_lease(sql, poisoned)
    end_lease(sql, lost)
    assert {str(work["id"]): work["status"] for work in claim(sql, poisoned, lost, queued)} == {
        poisoned: "failed", lost: "running", queued: "running"}  # fmt: skip


def test_the_operator_cancels_rows_of_anybody(sql: Session) -> None:
    rows = [insert(sql, sql.new_user()), running(sql), running(sql)]
    sql.as_service()
    finish(sql, {"id": rows[2], "attempt": 1, "status": "succeeded"})
    canceled = sql.column("select rowcall.cancel_generations_v1(%s::uuid[])", rows)
    assert sorted(map(str, canceled)) == sorted(rows[:2])
