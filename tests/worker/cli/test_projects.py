"""Which project a command speaks to."""

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
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
