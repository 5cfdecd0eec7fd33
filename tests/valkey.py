"""A Valkey of a test's own, which it may kill and start again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import until
from worker.local.ports import free_port, is_listening
from worker.local.processes import Child, Children, Command
from worker.local.valkey import valkey_command

PASSWORD = "let-me-in"


class Valkey:
    def __init__(self, children: Children, folder: Path, settings: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self._children = children
        command = valkey_command(folder, self.port, PASSWORD)
        self._command = Command((*command.arguments, *settings), folder=command.folder)
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        self._child = self._children.spawn("valkey", self._command)
        until(lambda: is_listening(self.port), "valkey listens")

    def kill(self) -> None:
        assert self._child is not None
        self._child.kill()


@contextmanager
def valkey_in(folder: Path, *settings: str) -> Iterator[Valkey]:
    with Children(folder) as children:
        valkey = Valkey(children, folder / "valkey", settings)
        valkey.start()
        try:
            yield valkey
        finally:
            valkey.kill()
