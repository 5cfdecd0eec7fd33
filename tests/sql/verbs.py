"""The verbs of a generation's life, as the worker calls them in SQL."""

from typing import Any

from tests.sql.session import Session, User, jsonb

ERROR = {"code": "model.limited", "message": "later"}


def insert(sql: Session, user: User | None = None, **columns: Any) -> str:
    """A generation as the service inserts it; the service asks afterwards."""
    sql.as_service()
    columns = {"input": {"question": "why?"}, "user_id": user and user.id, **columns}
    values = [jsonb(value) if isinstance(value, dict | list) else value for value in columns.values()]
    places = ", ".join(["%s"] * len(values))
    return str(
        sql.value(f"insert into rowcall.generations ({', '.join(columns)}) values ({places}) returning id", *values)
    )


def claim(sql: Session, *ids: str, worker: str = "w", opens: tuple[dict[str, Any], ...] = ()) -> list[dict[str, Any]]:
    return sql.all(
        "select * from rowcall.claim_generations_v1(%s::uuid[], %s, 30, %s::jsonb[])",
        list(ids),
        worker,
        [jsonb(opening) for opening in opens],
    )


def running(sql: Session, user: User | None = None, **columns: Any) -> str:
    id = insert(sql, user, **columns)
    assert len(claim(sql, id)) == 1
    return id


def finish(sql: Session, *results: dict[str, Any]) -> list[dict[str, Any]]:
    return sql.all("select * from rowcall.finish_generations_v4(%s::jsonb[])", [jsonb(result) for result in results])


def requeue(sql: Session, verb: str, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    return sql.all(f"select * from rowcall.{verb}_generations_v1(%s::jsonb[])", [jsonb(entry) for entry in entries])


def replay(sql: Session, *ids: str) -> list[str]:
    """Those that are queued again."""
    found = sql.all("select * from rowcall.replay_generations_v2(%s::uuid[])", list(ids))
    return [str(told["id"]) for told in found if told["outcome"] == "replayed"]


def row(sql: Session, id: str) -> dict[str, Any]:
    return sql.one("select * from rowcall.generations where id = %s", id)


def attempts(sql: Session, id: str) -> list[dict[str, Any]]:
    return sql.all("select * from rowcall.attempts where generation_id = %s order by attempt", id)


def end_lease(sql: Session, id: str) -> None:
    sql.run(
        """update rowcall.attempts set lease_until = now() - interval '1 second'
            where generation_id = %s and outcome is null""",
        id,
    )


def cancel(sql: Session, user: User, id: str) -> bool:
    """As the owner; the service asks afterwards."""
    sql.as_user(user)
    canceled = bool(sql.value("select rowcall.cancel_generation(%s)", id))
    sql.as_service()
    return canceled
