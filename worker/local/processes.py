"""Child processes: started in one group under a watchdog, each with a log of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.local.errors import PartDied, StackError

LOG_TAIL_LINES = 20


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
            pipe.flush()
        except BrokenPipeError:
            self.check()
            raise

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
        self.stopping = True
        self._process.kill()
        self._end()

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
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                return


class Children:
    """Starts processes that do not outlive this one."""

    def __init__(self, logs_dir: Path) -> None:
        self._logs_dir = logs_dir
        self._watchdog: subprocess.Popen[bytes] | None = None

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
        with log.open("wb") as output:
            process = subprocess.Popen(
                command.arguments,
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
        return Child(name, command, log, process)

    def check(self) -> None:
        if self._watchdog is not None and self._watchdog.poll() is not None:
            raise StackError("the watchdog was killed: the stack would outlive its supervisor")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets the watchdog end whatever is still there."""
        if self._watchdog is None or self._watchdog.stdin is None:
            return
        self._watchdog.stdin.close()
        self._watchdog.wait()


def wait_until_gone(pid: int, timeout_s: float) -> bool:
    """Whether a process that is not our child ended in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
