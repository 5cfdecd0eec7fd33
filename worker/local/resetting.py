import shutil
from pathlib import Path

from worker.local import shelter
from worker.local.errors import StackError
from worker.local.postgres import INSTALL_FOLDERS, data_folder, end_leftover, lodge_postgres
from worker.local.state import LOCK, StateLock
from worker.local.valkey import end_leftover as end_leftover_valkey


def reset_state(state_dir: Path) -> None:
    """Removes data, keys and logs of a stack that is not running; the next start is a first one."""
    state_dir = state_dir.resolve()
    if not state_dir.exists():
        return
    try:
        with StateLock(state_dir):
            remove_everything(state_dir)
    except PermissionError as error:
        raise StackError(f"cannot remove {error.filename}: run as the user who started the stack") from error


def remove_everything(state_dir: Path) -> None:
    end_leftover_valkey(state_dir / "valkey")
    for major in INSTALL_FOLDERS:
        data = data_folder(state_dir, major)
        if data.exists() or shelter.room_of(data).exists():
            end_leftover(lodge_postgres(state_dir, major, port=0))
            shelter.give_up(data)
    for entry in state_dir.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:  # it is held; whoever waits for it holds this very file
            entry.unlink()
