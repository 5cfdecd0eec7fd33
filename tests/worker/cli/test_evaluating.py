"""What `rowcall eval` refuses before it asks anything."""

import json
from pathlib import Path

import pytest

from tests.worker.cli.conftest import Run
from worker.cli.ending import ExitCode


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"question": "Who?", "answer": "Nobody."}) + "\n")
    return str(path)


def said(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--from", "feedback"), ExitCode.USAGE, "name a file of questions, or give --from feedback: one of the two"),
        (("--svg", "gone/pareto.svg"), ExitCode.USAGE, "--svg: there is no folder gone"),
        (("--variant", "a", "--variant", "a"), ExitCode.USAGE, "--variant: a is there twice"),
        (("--baseline", "c"), ExitCode.USAGE, "--baseline: c is no variant; they are best, as-configured"),
        (("--variant", "a:quality=super"), ExitCode.USAGE, "quality must be one of auto, fast, best"),
        (("--variant", "a:cache.mode=x"), ExitCode.CONFIGURATION, "variant a: "),
        (("--variant", "a:route=x"), ExitCode.CONFIGURATION, "variant a: route must be a name of [routes]"),
    ],
)
def test_what_cannot_be_measured_is_named(
    rowcall: Run, questions: str, arguments: tuple[str, ...], code: ExitCode, says: str
) -> None:
    refused = rowcall("eval", questions, *arguments)
    assert refused.exit_code == code
    assert says in said(refused.stderr)


def test_a_configuration_that_is_wrong_without_any_variant_is_no_variant_s(
    rowcall: Run, questions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWCALL_CONFIG", "gone.toml")
    refused = rowcall("eval", questions)
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert said(refused.stderr).startswith("gone.toml: there is no such file")


def test_the_help_says_what_a_judge_does_without(rowcall: Run) -> None:
    shown = said(rowcall("eval", "--help").stdout.replace("│", " "))
    assert "with --judge the question alone will do" in shown
