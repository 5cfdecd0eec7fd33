import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import REPOSITORY
from tests.worker.cli.conftest import Run
from worker.cli.ending import ExitCode
from worker.local.stack import Stack


def test_each_shipped_chain_answers_when_its_first_model_fails(rowcall: Run, stack: Stack) -> None:
    drilled = rowcall("fallback-drill", "--json")
    assert drilled.exit_code == ExitCode.SUCCEEDED, drilled.output
    answered = {(chain["route"], chain["cause"]): chain["answered_by"] for chain in json.loads(drilled.stdout)}
    assert answered == {
        ("default", "errors"): "strong",
        ("default", "refusals"): "strong",
        ("strong", "errors"): "default",
        ("strong", "refusals"): "best",
        ("best", "errors"): "strong",
    }
    shown = rowcall("fallback-drill")
    assert shown.stdout.startswith(f"{stack.url} · the environment\n")
    assert "strong answered" in shown.stdout
    assert "the local model stood in for every route" in " ".join(shown.stdout.split())


def test_a_chain_that_nobody_answers_is_named_with_the_reason(
    rowcall: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROWCALL_LIVE", "true")  # the configured providers, of which this one is not there
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    path = tmp_path / "rowcall.toml"
    path.write_text(
        (REPOSITORY / "rowcall.toml").read_text().replace("https://api.openai.com/v1", "http://127.0.0.1:9/v1")
    )
    monkeypatch.setenv("ROWCALL_CONFIG", str(path))
    drilled = rowcall("fallback-drill")
    assert drilled.exit_code == ExitCode.FAILED
    assert "the local model" not in drilled.stdout
    assert "no answer" in drilled.stdout
    assert "model.unavailable" in drilled.stdout


def test_without_a_chain_there_is_nothing_to_drill(
    rowcall: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "rowcall.toml"
    parts = (REPOSITORY / "rowcall.toml").read_text().split("\n\n")
    path.write_text("\n\n".join(part for part in parts if "[fallbacks." not in part))
    monkeypatch.setenv("ROWCALL_CONFIG", str(path))
    drilled = rowcall("fallback-drill")
    assert drilled.exit_code == ExitCode.FAILED
    assert "no route has a fallback" in drilled.stdout


CACHE_LAST = 'errors = ["strong", "cache"]         # timeouts'


@pytest.mark.parametrize("mode", ["off", "exact"])
def test_a_chain_that_ends_at_the_cache_is_drilled_to_its_end(
    rowcall: Run, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    user = uuid4()
    database.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"{user}@example.com"))
    [(document,)] = database.execute(
        "insert into rowcall.documents (user_id, content) values (%s, 'x') returning id", (user,)
    ).fetchall()
    database.execute(
        """insert into rowcall.chunks (document_id, revision, ordinal, content, start_char, end_char, tokens,
                                       content_hash)
           values (%s, 1, 0, 'x', 0, 1, 1, 'x')""",
        (document,),
    )
    path = tmp_path / "rowcall.toml"
    shipped = (REPOSITORY / "rowcall.toml").read_text().replace('errors = ["strong"]         # timeouts', CACHE_LAST)
    path.write_text(shipped.replace('mode = "off"  ', f'mode = "{mode}"'))
    monkeypatch.setenv("ROWCALL_CONFIG", str(path))
    before = database.execute("select count(*) from rowcall.answer_cache").fetchone()
    drilled = rowcall("fallback-drill", "--json")
    told = [chain for chain in json.loads(drilled.stdout) if (chain["route"], chain["cause"]) == ("default", "errors")]
    first, every = ((chain["failing"], chain["answered_by"], chain["problem"]) for chain in told)
    assert first == ("first", "strong", None)
    off = "cache: [cache] has mode off, so no answer is ever kept"
    assert every == ("all", "cache", None) if mode == "exact" else ("all", None, off)
    assert drilled.exit_code == (ExitCode.SUCCEEDED if mode == "exact" else ExitCode.FAILED)
    assert database.execute("select count(*) from rowcall.answer_cache").fetchone() == before
    assert "errors, all fail" in rowcall("fallback-drill").stdout
