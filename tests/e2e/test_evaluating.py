"""`rowcall eval` beside a worker that runs: every answer is by the variant's own configuration."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from worker.cli import app
from worker.client import Rowcall
from worker.local.stack import Stack

QUESTIONS = ("How fast is the swift?", "Who feeds the swift?", "Where does the swift sleep?")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"question": q, "source": "swift.md"}) + "\n" for q in QUESTIONS))
    return path


async def ingest(stack: Stack, account: Mapping[str, str]) -> None:
    async with Rowcall(stack.url, stack.publishable_key, sign_up=True, **account) as user:
        text = "# Swift\n\nThe swift flies 31 metres per second. It sleeps in the air. Nobody feeds the swift."
        written = await user.put_documents([{"source": "swift.md", "content": text}])
        await user.wait_all([document["generation_id"] for document in written])


def test_variants_answer_the_same_questions_and_the_cache_spares_the_second_round(
    rowcall_stack: Stack, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = {"email": "evaluator@example.com", "password": "asks the same again"}
    asyncio.run(ingest(rowcall_stack, account))
    for name, value in rowcall_stack.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", rowcall_stack.publishable_key)
    monkeypatch.setenv("ROWCALL_EMAIL", account["email"])
    monkeypatch.setenv("ROWCALL_PASSWORD", account["password"])
    picture = tmp_path / "pareto.svg"

    def evaluate(*variants: str) -> dict[str, Any]:
        arguments = [argument for variant in variants for argument in ("--variant", variant)]
        ran = CliRunner().invoke(app, ["eval", str(questions), "--json", "--svg", str(picture), *arguments])
        assert ran.exit_code == 0, ran.output
        report: dict[str, Any] = json.loads(ran.stdout)
        return report

    first = evaluate("best:quality=best", "cached:cache.mode=exact")
    best, cached = first["variants"]
    assert (best["routes"], cached["routes"]) == ({"best": 3}, {"default": 3})
    assert (best["answered"], cached["answered"], cached["reused"]) == (3, 3, 0)
    assert best["quality"] == cached["quality"] == 1.0
    assert 0 < cached["cost_usd"] < best["cost_usd"]
    assert picture.read_text().startswith("<svg")

    (again,) = evaluate("cached:cache.mode=exact")["variants"]
    assert (again["reused"], again["cost_usd"], again["quality"]) == (3, 0.0, 1.0)


async def test_a_row_is_born_running_with_the_claims_of_its_owner(rowcall_stack: Stack, rowcall: Rowcall) -> None:
    from worker.app import machine
    from worker.settings import load

    claims = await rowcall.claims()
    async with machine(load(rowcall_stack.environment())) as m, m.leases.renewed():
        work = await m.rows.begin(claims, "answer", {"question": "whose am I?"}, {})
        assert (work.user_id, work.attempt) == (claims["sub"], 1)
        assert await m.rows.claim(work.id) is None
        await m.executor.see_through(work)
    row = (await rowcall.wait_all([work.id]))[work.id]
    assert (row["status"], row["attempt"]) == ("succeeded", 1)
