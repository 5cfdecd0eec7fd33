import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from worker.scaffolding import NotWritten, initialise, new_job

NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with nothing in it but what a job needs."""
    for folder in ("jobs/prompts", "tests/jobs", "supabase/migrations"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_a_new_job_is_four_files(project: Path) -> None:
    assert [str(path.relative_to(project)) for path in new_job("summarize", project, NOW)] == [
        "jobs/summarize.py",
        "jobs/prompts/summarize.md",
        "tests/jobs/test_summarize.py",
        "supabase/migrations/20261125123000_job_summarize.sql",
    ]


def test_a_new_job_passes_its_test_lint_and_types(project: Path) -> None:
    """In a copy of the packages, as `rowcall new-job` leaves a checkout."""
    for package in ("jobs", "worker", "tests"):
        for file in (REPOSITORY / package).rglob("*"):
            if file.suffix in {".py", ".gz"} and "node_modules" not in file.parts:
                copy = project / file.relative_to(REPOSITORY)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
    (project / "pyproject.toml").write_bytes((REPOSITORY / "pyproject.toml").read_bytes())
    job, _prompt, test, _migration = (str(path.relative_to(project)) for path in new_job("tell_short", project, NOW))
    for command in (
        ["pytest", "-q", "-p", "no:cacheprovider", test],
        ["ruff", "check", "--no-cache", job, test],
        ["ruff", "format", "--no-cache", "--check", job, test],
        ["mypy", "--no-incremental", job, test],
    ):
        ran = subprocess.run([sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"


def test_the_tutorial_shows_the_job_as_it_is_written(project: Path) -> None:
    page = (REPOSITORY / "docs" / "tutorials" / "your-own-job.md").read_text(encoding="utf-8")
    _before, _, shown = page.partition("```python\n")
    written = new_job("headline", project, NOW)[0].read_text()
    assert written.endswith("\n\n" + shown.partition("```")[0])


@pytest.mark.parametrize("name", ["", "Summarize", "9lives", "two words", "../x", "class", "a" * 64])
def test_a_job_wants_a_name_that_python_and_the_database_take(project: Path, name: str) -> None:
    with pytest.raises(NotWritten, match="is no name for a job"):
        new_job(name, project, NOW)


def test_a_name_that_python_keeps_for_itself_says_so(project: Path) -> None:
    with pytest.raises(NotWritten, match="'class' is no name for a job: it is a word of Python's own"):
        new_job("class", project, NOW)


def test_no_file_is_overwritten(project: Path) -> None:
    (project / "tests" / "jobs" / "test_summarize.py").write_text("mine")
    with pytest.raises(NotWritten, match=r"tests/jobs/test_summarize.py is there already"):
        new_job("summarize", project, NOW)
    assert not (project / "jobs" / "summarize.py").exists()


def test_a_project_gets_the_shipped_configuration_and_a_secret_of_its_own(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert [(w.path.name, w.is_new) for w in initialise(first, REPOSITORY)] == [("rowcall.toml", True), (".env", True)]
    initialise(second, REPOSITORY)
    assert (first / "rowcall.toml").read_text() == (REPOSITORY / "rowcall.toml").read_text()
    assert (first / ".env").stat().st_mode & 0o777 == 0o600
    secrets = {secret_of(folder) for folder in (first, second)}
    assert len(secrets) == 2
    assert all(len(secret) > 40 for secret in secrets)


def secret_of(folder: Path) -> str:
    [line] = [line for line in (folder / ".env").read_text().splitlines() if line.startswith("ROWCALL_WEBHOOK_SECRET=")]
    return line.partition("=")[2]


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("mine")
    assert [w.is_new for w in initialise(tmp_path, REPOSITORY)] == [True, False]
    assert (tmp_path / ".env").read_text() == "mine"


def test_an_installed_package_is_no_place_to_begin_from(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match="no clone of the repository"):
        initialise(tmp_path / "new", tmp_path)
    assert not (tmp_path / "new").exists()
