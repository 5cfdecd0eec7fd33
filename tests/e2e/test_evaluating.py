"""`rowcall eval` beside a worker that runs: every answer is by the variant's own configuration."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from worker.cli import app
from worker.client import Rowcall
from worker.local.stack import Stack

QUESTIONS = ("How fast is the swift?", "Who feeds the swift?", "Where does the swift sleep?")


ACCOUNT: Mapping[str, Any] = {"email": "evaluator@example.com", "password": "asks the same again"}


@pytest.fixture
def as_evaluator(rowcall_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has a document, and whom commands ask as."""
    asyncio.run(ingest(rowcall_stack))
    for name, value in rowcall_stack.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", rowcall_stack.publishable_key)
    monkeypatch.setenv("ROWCALL_EMAIL", ACCOUNT["email"])
    monkeypatch.setenv("ROWCALL_PASSWORD", ACCOUNT["password"])


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"question": q, "source": "swift.md"}) + "\n" for q in QUESTIONS))
    return path


async def ingest(stack: Stack) -> None:
    async with Rowcall(stack.url, stack.publishable_key, sign_up=True, **ACCOUNT) as user:
        text = "# Swift\n\nThe swift flies 31 metres per second. It sleeps in the air. Nobody feeds the swift."
        written = await user.put_documents([{"source": "swift.md", "content": text}])
        await user.wait_all([document["generation_id"] for document in written])


@pytest.mark.usefixtures("as_evaluator")
def test_variants_answer_the_same_questions_and_the_cache_spares_the_second_round(
    questions: Path, tmp_path: Path
) -> None:
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


@pytest.mark.usefixtures("as_evaluator")
def test_a_question_that_the_project_does_not_take_is_named(questions: Path) -> None:
    with questions.open("a") as file:
        file.write(json.dumps({"input": {"question": "why?", "filter": 3}, "answer": "so"}) + "\n")
    ran = CliRunner().invoke(app, ["eval", str(questions), "--variant", "same"])
    assert ran.exit_code == 1
    assert "question 4 of the set: input.filter must be an object, not number" in ran.stderr


@pytest.mark.usefixtures("as_evaluator")
def test_a_picture_that_cannot_be_written_costs_nobody_the_figures(questions: Path) -> None:
    arguments = ("--json", "--variant", "same", "--svg", "/proc/self/pareto.svg")
    ran = CliRunner().invoke(app, ["eval", str(questions), *arguments])
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["variants"][0]["answered"] == 3
    assert "/proc/self/pareto.svg cannot be written: " in ran.stderr


@pytest.mark.usefixtures("as_evaluator")
def test_own_questions_whose_answers_were_rated_well_are_a_set(rowcall_stack: Stack) -> None:
    async def asked_and_rated() -> None:
        async with Rowcall(rowcall_stack.url, rowcall_stack.publishable_key, **ACCOUNT) as user:
            good, again, bad = [await user.submit({"question": q}) for q in (*QUESTIONS[:1] * 2, QUESTIONS[1])]
            await user.wait_all([good, again, bad])
            for id, liked in ((good, True), (again, True), (bad, False)):
                await user.rate(id, good=liked)

    asyncio.run(asked_and_rated())
    ran = CliRunner().invoke(app, ["eval", "--from", "feedback", "--json", "--variant", "same"])
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert report["inputs"] == [{"question": QUESTIONS[0]}]
    assert (report["variants"][0]["quality"], report["questions"]["same"][0]["cited"]) == (1.0, None)

    nothing = CliRunner().invoke(app, ["eval", "--from", "feedback", "--kind", "complete"])
    assert nothing.exit_code == 1
    assert "rated no answer well in the last 90 days" in nothing.stderr


@pytest.mark.usefixtures("as_evaluator")
def test_a_judge_grades_what_a_set_has_no_reference_for(rowcall_stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "bare.jsonl"
    path.write_text("".join(json.dumps({"question": question}) + "\n" for question in QUESTIONS))
    fault = {"kind": "says", "text": "It says so. [1]\nScore: 7"}
    rule = {"match": {"contains": '"references": []'}, "times": "always", "fault": fault}
    faults = httpx.URL(rowcall_stack.model_url).join("/control/faults")
    httpx.post(faults, json=[rule]).raise_for_status()
    try:
        ran = CliRunner().invoke(app, ["eval", str(path), "--json", "--judge", "--variant", "same"])
    finally:
        httpx.delete(faults).raise_for_status()
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert [found["grade"] for found in report["questions"]["same"]] == [0.7] * 3
    assert report["variants"][0]["quality"] == pytest.approx(0.7)
    assert any("a model's grade" in note for note in report["notes"])

    ungraded = CliRunner().invoke(app, ["eval", str(path), "--judge", "--variant", "same"])
    assert ungraded.exit_code == 1
    assert "the judge gave no grade" in ungraded.stderr


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
