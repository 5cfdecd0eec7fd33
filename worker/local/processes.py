"""Child processes: started in one group under a watchdog, each with a log of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.local.errors import PartDied, StackError

LOG_TAIL_LINES = 20
STOP_GRACE_S = 8.0


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a process runs as, when that is not who we are."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)  # beside our own
    folder: Path = Path("/")
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    account: Account | None = None


class Child:
    """A running process. `stopping` says that its end is wanted."""

    def __init__(self, name: str, command: Command, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.log = log
        self.stopping = False
        self._command = command
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def let_go(self) -> None:
        """The line that a child started ahead of its time waits for."""
        pipe = self._process.stdin
        if pipe is None:
            raise StackError(f"{self.name} has no pipe to be let go by")
        try:
            pipe.write(b"\n")
        except BrokenPipeError:
            self._process.wait()
            self.check()

    def check(self) -> None:
        """PartDied when it ended though nobody stopped it."""
        exit_code = self._process.poll()
        if exit_code is not None and not self.stopping:
            raise PartDied(self.name, exit_code, self.log_tail())

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def ask_to_stop(self) -> None:
        """Asks once: for some programs a second signal means at once."""
        if not self.stopping:
            self._process.send_signal(self._command.stop_signal)
        self.stopping = True

    def kill(self) -> None:
        """Ends it without a chance to tidy up."""
        self.stopping = True
        self._process.send_signal(self._command.kill_signal)
        self._end()

    def send(self, number: signal.Signals) -> None:
        """A signal that is not meant to end it."""
        self._process.send_signal(number)

    def stop(self, grace_s: float) -> None:
        """Asks, waits, and kills what has not ended by then."""
        self.ask_to_stop()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


class Children:
    """Starts processes that do not outlive this one."""

    def __init__(self, logs_dir: Path) -> None:
        self._logs_dir = logs_dir
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._started: list[Child] = []

    def __enter__(self) -> Self:
        script = Path(__file__).with_name("watchdog.py")
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script)],
            stdin=subprocess.PIPE,
            process_group=0,
            cwd="/",
        )
        return self

    def spawn(self, name: str, command: Command) -> Child:
        if self._watchdog is None or self._watchdog.poll() is not None:
            raise StackError("the watchdog is not running: without it no child is started")
        log = self._logs_dir / f"{name}.log"
        account = command.account
        again = any(child.name == name for child in self._started)
        with log.open("ab" if again else "wb") as output:
            process = subprocess.Popen(
                command.arguments,
                bufsize=0,  # the line that lets it go must not wait, nor be left over
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=command.folder,
                env={**os.environ, **command.environment},
                process_group=self._watchdog.pid,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=() if account else None,
            )
        child = Child(name, command, log, process)
        self._started.append(child)
        return child

    def check(self) -> None:
        if self._watchdog is not None and self._watchdog.poll() is not None:
            raise StackError("the watchdog was killed: the stack would outlive its supervisor")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends every child; what it does not know of in the group, a child's own child, is left to the watchdog."""
        for child in reversed(self._started):
            child.stop(STOP_GRACE_S)
        if self._watchdog is None or self._watchdog.stdin is None:
            return
        self._watchdog.stdin.close()
        self._watchdog.wait()
