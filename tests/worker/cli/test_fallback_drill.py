import json
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.worker.cli.conftest import Run
from worker.cli.ending import ExitCode


def test_each_shipped_chain_answers_when_its_first_model_fails(rowcall: Run) -> None:
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
    assert "strong answered" in shown.stdout


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
