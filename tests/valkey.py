"""A Valkey of a test's own, which it may kill and start again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import until
from worker.local.ports import free_port
from worker.local.processes import Child, Children
from worker.local.valkey import answers, valkey_command

PASSWORD = "let-me-in"


class Valkey:
    def __init__(self, children: Children, folder: Path) -> None:
        self.port = free_port()
        self._children = children
        self._command = valkey_command(folder, self.port, PASSWORD)
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._child = self._children.spawn("valkey", self._command)
        until(lambda: answers(self.port, PASSWORD), "valkey answers")

    def kill(self) -> None:
        assert self._child is not None
        self._child.kill()


@contextmanager
def valkey_in(folder: Path) -> Iterator[Valkey]:
    with Children(folder) as children:
        valkey = Valkey(children, folder / "valkey")
        valkey.start()
        try:
            yield valkey
        finally:
            valkey.kill()
