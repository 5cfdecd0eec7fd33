from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.local.resetting import reset_state
from worker.local.wiring import StackConfig

MIGRATION = """
create table public.items (id integer primary key, body text);
alter table public.items enable row level security;
grant select on public.items to anon;
"""


def small_project(folder: Path) -> Path:
    """A project with one small migration."""
    migrations = folder / "project" / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "20260101000000_items.sql").write_text(MIGRATION)
    return folder / "project"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return small_project(tmp_path)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder whose 40 MB do not outlive the test."""
    folder = tmp_path / "state"
    yield folder
    reset_state(folder)


@pytest.fixture
def config(state_dir: Path, project: Path) -> StackConfig:
    """The small project on a state of its own, with the parts that start quickly."""
    return StackConfig(state_dir, project, parts=frozenset({"valkey", "pg_net"}))
