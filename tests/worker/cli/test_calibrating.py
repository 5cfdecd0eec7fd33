import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import REPOSITORY
from tests.worker.cli.conftest import Run
from worker.cli.ending import ExitCode

ANSWER = {"quality": 1.0, "tokens_in": 1000, "tokens_out": 100}


def lines(path: Path, count: int, *routes: str) -> str:
    rows = ({"question": f"{n}?", "answers": dict.fromkeys(routes, ANSWER)} for n in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("arguments", [(), ("rowcall.toml", "--from", "feedback")])
def test_a_calibration_wants_answers_or_ratings_and_not_both(rowcall: Run, arguments: tuple[str, ...]) -> None:
    refused = rowcall("calibrate", *arguments)
    assert refused.exit_code == ExitCode.USAGE
    assert "name a file of answers, or give --from feedback" in refused.stderr


def test_a_file_of_answers_that_cannot_be_read_is_a_mistake_of_the_command_line(rowcall: Run, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"question": "?"}\n')
    refused = rowcall("calibrate", str(tmp_path / "own.jsonl"))
    assert refused.exit_code == ExitCode.USAGE
    assert "own.jsonl:1" in refused.stderr


def test_too_few_answers_are_counted_by_route(rowcall: Run, tmp_path: Path) -> None:
    refused = rowcall("calibrate", lines(tmp_path / "own.jsonl", 30, "default", "strong"))
    assert refused.exit_code == ExitCode.FAILED
    assert "default 30, strong 30. At least 100 of each" in refused.stderr


def test_a_route_without_a_price_is_named(rowcall: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rowcall.toml"
    path.write_text((REPOSITORY / "rowcall.toml").read_text().replace('prices."openai/gpt-6.1-terra"', 'prices."o/m"'))
    monkeypatch.setenv("ROWCALL_CONFIG", str(path))
    refused = rowcall("calibrate", lines(tmp_path / "own.jsonl", 100, "default", "strong"))
    assert refused.exit_code == ExitCode.FAILED
    assert "[prices] has none of the model of route strong" in refused.stderr


def test_a_router_that_is_no_better_than_a_random_mix_is_not_written(rowcall: Run, tmp_path: Path) -> None:
    weights = tmp_path / "routing.npz"
    answers = lines(tmp_path / "own.jsonl", 100, "default", "strong")  # all alike: the cheapest alone is as good
    ended = rowcall("calibrate", answers, "--write", str(weights))
    assert ended.exit_code == ExitCode.FAILED, ended.output
    assert "do not turn it on" in " ".join(ended.stdout.split())
    assert "is not written" in " ".join(ended.stdout.split())
    assert not weights.exists()


def test_weights_that_cannot_be_written_are_a_message(rowcall: Run, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    hard, easy = ("Explain why thing {n} is late, and compare it", 0.1), ("Who is {n}?", 1.0)
    rows = [
        {"question": text.format(n=n), "answers": {"default": ANSWER | {"quality": quality}, "strong": ANSWER}}
        for n in range(60)
        for text, quality in (hard, easy)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = rowcall("calibrate", str(path), "--write", "/proc/self/routing.npz")
    assert refused.exit_code == ExitCode.FAILED
    assert "/proc/self/routing.npz cannot be written: " in refused.stderr


def test_ratings_are_read_in_pages_and_those_of_answers_from_the_cache_are_left_out(
    rowcall: Run, database: psycopg.Connection[Any]
) -> None:
    [(user,)] = database.execute(
        "insert into auth.users (id, email) values (gen_random_uuid(), %s) returning id", (f"{uuid4().hex}@x.example",)
    ).fetchall()
    database.execute(
        """with made as (
             insert into rowcall.generations (user_id, input, status, route, tokens_in, tokens_out, answer, finished_at)
             select %s, jsonb_build_object('question', n || ' of many?'), 'succeeded', 'default', 10, 5, 'yes', now()
               from generate_series(1, 131) n returning id, input),
           again as (
             insert into rowcall.calls (generation_id, kind, attempt, purpose, status, reused_id)
             select id, 'answer', 1, 'cache', 'succeeded', 1 from made where input ->> 'question' = '131 of many?')
           insert into rowcall.feedback (generation_id, user_id, rating) select id, %s, 1 from made""",
        (user, user),
    )
    refused = rowcall("calibrate", "--from", "feedback", "--route", "default", "--route", "strong")
    assert refused.exit_code == ExitCode.FAILED
    assert "ratings of 90 days: different questions by route: default 130, strong 0. At least 200" in refused.stderr
