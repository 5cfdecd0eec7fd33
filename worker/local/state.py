"""What stays between two runs: `.rowcall/` with its keys, data and logs."""

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.local.errors import StackError

LOCK = "lock"
SECRETS = "secrets.json"
ENVIRONMENT = "environment.json"


@dataclass(frozen=True, slots=True)
class Secrets:
    """Keys and passwords of one stack, made up at its first start."""

    publishable_key: str = field(default_factory=lambda: f"sb_publishable_{secrets.token_urlsafe(24)}")
    secret_key: str = field(default_factory=lambda: f"sb_secret_{secrets.token_urlsafe(24)}")
    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(40))
    webhook_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    postgres_password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    gateway_password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    valkey_password: str = field(default_factory=lambda: secrets.token_urlsafe(18))


def read_or_create_secrets(path: Path) -> Secrets:
    if path.exists():
        return Secrets(**json.loads(path.read_text()))
    made = Secrets()
    write_private(path, json.dumps(asdict(made), indent=2))
    return made


def write_private(path: Path, text: str) -> None:
    """Replaces the file as a whole; nobody but the owner can read it at any moment."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


class StateLock:
    """Held while a stack runs on a state folder; the kernel lets go of it when the supervisor ends, however it ends."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / LOCK
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            where = f" at {url}" if (url := self._path.read_text()) else ""
            raise StackError(
                f"a stack is already running on {self._path.parent}{where}: stop it, or name another folder by --state"
            ) from None
        self.announce("")
        return self

    def announce(self, url: str) -> None:
        """Where the stack is found: for a second start on this state, and for `running_environment`."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, url.encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def running_environment(state_dir: Path) -> Mapping[str, str] | None:
    """The variables that commands need to speak to the stack that runs on a state folder; None: none does."""
    try:
        with (state_dir / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        is_up = bool((state_dir / LOCK).read_text())
        return dict(json.loads((state_dir / ENVIRONMENT).read_text())) if is_up else None
    return None


def open_state(state_dir: Path) -> None:
    """Makes the folder, or refuses one that this user cannot use."""
    try:
        state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        (state_dir / "logs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StackError(f"cannot write the state folder {state_dir}: {error.strerror}") from error
    if not os.access(state_dir, os.W_OK | os.X_OK):
        owner = state_dir.stat().st_uid
        raise StackError(f"the state folder {state_dir} belongs to user id {owner}: run as that user, or remove it")
