"""The tutorial's commands, as they stand there."""

import re
import subprocess
from pathlib import Path

import psycopg

from tests.conftest import REPOSITORY
from tests.waiting import until
from worker.local.stack import Stack

PAGE = REPOSITORY / "docs" / "tutorials" / "fill-a-column.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_tutorial_fill_the_column(rowcall_stack: Stack, tmp_path: Path) -> None:
    """In a folder that looks like a clone where `make dev` runs; with fewer rows, and without its naps."""
    (tmp_path / ".rowcall").symlink_to(rowcall_stack.config.state_dir)
    (tmp_path / ".venv").symlink_to(REPOSITORY / ".venv")
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == 7
    script = "set -e\n" + "".join(blocks).replace("1000", "20").replace("sleep", "true")
    with psycopg.connect(rowcall_stack.db_url, autocommit=True) as connection:
        try:
            done = subprocess.run(
                ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
            )
            assert done.returncode == 0, done.stderr
            assert "tickets.summary by summarize" in done.stdout
            assert "id 1  Summarize in one sentence: The invoice of March" in done.stdout

            def all_filled() -> bool:
                counts = "select count(*) = 21 and count(*) = count(summary) from public.tickets"
                return bool(connection.execute(counts).fetchall()[0][0])

            until(all_filled, "every summary is filled")
            [migration] = tmp_path.glob("*_automation_tickets_summarize.sql")
            connection.execute(migration.read_bytes())  # the same again, from the command line
        finally:
            connection.execute("drop table if exists public.tickets")
