"""Two routes answer the same questions, `rowcall calibrate` learns from them, and a worker routes by what it wrote."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from tests.conftest import REPOSITORY
from worker import calibrating
from worker.cli import app
from worker.cli.ending import ExitCode
from worker.client import Rowcall
from worker.local.stack import Stack

ACCOUNT = {"email": "calibrator@example.com", "password": "asks several routes"}
# What the small route says of the second is cut off before it cites anything.
DOCUMENTS = {
    "swift.md": "Swifts fly fast.",
    "orchestra.md": "The orchestra owns instruments of maple, spruce, ebony, rosewood, pernambuco, boxwood and "
    "blackwood, which it keeps in a dry room.",
}
EASY, HARD = "How fast do swifts fly? ({n})", "Of which woods are the instruments that the orchestra owns, in all {n}?"
EACH = 25
SMALL, LARGE = "small:route=default,routes.default.max_output_tokens=16", "large:route=strong"
Run = Callable[..., Result]


@pytest.fixture
def run(rowcall_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`rowcall …`, content with few questions."""
    for name, value in rowcall_stack.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", rowcall_stack.publishable_key)
    monkeypatch.setenv("ROWCALL_EMAIL", ACCOUNT["email"])
    monkeypatch.setenv("ROWCALL_PASSWORD", ACCOUNT["password"])
    monkeypatch.setattr(calibrating, "LEAST_MEASURED", 2 * EACH)
    monkeypatch.setattr(calibrating, "LEAST_RATED", 2 * EACH)
    return lambda *arguments: CliRunner().invoke(app, arguments)


async def ingest(stack: Stack) -> None:
    async with Rowcall(stack.url, stack.publishable_key, sign_up=True, **ACCOUNT) as user:
        written = await user.put_documents([{"source": s, "content": text} for s, text in DOCUMENTS.items()])
        await user.wait_all([document["generation_id"] for document in written])


def asked(path: Path, numbers: range) -> Path:
    pairs = zip((EASY, HARD), DOCUMENTS, strict=True)
    items = [{"question": q.format(n=n), "source": source} for q, source in list(pairs) for n in numbers]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def evaluated(run: Run, questions: Path, *variants: str) -> dict[str, Any]:
    ran = run("eval", str(questions), "--json", "--at-once", "16", *(a for v in variants for a in ("--variant", v)))
    assert ran.exit_code == ExitCode.SUCCEEDED, ran.output
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def rate(stack: Stack) -> None:
    """As users would: what cites nothing is bad."""
    with psycopg.connect(stack.db_url, autocommit=True) as database:
        database.execute(
            """insert into rowcall.feedback (generation_id, user_id, rating)
               select g.id, g.user_id, case when jsonb_array_length(g.citations) > 0 then 1 else -1 end
                 from rowcall.generations g join auth.users u on u.id = g.user_id
                where u.email = %s and g.kind = 'answer' and g.status = 'succeeded'""",
            (ACCOUNT["email"],),
        )


def ledger(stack: Stack) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.db_url) as database:
        return database.execute(
            """select distinct purpose, status, model, tokens_in > 0, cost_usd from rowcall.calls
                where kind = 'calibrate'"""
        ).fetchall()


@pytest.mark.timeout(600)
def test_a_worker_routes_by_what_was_learned_from_its_own_routes_answers(
    rowcall_stack: Stack, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(ingest(rowcall_stack))
    answers, weights = tmp_path / "answers.json", tmp_path / "routing.npz"
    report = evaluated(run, asked(tmp_path / "questions.jsonl", range(EACH)), SMALL, LARGE)
    answers.write_text(json.dumps(report))
    small, large = report["variants"]
    assert (small["routes"], large["routes"]) == ({"default": 2 * EACH}, {"strong": 2 * EACH})
    assert (small["quality"], large["quality"]) == (0.5, 1.0)

    calibrated = run("calibrate", str(answers), "--write", str(weights), "--json")
    assert calibrated.exit_code == ExitCode.SUCCEEDED, calibrated.output
    said = json.loads(calibrated.stdout)
    assert (said["questions"], said["written"]) == (2 * EACH, str(weights))
    assert said["held_out"]["router"]["quality"] > said["held_out"]["random mix"]["quality"]
    assert ledger(rowcall_stack) == [("embed", "succeeded", "all-MiniLM-L6-v2", True, 0)]

    rate(rowcall_stack)
    rated = run("calibrate", "--from", "feedback", "--days", "1")
    assert rated.exit_code == ExitCode.SUCCEEDED, rated.output
    assert "by route: default 50, strong 50" in " ".join(rated.stdout.split())

    config = tmp_path / "rowcall.toml"
    shipped = (REPOSITORY / "rowcall.toml").read_text()
    turned_on = shipped.replace("routes = []  ", 'routes = ["default", "strong"]')
    config.write_text(turned_on.replace('weights = ""  ', 'weights = "routing.npz"'))
    monkeypatch.setenv("ROWCALL_CONFIG", str(config))
    routed = evaluated(run, asked(tmp_path / "more.jsonl", range(EACH, EACH + 3)), "routed")
    assert [answer["route"] for answer in routed["questions"]["routed"]] == ["default"] * 3 + ["strong"] * 3
