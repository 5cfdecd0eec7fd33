"""Files into `rowcall.documents`, as the signed-in user, and the wait until they are ingested."""

import asyncio
import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import Permanent
from worker.client import Rowcall

MEDIA_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".txt": "text/plain",
    ".pdf": "application/pdf",
}
POLL_S = 0.2
PAGE = 50  # documents in one insert
MOST_PENDING = 1000  # documents that wait for their ingest; the database allows an owner 10,000


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a file. `status` is that of its generation of kind ingest."""

    source: str
    status: str
    chunks: int
    problem: str | None = None


def find_files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Readable files and the source each is known by: its path below the folder that was named, folder included."""
    for path in paths:
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in MEDIA_TYPES):
                yield file, f"{path.name}/{file.relative_to(path).as_posix()}"
        elif path.suffix.lower() in MEDIA_TYPES:
            yield path, path.name
        else:
            known = ", ".join(sorted(MEDIA_TYPES))
            raise Permanent("document.unreadable", f"{path} is not a file that can be ingested ({known})")


@dataclass(frozen=True, slots=True)
class Progress:
    """Of an ingest, in documents."""

    found: int
    written: int = 0
    ended: int = 0


def silent(_progress: Progress) -> None:
    """Reports nothing."""


async def ingest_paths(
    rowcall: Rowcall, paths: Iterable[Path], report: Callable[[Progress], None] = silent
) -> Sequence[Ingested]:
    """Writes the files as documents and waits until each is ingested, or has failed. A file known already is updated.

    Files that did not change since make no work, so an ingest that was stopped goes on where it was.
    """
    files = list(find_files(paths))
    pending, done = dict[str, str](), list[Ingested]()  # generation → source

    async def collect(most_pending: int) -> None:
        while len(pending) > most_pending:
            ended = await rowcall.ended_among(pending)
            done.extend(_ingested(pending.pop(id), row) for id, row in ended.items())
            report(Progress(len(files), len(done) + len(pending), len(done)))
            if not ended:
                await asyncio.sleep(POLL_S)

    for first in range(0, len(files), PAGE):
        page = [_document(file, source) for file, source in files[first : first + PAGE]]
        pending |= {row["generation_id"]: row["source"] for row in await rowcall.put_documents(page)}
        await collect(MOST_PENDING)
    await collect(0)
    order = {source: place for place, (_file, source) in enumerate(files)}
    return sorted(done, key=lambda ingested: order[ingested.source])


def _document(file: Path, source: str) -> dict[str, str]:
    media_type = MEDIA_TYPES[file.suffix.lower()]
    raw = file.read_bytes()
    is_pdf = media_type == "application/pdf"
    content = base64.b64encode(raw).decode() if is_pdf else raw.decode("utf-8", "replace")
    return {"source": source, "media_type": media_type, "content": content}


def _ingested(source: str, row: Mapping[str, Any]) -> Ingested:
    problem = row["error"]["code"] if row["error"] else None
    return Ingested(source, row["status"], (row["output"] or {}).get("chunks", 0), problem)
