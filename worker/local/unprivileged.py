"""A place for Postgres. It refuses to run as root, so then it runs as another account, which must reach its files."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from worker.local import shelter
from worker.local.errors import StackError
from worker.local.processes import Account

ACCOUNTS = ("postgres", "nobody")  # the first that exists; initdb wants one with a name


@dataclass(frozen=True, slots=True)
class Lodging:
    """Where binaries and data lie, and who runs the server (None: we do)."""

    installation: Path
    data: Path
    account: Account | None


def find_lodging(installation: Path, data: Path) -> Lodging:
    """As root, what the other account cannot reach (a clone under /root, say) is copied to, or kept in, the shelter."""
    if os.geteuid() != 0:
        data.mkdir(mode=0o700, exist_ok=True)
        return Lodging(installation, data, None)
    account = unprivileged_account()
    if not reaches(account, installation / "bin" / "postgres"):
        installation = shelter.copy_of(installation)
    if not reaches(account, data.parent):
        data = shelter.place_for(data)
    data.mkdir(mode=0o700, exist_ok=True)
    if data.stat().st_uid != account.uid:
        give(data, account)
    return Lodging(installation, data, account)


def unprivileged_account() -> Account:
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise StackError(f"Postgres does not run as root and there is none of the accounts {', '.join(ACCOUNTS)}")


def give(tree: Path, account: Account) -> None:
    for folder, _, files in os.walk(tree):
        for path in (Path(folder), *(Path(folder, file) for file in files)):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def reaches(account: Account, path: Path) -> bool:
    """Whether the path, and every folder down to it, lets the account through."""
    resolved = path.resolve()
    return all(lets_through(account, part.stat()) for part in (resolved, *resolved.parents))


def lets_through(account: Account, status: os.stat_result) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
