"""Many files, as `rowcall ingest` writes them."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobs.errors import Permanent
from worker import documents, ingests, reembedding
from worker.client import RequestRefused, Rowcall
from worker.documents import PAGE_BYTES, ingest_paths
from worker.ingests import Progress, silent
from worker.local.stack import Stack
from worker.operating import Operator
from worker.reembedding import reembed
from worker.settings import LOCAL_EMBEDDING_MODEL

FILES = 7


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven files, of which two are written at once and no more than three wait."""
    monkeypatch.setattr(documents, "PAGE", 2)
    monkeypatch.setattr(ingests, "MOST_PENDING", 3)
    (tmp_path / "birds").mkdir()
    for number in range(FILES):
        (tmp_path / "birds" / f"{number}.md").write_text(f"# Bird {number}\n\nIt flies {number} metres per second.\n")
    return tmp_path / "birds"


def made(stack: Stack, user_id: str) -> int:
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
    assert 1 + 2 < made(rowcall_stack, user) < 1 + FILES
    assert {i.status for i in await ingest_paths(rowcall, [folder])} == {"succeeded"}
    assert made(rowcall_stack, user) == 1 + FILES  # the fixture has ingested one document of this user before


async def test_what_did_not_change_is_not_sent_again(
    rowcall: Rowcall, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ingest_paths(rowcall, [folder])
    sent: list[str] = []
    put_documents = rowcall.put_documents

    async def noting(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        sent.extend(document["source"] for document in documents)
        return await put_documents(documents)

    monkeypatch.setattr(rowcall, "put_documents", noting)
    (folder / "3.md").write_text("# Bird 3\n\nIt does not fly.\n")
    (folder / "4.md").rename(folder / "4.txt")
    again = await ingest_paths(rowcall, [folder])
    assert sent == ["birds/3.md", "birds/4.txt"]
    assert {i.status for i in again} == {"succeeded"}
    assert [i.source for i in again if not i.unchanged] == sent


async def test_an_ingest_that_failed_is_tried_again(rowcall_stack: Stack, rowcall: Rowcall, folder: Path) -> None:
    await ingest_paths(rowcall, [folder])
    user = await user_of(rowcall)
    with psycopg.connect(rowcall_stack.admin_db_url) as connection:
        connection.execute(
            "update rowcall.documents set ingested_revision = null where user_id = %s and source = 'birds/2.md'",
            (user,),
        )
        connection.execute("delete from rowcall.generations where user_id = %s and kind = 'ingest'", (user,))
    again = await ingest_paths(rowcall, [folder])
    assert [i.source for i in again if not i.unchanged] == ["birds/2.md"]
    assert {i.status for i in again} == {"succeeded"}
    assert made(rowcall_stack, user) == 1


async def test_a_file_that_the_project_refuses_stops_no_other(rowcall: Rowcall, folder: Path) -> None:
    (folder / "4.txt").write_text("x" * (5 << 20))
    (folder / "5.txt").write_bytes(b"a zero \0 byte")
    ingested = {i.source: i for i in await ingest_paths(rowcall, [folder])}
    refused = {source: i.problem or "" for source, i in ingested.items() if i.status != "succeeded"}
    assert refused.keys() == {"birds/4.txt", "birds/5.txt"}
    assert "more than the limit of 4194304" in refused["birds/4.txt"]
    assert "(22" in refused["birds/5.txt"]  # Postgres' class of codes for data that it cannot hold


async def test_a_file_that_is_damaged_says_how(rowcall: Rowcall, tmp_path: Path) -> None:
    (tmp_path / "damaged.pdf").write_bytes(b"%PDF-1.4 and no more")
    [damaged] = await ingest_paths(rowcall, [tmp_path / "damaged.pdf"])
    assert damaged.status == "failed"
    assert str(damaged.problem).startswith("document.unreadable: application/pdf: it is damaged")


async def test_what_cannot_be_read_is_named(rowcall: Rowcall, tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(Permanent, match=r"holds no file that can be ingested \(\.htm, "):
        await ingest_paths(rowcall, [tmp_path])
    (tmp_path / "memory.txt").symlink_to("/proc/self/mem")  # which nobody reads from its start, root neither
    with pytest.raises(Permanent, match=r"memory\.txt cannot be read: "):
        await ingest_paths(rowcall, [tmp_path])


async def test_a_limit_ends_the_ingest_instead_of_refusing_file_by_file(
    rowcall_stack: Stack, rowcall: Rowcall, folder: Path
) -> None:
    user = await user_of(rowcall)
    with psycopg.connect(rowcall_stack.admin_db_url, autocommit=True) as connection:
        spent = "update rowcall.spend set cost_usd = 10 where tenant = %s"  # the fixture's document has its sum there
        connection.execute(spent, (user,))
    with pytest.raises(RequestRefused, match=r"limits.usd_per_tenant_and_day"):
        await ingest_paths(rowcall, [folder])


async def test_large_files_are_written_in_pages_that_a_request_holds(
    rowcall: Rowcall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    put_documents = rowcall.put_documents

    async def noting(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        sizes.append(sum(len(document["content"]) for document in documents))
        return await put_documents(documents)

    monkeypatch.setattr(rowcall, "put_documents", noting)
    (tmp_path / "large").mkdir()
    blank = " " * (PAGE_BYTES // 2)  # what is not text costs no embedding
    for number in range(3):
        (tmp_path / "large" / f"{number}.txt").write_text(f"Bird {number} flies.{blank}")
    (tmp_path / "large" / "3.txt").write_text(f"Bird 3 flies.{blank}{blank}{blank}")
    ingested = await ingest_paths(rowcall, [tmp_path / "large"])
    assert [i.status for i in ingested] == ["succeeded"] * 4
    assert len(sizes) == 4
    assert max(sizes[:3]) <= PAGE_BYTES < sizes[3]


async def test_documents_of_another_model_are_embedded_anew(
    rowcall_stack: Stack, rowcall: Rowcall, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "PAGE", 2)
    await ingest_paths(rowcall, [folder])
    user = await user_of(rowcall)
    operator = Operator(rowcall_stack.url, rowcall_stack.secret_key, "the test")
    assert await reembed(operator, LOCAL_EMBEDDING_MODEL, silent) == ()
    with psycopg.connect(rowcall_stack.admin_db_url) as connection:
        changed = connection.execute(
            """update rowcall.chunks c set embedding_model = 'of yesterday' from rowcall.documents d
                where d.id = c.document_id and d.user_id = %s and d.source between 'birds/1.md' and 'birds/5.md'""",
            (user,),
        )
        assert changed.rowcount == 5
    told: list[Progress] = []
    ingested = await reembed(operator, LOCAL_EMBEDDING_MODEL, told.append)
    assert sorted((i.source, i.status) for i in ingested) == [(f"birds/{n}.md", "succeeded") for n in range(1, 6)]
    assert told[-1] == Progress(found=5, written=5, ended=5)
    assert await reembed(operator, LOCAL_EMBEDDING_MODEL, silent) == ()
    assert made(rowcall_stack, user) == 1 + FILES + 5
