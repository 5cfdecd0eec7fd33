"""Many files, as `rowcall ingest` writes them."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from worker import documents
from worker.client import Rowcall
from worker.documents import Progress, ingest_paths
from worker.local.stack import Stack

FILES = 7


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven files, of which two are written at once and no more than three wait."""
    monkeypatch.setattr(documents, "PAGE", 2)
    monkeypatch.setattr(documents, "MOST_PENDING", 3)
    (tmp_path / "birds").mkdir()
    for number in range(FILES):
        (tmp_path / "birds" / f"{number}.md").write_text(f"# Bird {number}\n\nIt flies {number} metres per second.\n")
    return tmp_path / "birds"


def ingests(stack: Stack, user_id: str) -> int:
    with psycopg.connect(stack.admin_db_url) as connection:
        query = "select count(*) from rowcall.generations where kind = 'ingest' and user_id = %s"
        row = connection.execute(query, (user_id,)).fetchone()
        assert row is not None
        return int(row[0])


async def user_of(rowcall: Rowcall) -> str:
    session = await rowcall.supabase.auth.get_session()
    assert session is not None
    return session.user.id


async def test_every_file_is_ingested_in_their_order_and_progress_is_told(rowcall: Rowcall, folder: Path) -> None:
    told: list[Progress] = []
    ingested = await ingest_paths(rowcall, [folder], told.append)
    assert [(i.source, i.status, i.chunks) for i in ingested] == [
        (f"birds/{number}.md", "succeeded", 1) for number in range(FILES)
    ]
    assert told[-1] == Progress(found=FILES, written=FILES, ended=FILES)
    assert all(p.written - p.ended <= 3 + 2 for p in told)
    assert [p.ended for p in told] == sorted(p.ended for p in told)


async def test_an_ingest_that_was_stopped_goes_on_and_does_nothing_twice(
    rowcall_stack: Stack, rowcall: Rowcall, folder: Path
) -> None:
    running: asyncio.Task[object]

    def stop_in_the_middle(progress: Progress) -> None:
        if progress.written > 2:
            running.cancel()

    running = asyncio.create_task(ingest_paths(rowcall, [folder], stop_in_the_middle))
    with pytest.raises(asyncio.CancelledError):
        await running
    user = await user_of(rowcall)
    assert 1 + 2 < ingests(rowcall_stack, user) < 1 + FILES
    assert {i.status for i in await ingest_paths(rowcall, [folder])} == {"succeeded"}
    assert ingests(rowcall_stack, user) == 1 + FILES  # the fixture has ingested one document of this user before
