"""The README's first screen, run as it stands there."""

import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.conftest import REPOSITORY
from worker.local.node import FOLDER as NODE_FOLDER
from worker.local.node import find_node
from worker.local.stack import Stack

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

# What a browser has already: the SDK, the project's URL and key, a user who has signed in. Then it waits for the end.
BEFORE = """
import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
const require = createRequire(`${process.env.LOCAL_MODULES}/package.json`)
const { createClient } = require('@supabase/supabase-js')
const settings = { auth: { persistSession: false, autoRefreshToken: false }, realtime: { transport: require('ws') } }
const supabase = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_PUBLISHABLE_KEY, settings)
await supabase.auth.signUp({ email: `${randomUUID()}@example.com`, password: 'correct horse' })
setTimeout(() => process.exit(1), 60000)
const log = console.log
console.log = (text) => { log(text); if (text.startsWith('finished')) process.exit(0) }
"""


def block(language: str, number: int = 0) -> str:
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return blocks[number]


def test_the_browser_s_lines_show_the_answer_as_it_arrives(rowcall_stack: Stack, tmp_path: Path) -> None:
    script = tmp_path / "readme.mjs"
    script.write_text(BEFORE + block("js"))
    environment = {**rowcall_stack.environment(), "LOCAL_MODULES": str(NODE_FOLDER)}
    ran = subprocess.run(
        [find_node(), str(script)], env=environment, capture_output=True, text=True, check=False, timeout=90
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    *deltas, finished = ran.stdout.strip().splitlines()
    assert finished == "finished: read the row"
    assert "I do not know" in "\n".join(deltas)  # this user has no documents


def test_the_line_of_sql_inserts_a_row_that_is_answered(rowcall_stack: Stack) -> None:
    with psycopg.connect(rowcall_stack.db_url) as connection:
        connection.execute(block("sql"))
        found = connection.execute(
            "select status, kind from rowcall.generations where input ->> 'question' = 'How long does a lease last?' "
            "order by created_at desc limit 1"
        ).fetchone()
    assert found == ("queued", "answer")


def test_the_trigger_of_the_readme_is_one_that_postgres_takes(rowcall_stack: Stack) -> None:
    with psycopg.connect(rowcall_stack.db_url) as connection:
        connection.execute("create table public.posts (id bigint primary key, body text, summary text)")
        connection.execute(block("sql", 1))
        connection.execute("insert into public.posts values (1, 'Swallows fly to Africa.')")
        made = connection.execute(
            "select input ->> 'prompt' from rowcall.generations where target ->> 'table' = 'posts'"
        ).fetchone()
        connection.rollback()
    assert made == ("Summarize in one sentence: Swallows fly to Africa.",)


def test_the_vault_s_lines_are_those_that_the_database_looks_for(rowcall_stack: Stack) -> None:
    lines = [line.strip() for line in README.splitlines() if line.strip().startswith("select vault.create_secret(")]
    assert len(lines) == 2
    with psycopg.connect(rowcall_stack.admin_db_url) as connection:
        connection.execute("delete from vault.secrets where name like 'rowcall_webhook_%'")
        for line in lines:
            connection.execute(line.encode())
        facts = connection.execute("select rowcall.examine_v1('c')").fetchone()
        connection.rollback()
    assert facts is not None
    assert facts[0]["webhook_url"] == "https://<intake>/webhooks/supabase"
    assert facts[0]["has_webhook_secret"]


@pytest.mark.parametrize("command", re.findall(r"`rowcall ([a-z-]+)", README))
def test_the_commands_that_the_readme_names_exist(command: str) -> None:
    from typer.main import get_command

    from worker.cli import app

    assert command in get_command(app).commands  # type: ignore[attr-defined] # a group, as it has commands
