"""Makes the database what a hosted project is before its first migration."""

from pathlib import Path

import psycopg
from psycopg import sql

from worker.local.state import Secrets

SQL_FOLDER = Path(__file__).parent / "sql"
PLATFORM = ("roles", "extensions", "vault", "pg_net", "database_webhooks", "realtime")
AFTER_AUTH = ("auth",)
REALTIME_SERVER = Path(__file__).parent / "realtime_server" / "realtime.sql"


def make_platform(connection: psycopg.Connection, secrets: Secrets) -> None:
    """Roles, extensions, vault, pg_net, Realtime. At every start, so that an upgrade reaches a kept state."""
    connection.execute("set client_min_messages = warning")
    run_files(connection, *(SQL_FOLDER / f"{name}.sql" for name in PLATFORM))
    if REALTIME_SERVER.exists():
        run_files(connection, REALTIME_SERVER)
    for role, password in (("postgres", secrets.postgres_password), ("authenticator", secrets.gateway_password)):
        change = sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password))
        connection.execute(change)


def open_auth(connection: psycopg.Connection) -> None:
    """After the gateway made the auth schema."""
    run_files(connection, *(SQL_FOLDER / f"{name}.sql" for name in AFTER_AUTH))


def run_files(connection: psycopg.Connection, *paths: Path) -> None:
    for path in paths:
        connection.execute(path.read_bytes())  # several statements in one message are one transaction


def keep_in_vault(connection: psycopg.Connection, name: str, secret: str) -> None:
    found = connection.execute("select id, decrypted_secret from vault.decrypted_secrets where name = %s", (name,))
    row = found.fetchone()
    if row is None:
        connection.execute("select vault.create_secret(%s, %s)", (secret, name))
    elif row[1] != secret:
        connection.execute("select vault.update_secret(%s, %s)", (row[0], secret))
