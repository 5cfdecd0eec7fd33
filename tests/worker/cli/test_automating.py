import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.worker.cli.conftest import Run
from worker.cli.ending import ExitCode
from worker.local.migrating import apply_migrations
from worker.local.stack import Stack

Database = psycopg.Connection[Any]


@pytest.fixture
def notes(database: Database) -> Iterator[str]:
    """A table of the project's own, with two rows."""
    database.execute("create table public.test_notes (id bigint primary key, body text, summary text)")
    database.execute("insert into public.test_notes values (1, 'Swallows fly.'), (2, 'Coconuts do not.')")
    yield "test_notes"
    database.execute("drop table public.test_notes")


def test_an_automation_is_written_as_a_migration_applied_listed_and_tried(
    rowcall: Run, database: Database, notes: str, tmp_path: Path
) -> None:
    added = rowcall(
        "automation", "add", notes, "summary", "--ask", "Summarize: {{body}}", "--migrations", str(tmp_path)
    )
    assert added.exit_code == ExitCode.SUCCEEDED, added.output
    assert f"written to {tmp_path}" in added.stdout
    [path] = tmp_path.iterdir()
    assert path.name.endswith("_automation_test_notes_fill_summary.sql")
    database.execute(path.read_bytes())

    listed = rowcall("automation", "list")
    assert listed.exit_code == ExitCode.SUCCEEDED
    assert "test_notes.summary by fill_summary" in listed.stdout
    [one] = [a for a in json.loads(rowcall("automation", "list", "--json").stdout) if a["table_name"] == notes]
    assert (one["kind"], one["template"], one["problem"]) == ("complete", "Summarize: {{body}}", None)

    tried = rowcall("automation", "test", notes, "fill_summary", "--rows", "2")
    assert tried.exit_code == ExitCode.SUCCEEDED
    assert [line.strip() for line in tried.stdout.splitlines()] == [
        "id 1  Summarize: Swallows fly.",
        "id 2  Summarize: Coconuts do not.",
    ]


def test_a_wrong_declaration_is_shown_and_the_exit_code_says_so(rowcall: Run, database: Database, notes: str) -> None:
    database.execute(
        """create trigger wrong after insert on public.test_notes for each row
           execute function rowcall.generate('complete', '{{text}}', 'summary', 'lane=never')"""
    )
    listed = rowcall("automation", "list")
    assert (listed.exit_code, "lane must be interactive or bulk" in listed.stdout) == (ExitCode.FAILED, True)
    tried = rowcall("automation", "test", notes, "wrong", "--rows", "1")
    assert (tried.exit_code, "names {{text}}" in tried.stdout) == (ExitCode.FAILED, True)
    unknown = rowcall("automation", "test", notes, "gone")
    assert unknown.exit_code == ExitCode.UNAVAILABLE
    assert "has no automation gone" in unknown.stderr


def test_what_was_written_is_told_to_programs(rowcall: Run, tmp_path: Path) -> None:
    arguments = ("automation", "add", "posts", "summary", "--ask", "{{body}}", "--migrations", str(tmp_path), "--json")
    told = json.loads(rowcall(*arguments).stdout)
    assert Path(told["written"]).read_text() == told["statement"]


def test_a_folder_that_is_not_there_is_named(rowcall: Run, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    refused = rowcall("automation", "add", "posts", "summary", "--ask", "{{body}}", "--migrations", gone)
    assert (refused.exit_code, "is no folder" in refused.stderr) == (ExitCode.FAILED, True)


def test_sql_and_migrate_find_the_embedded_stack_that_runs_here(stack: Stack) -> None:
    state = str(stack.config.state_dir)
    command = [sys.executable, "-m", "worker.cli"]
    asked = subprocess.run(
        [*command, "sql", "select current_user || ' ' || 6 * 7 as it", "--state", state],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    assert "postgres 42" in asked.stdout
    piped = subprocess.run(
        [*command, "sql", "--state", state], input="select 1/0;", capture_output=True, text=True, check=False
    )
    assert (piped.returncode, "division by zero" in piped.stderr) == (3, True)
    migrated = subprocess.run([*command, "migrate", "--state", state], capture_output=True, text=True, check=False)
    assert migrated.stdout == "nothing to apply: the schema is up to date\n"
    assert apply_migrations(stack.db_url, stack.config.project_dir / "supabase" / "migrations") == ()
