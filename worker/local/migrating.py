"""Applies `supabase/migrations/*.sql` and records them where the Supabase CLI does, so that either may go on."""

import re
from dataclasses import dataclass
from pathlib import Path

import psycopg

from worker.local.errors import StackError
from worker.local.statements import Statement, split_statements

FILE_NAME = re.compile(r"(?P<version>\d+)_(?P<name>.*)\.sql")
LOCK = 0x726F7763  # two runs at once: the second waits and finds everything applied

HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text not null primary key, statements text[], name text);
"""


@dataclass(frozen=True, slots=True)
class Migration:
    path: Path
    version: str
    name: str
    statements: tuple[Statement, ...]


class MigrationError(StackError):
    """A migration failed; it and everything after it is not applied."""


def read_migrations(folder: Path) -> tuple[Migration, ...]:
    """In the order of their versions. Files that are not `<digits>_<name>.sql` are no migrations, as for the CLI."""
    return tuple(
        Migration(path, named["version"], named["name"], split_statements(path.read_text()))
        for path in sorted(folder.glob("*.sql"))
        if (named := FILE_NAME.fullmatch(path.name))
    )


def apply_migrations(db_url: str, folder: Path) -> tuple[Migration, ...]:
    """Those that were not applied yet, each in a transaction of its own; then the API is told to reload its schema."""
    migrations = read_migrations(folder)
    # No prepared statements: a pooler in front of the database may not know them.
    try:
        connected = psycopg.connect(db_url, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise StackError(f"the database cannot be reached: {error}") from error
    with connected as connection:
        connection.execute("select pg_advisory_lock(%s)", (LOCK,))
        connection.execute(HISTORY)
        applied = {row[0] for row in connection.execute("select version from supabase_migrations.schema_migrations")}
        missing = tuple(migration for migration in migrations if migration.version not in applied)
        for migration in missing:
            apply(connection, migration)
        if missing:
            connection.execute("notify pgrst, 'reload schema'")
    return missing


def apply(connection: psycopg.Connection, migration: Migration) -> None:
    statement: Statement | None = None
    try:
        with connection.transaction():
            for statement in migration.statements:
                connection.execute(statement.text.encode())
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
                (migration.version, migration.name, [s.text for s in migration.statements]),
            )
    except psycopg.Error as error:
        raise MigrationError(describe(migration, statement, error)) from error


def describe(migration: Migration, statement: Statement | None, error: psycopg.Error) -> str:
    """File, line, what Postgres says and the statement: `…/20260101_core.sql:17: relation "x" does not exist …`."""
    diagnosis = error.diag
    message = diagnosis.message_primary or str(error)
    if statement is None:
        return f"{migration.path}: {message}"
    before_error = statement.text[: int(diagnosis.statement_position or 1) - 1]
    lines = [
        f"{migration.path}:{statement.line + before_error.count(chr(10))}: {message} ({error.sqlstate})",
        *(
            f"  {label}: {text}"
            for label, text in (
                ("detail", diagnosis.message_detail),
                ("hint", diagnosis.message_hint),
                ("where", diagnosis.context),
            )
            if text
        ),
        *(f"  | {line}" for line in statement.text.splitlines()),
    ]
    return "\n".join(lines)
