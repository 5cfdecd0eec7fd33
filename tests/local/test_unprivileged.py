import os
from pathlib import Path

import pytest

from worker.local.processes import Account
from worker.local.unprivileged import lets_through, reaches

STRANGER = Account(uid=64_000, gid=64_000)
FELLOW = Account(uid=64_000, gid=os.getgid())
OWNER = Account(uid=os.getuid(), gid=64_000)


@pytest.mark.parametrize(
    ("mode", "account", "expected"),
    [
        (0o711, STRANGER, True),
        (0o770, STRANGER, False),
        (0o710, FELLOW, True),
        (0o701, FELLOW, False),
        (0o700, OWNER, True),
        (0o077, OWNER, False),
    ],
)
def test_a_folder_lets_through_whom_its_mode_does(
    tmp_path: Path, mode: int, account: Account, *, expected: bool
) -> None:
    folder = tmp_path / "door"
    folder.mkdir()
    folder.chmod(mode)
    try:
        assert lets_through(account, folder.stat()) is expected
    finally:
        folder.chmod(0o700)


def test_every_folder_on_the_way_must_let_the_account_through(tmp_path: Path) -> None:
    assert reaches(STRANGER, Path("/usr/bin/env"))
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "private" / "open").mkdir(mode=0o755)
    assert not reaches(STRANGER, tmp_path / "private" / "open")
