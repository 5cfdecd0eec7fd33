import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.worker.cli.conftest import Run
from worker.cli.ending import ExitCode

Rated = Callable[..., str]


@pytest.fixture
def rated(database: psycopg.Connection[Any]) -> Rated:
    """Makes an answer that its owner has rated up; its id. Nothing in it cites anything, so the kind is another."""

    def make(question: str = "Why?", answer: str = "Since.") -> str:
        user = str(uuid4())
        database.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"{user}@example.com"))
        [(id,)] = database.execute(
            """insert into rowcall.generations (user_id, kind, input, status, answer, finished_at)
               values (%s, 'ingest', jsonb_build_object('document_id', 'd', 'question', %s::text), 'succeeded', %s,
                       now())
               returning id::text""",
            (user, question, answer),
        ).fetchall()
        database.execute("insert into rowcall.feedback (generation_id, user_id, rating) values (%s, %s, 1)", (id, user))
        return str(id)

    return make


def test_rated_answers_are_promoted_listed_and_removed(rowcall: Run, rated: Rated) -> None:
    good, long = rated(), rated(answer="since " * 500)
    made = rowcall("examples", "promote", "--json")
    assert made.exit_code == ExitCode.SUCCEEDED, made.output
    told = json.loads(made.stdout)
    assert good in told["promoted"]
    [problem] = [row["problem"] for row in told["not_promoted"] if row["id"] == long]
    assert "too long" in problem
    listed = json.loads(rowcall("examples", "list", "--json", "--limit", "100").stdout)
    [mine] = [row for row in listed if row["generation_id"] == good]
    assert mine["id"] in told["learning"]
    assert (mine["characters"], mine["embedding_model"], "question" in mine) == (len("Why?Since."), None, False)
    shown = rowcall("examples", "list").stdout
    assert f"{mine['id']} ingest · of {good}" in shown
    assert "not embedded yet" in shown
    assert max(map(len, shown.splitlines()[1:])) <= 80
    assert f"{mine['id']}" in rowcall("examples", "remove", str(mine["id"]), "--json").stdout
    again = rowcall("examples", "remove", str(mine["id"]))
    assert (again.exit_code, "it does not exist" in again.stdout) == (ExitCode.FAILED, True)
    assert good not in json.loads(rowcall("examples", "promote", "--json").stdout)["promoted"]


def test_what_was_left_out_is_counted_by_its_reason(rowcall: Run, rated: Rated) -> None:
    rated(answer="since " * 500)
    shown = rowcall("examples", "promote").stdout
    assert "not promoted: it is too long" in shown
    assert "promoted" in shown.splitlines()[-1]


def test_examples_are_learned_anew_without_a_rating(rowcall: Run, database: psycopg.Connection[Any]) -> None:
    user = str(uuid4())
    database.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"{user}@example.com"))
    [(id,)] = database.execute(
        "insert into rowcall.examples (user_id, question, answer) values (%s, 'q', 'a') returning id", (user,)
    ).fetchall()
    assert id in json.loads(rowcall("examples", "learn", "--json").stdout)["learning"]
    assert "being embedded by the workers" in rowcall("examples", "learn").stdout
