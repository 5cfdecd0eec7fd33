"""Root's place for what the account that runs Postgres cannot reach elsewhere.

/var/lib/rowcall/installations/<version>/…   the packages' binaries and libraries, copied once
/var/lib/rowcall/data/<state>/origin         the path that this data stands for
/var/lib/rowcall/data/<state>/data           that data
"""

import hashlib
import os
import shutil
import stat
from pathlib import Path

SHELTER = Path("/var/lib/rowcall")


def copy_of(installation: Path) -> Path:
    """The 38 MB tree with the libraries that its binaries look for beside the package (Linux) or in it (macOS)."""
    package = installation.parent
    stamp = (installation / "bin" / "postgres").stat()
    copy = SHELTER / "installations" / f"{installation.name}-{stamp.st_size}-{int(stamp.st_mtime)}"
    if not copy.exists():
        make_passable(SHELTER)
        make_passable(copy.parent)
        draft = copy.with_name(f"{copy.name}.{os.getpid()}")
        for tree in (installation, package / ".dylibs", package.with_name(f"{package.name}.libs")):
            if tree.exists():
                shutil.copytree(tree, draft / tree.relative_to(package.parent), symlinks=True)
        open_to_everyone(draft)
        try:
            draft.rename(copy)
        except OSError:  # another start was quicker
            shutil.rmtree(draft)
    return copy / package.name / installation.name


def open_to_everyone(tree: Path) -> None:
    """As far as the owner may read and run it."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for path in (Path(folder, file) for file in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def place_for(data: Path) -> Path:
    """A folder that stands for this one; those whose own folder is gone are removed."""
    room = room_of(data)
    make_passable(SHELTER)
    make_passable(room.parent)
    remove_abandoned(room.parent)
    make_passable(room)
    (room / "origin").write_text(str(data))
    return room / "data"


def give_up(data: Path) -> None:
    """Removes what stands for this folder."""
    if room_of(data).exists():
        shutil.rmtree(room_of(data))


def room_of(data: Path) -> Path:
    return SHELTER / "data" / hashlib.sha256(str(data).encode()).hexdigest()[:16]


def make_passable(folder: Path) -> None:
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder.chmod(0o711)  # whatever root's umask is


def remove_abandoned(rooms: Path) -> None:
    for room in rooms.iterdir():
        origin = room / "origin"
        # A room without an origin is being made at this moment.
        if origin.exists() and not Path(origin.read_text()).parent.exists():
            shutil.rmtree(room, ignore_errors=True)  # another start may be removing it too
