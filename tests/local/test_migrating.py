from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.conftest import REPOSITORY
from worker.local.migrating import MigrationError, apply_migrations, read_migrations
from worker.local.postgres import PostgresMajor
from worker.local.stack import Stack
from worker.local.wiring import StackConfig

MAJORS: tuple[PostgresMajor, ...] = (16, 18)


@pytest.fixture
def empty_database(stack: Stack) -> Iterator[str]:
    """A database of its own on the running server; URL as postgres."""
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(stack.db_url, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        yield make_conninfo(stack.db_url, dbname=name)
        connection.execute(f"drop database {name}")


@pytest.mark.parametrize("major", MAJORS)
def test_this_projects_migrations_apply_and_are_recorded_as_the_supabase_cli_does(
    state_dir: Path, major: PostgresMajor
) -> None:
    migrations = read_migrations(REPOSITORY / "supabase" / "migrations")
    with Stack(StackConfig(state_dir, REPOSITORY, postgres_major=major, parts=frozenset())) as stack:
        with psycopg.connect(stack.db_url) as connection:
            recorded = connection.execute(
                "select version, name, statements from supabase_migrations.schema_migrations order by version"
            ).fetchall()
            (server,) = connection.execute("select current_setting('server_version_num')::int / 10000").fetchall()
        assert recorded == [(m.version, m.name, [s.text for s in m.statements]) for m in migrations]
        assert server == (major,)
        assert apply_migrations(stack.db_url, REPOSITORY / "supabase" / "migrations") == ()


def test_only_what_is_missing_is_applied_in_the_order_of_versions(empty_database: str, tmp_path: Path) -> None:
    (tmp_path / "20260101000000_items.sql").write_text("create table items (name text);")
    assert [m.name for m in apply_migrations(empty_database, tmp_path)] == ["items"]

    (tmp_path / "20260103000000_last.sql").write_text("insert into steps values ('last');")
    (tmp_path / "20260102000000_first.sql").write_text("create table steps (name text);")
    (tmp_path / "notes.sql").write_text("this is no migration")
    assert [m.name for m in apply_migrations(empty_database, tmp_path)] == ["first", "last"]
    assert apply_migrations(empty_database, tmp_path) == ()


def test_a_failing_migration_leaves_nothing_and_names_file_line_and_statement(
    empty_database: str, tmp_path: Path
) -> None:
    file = tmp_path / "20260102000000_broken.sql"
    file.write_text("create table first (id integer);\n\n-- the second\nselect 1,\n  2,\n  missing;\n")
    with pytest.raises(MigrationError) as failure:
        apply_migrations(empty_database, tmp_path)
    assert f'{file}:6: column "missing" does not exist (42703)\n' in str(failure.value)
    assert "| select 1," in str(failure.value)
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("select to_regclass('first')").fetchone() == (None,)


def test_an_error_without_a_position_names_the_first_line_of_its_statement(empty_database: str, tmp_path: Path) -> None:
    file = tmp_path / "20260102000000_broken.sql"
    file.write_text("select 1;\nselect 2;\n\nselect 1 / 0\n  as never;")
    with pytest.raises(MigrationError, match=r"broken\.sql:4: division by zero"):
        apply_migrations(empty_database, tmp_path)


def test_two_runs_at_once_apply_everything_once(empty_database: str, tmp_path: Path) -> None:
    (tmp_path / "20260101000000_slow.sql").write_text("select pg_sleep(0.2); create table items (name text);")
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: len(apply_migrations(empty_database, tmp_path)), range(3)))
    assert sorted(runs) == [0, 0, 1]


@pytest.mark.parametrize(
    "statement",
    [
        "create schema auth_too authorization supabase_admin",
        "create table auth.mine (id integer)",
        "create table realtime.mine (id integer)",
        "create table vault.mine (id integer)",
        "create table net.mine (id integer)",
        "alter role postgres superuser",
        "set role supabase_admin",
        "copy (select 1) to program 'cat'",
        "select pg_reload_conf()",
    ],
)
def test_a_migration_may_not_do_what_a_hosted_project_refuses(stack: Stack, statement: str) -> None:
    with psycopg.connect(stack.db_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "create extension if not exists vector with schema extensions",
        "create extension if not exists pg_net with schema extensions",
        "create extension if not exists supabase_vault with schema vault",
        "create table public.t (id uuid references auth.users (id) on delete cascade)",
        "create policy p on realtime.messages for select to authenticated using (realtime.topic() = 'x')",
        "create table public.t (id integer primary key); alter publication supabase_realtime add table public.t",
        "select vault.create_secret('value', 'name')",
        "select net.http_post('http://127.0.0.1:1/')",
        "create schema app; grant usage on schema app to anon",
        "alter role authenticated set statement_timeout = '15s'",
        "set role authenticated",
        "create trigger t before update on auth.users for each row "  # noqa: ISC004 - one statement
        "execute function suppress_redundant_updates_trigger()",
        "select '[1,2]'::vector",
    ],
)
def test_a_migration_may_do_what_a_hosted_project_allows(stack: Stack, statement: str) -> None:
    with psycopg.connect(stack.db_url) as connection:
        connection.execute(statement.encode())
        connection.rollback()


def test_api_roles_get_nothing_by_default(stack: Stack) -> None:
    with psycopg.connect(stack.db_url) as connection:
        connection.execute("create table public.plain (id serial)")
        granted = connection.execute(
            "select r from unnest(array['anon', 'authenticated', 'service_role']) r "
            "where has_table_privilege(r, 'public.plain', 'select, insert, update, delete') "
            "   or has_sequence_privilege(r, 'public.plain_id_seq', 'usage')"
        ).fetchall()
        connection.rollback()
    assert granted == []
