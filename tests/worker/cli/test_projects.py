"""Which project a command speaks to."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import REPOSITORY
from worker.cli import app
from worker.cli.ending import ExitCode
from worker.cli.projects import chosen_project
from worker.local.stack import Stack

HOSTED = "SUPABASE_URL=https://hosted.supabase.co\nSUPABASE_SECRET_KEY=sb_secret_hosted\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("SUPABASE_URL", "SUPABASE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text(HOSTED)
    return tmp_path


def test_the_file_is_used_where_nothing_else_names_a_project(folder: Path) -> None:
    chosen = chosen_project(folder / "no-state")
    assert (chosen.environ["SUPABASE_URL"], chosen.origin) == ("https://hosted.supabase.co", ".env")


def test_the_embedded_stack_that_runs_comes_before_the_file(stack: Stack) -> None:
    chosen = chosen_project(stack.config.state_dir)
    assert chosen.is_embedded
    assert chosen.environ["SUPABASE_URL"] == stack.url
    assert chosen.environ["SUPABASE_SECRET_KEY"] == stack.secret_key


def test_the_process_s_own_environment_comes_first(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "https://other.supabase.co")
    chosen = chosen_project(stack.config.state_dir)
    assert not chosen.is_embedded
    assert chosen.environ["SUPABASE_URL"] == "https://other.supabase.co"


def test_the_secret_key_may_stand_in_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "key").write_text("sb_secret_from_a_file\n")
    (folder / ".env").write_text("SUPABASE_URL=https://hosted.supabase.co\n")
    monkeypatch.setenv("SUPABASE_SECRET_KEY_FILE", str(folder / "key"))
    assert chosen_project(folder).environ["SUPABASE_SECRET_KEY"] == "sb_secret_from_a_file"


def test_the_process_s_own_configuration_goes_before_the_embedded_stack_s(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = chosen_project(stack.config.state_dir).environ["ROWCALL_CONFIG"]
    monkeypatch.setenv("ROWCALL_CONFIG", "mine.toml")
    assert (before, chosen_project(stack.config.state_dir).environ["ROWCALL_CONFIG"]) == (
        str(REPOSITORY / "rowcall.toml"),
        "mine.toml",
    )


@pytest.mark.parametrize("command", [("status",), ("ask", "hi")])
@pytest.mark.parametrize("url", ["127.0.0.1:54321", "htp://x"])
def test_an_address_that_is_no_url_is_named(folder: Path, url: str, command: tuple[str, ...]) -> None:
    rest = "SUPABASE_PUBLISHABLE_KEY=k\nROWCALL_EMAIL=a@b.c\nROWCALL_PASSWORD=p\n"
    (folder / ".env").write_text(f"SUPABASE_URL={url}\nSUPABASE_SECRET_KEY=sb_secret_hosted\n{rest}")
    refused = CliRunner().invoke(app, [*command, "--state", "none"])
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert f"SUPABASE_URL must be a URL that begins with http:// or https:// (it is '{url}')" in refused.stderr


@pytest.mark.parametrize(
    "command", [("eval", "q.jsonl"), ("calibrate", "q.jsonl"), ("fallback-drill",), ("status",), ("doctor",)]
)
def test_without_a_project_a_command_says_how_to_get_one(folder: Path, command: tuple[str, ...]) -> None:
    (folder / ".env").unlink()
    (folder / "q.jsonl").touch()
    refused = CliRunner().invoke(app, [*command, "--state", "none"])
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "Start one with `rowcall dev`, or set SUPABASE_URL, SUPABASE_SECRET_KEY" in refused.stderr
