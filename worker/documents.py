"""Files into `rowcall.documents`, as the signed-in user, and the wait until they are ingested."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jobs.errors import Permanent
from worker.client import Rowcall
from worker.ingests import Ingested, Ingests, Report, silent
from worker.lifecycle import UNFINISHED
from worker.refusals import ValuesRefused

MEDIA_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".txt": "text/plain",
    ".pdf": "application/pdf",
}
PAGE = 50  # documents in one insert
PAGE_BYTES = 1 << 20  # of their content; a larger document goes alone


@dataclass(frozen=True, slots=True)
class File:
    """What would be written of one. `content` of a PDF is base64."""

    source: str
    media_type: str
    content: str

    @property
    def content_sha256(self) -> str:
        """As `known_documents` answers it."""
        return sha256(self.content.encode()).hexdigest()

    def is_stored_as(self, document: Mapping[str, Any]) -> bool:
        return (self.media_type, self.content_sha256) == (document["media_type"], document["content_sha256"])


def find_files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Readable files and the source each is known by: its path below the folder that was named, folder included.

    What is hidden in a folder (a name that begins with a dot) is left out.
    """
    known = ", ".join(sorted(MEDIA_TYPES))
    for path in paths:
        if path.is_dir():
            if not (found := list(_files_below(path))):
                raise Permanent("document.unreadable", f"{path} holds no file that can be ingested ({known})")
            yield from ((file, f"{path.resolve().name}/{file.relative_to(path).as_posix()}") for file in found)
        elif path.suffix.lower() in MEDIA_TYPES:
            yield path, path.name
        else:
            raise Permanent("document.unreadable", f"{path} is not a file that can be ingested ({known})")


def _files_below(folder: Path) -> Iterator[Path]:
    for file in sorted(p for p in folder.rglob("*") if p.suffix.lower() in MEDIA_TYPES and p.is_file()):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


async def ingest_paths(rowcall: Rowcall, paths: Iterable[Path], report: Report = silent) -> Sequence[Ingested]:
    """Writes the files as documents and waits until each is ingested, or has failed. A file known already is updated.

    Files that did not change are not sent, and make no work unless their ingest failed; so an ingest that was stopped
    goes on where it was. A file that the project refuses stops no other.
    """
    files = list(find_files(paths))
    order = _places(files)
    ingests = Ingests(len(files), rowcall.ended_among, report)
    for page in pages_of(_read(file, source) for file, source in files):
        await _ingest_page(rowcall, page, ingests)
        await ingests.make_room()
    return sorted(await ingests.all_ended(), key=lambda ingested: order[ingested.source])


def pages_of(files: Iterable[File]) -> Iterator[list[File]]:
    """The files in their order, in pages of `PAGE` files and `PAGE_BYTES` at most; a file larger than that is one."""
    page, page_bytes = list[File](), 0
    for file in files:
        file_bytes = len(file.content.encode())
        if page and (len(page) == PAGE or page_bytes + file_bytes > PAGE_BYTES):
            yield page
            page, page_bytes = [], 0
        page.append(file)
        page_bytes += file_bytes
    if page:
        yield page


async def _ingest_page(rowcall: Rowcall, page: Sequence[File], ingests: Ingests) -> None:
    known = {document["source"]: document for document in await rowcall.known_documents([f.source for f in page])}
    fresh, again = list[File](), list[str]()
    for file in page:
        document = known.get(file.source)
        if document is None or not file.is_stored_as(document):
            fresh.append(file)
        elif document["is_ingested"]:
            ingests.ended(Ingested(file.source, "succeeded", document["chunks"], unchanged=True))
        elif document["status"] in UNFINISHED:
            ingests.wait_for(document["generation_id"], file.source)
        else:
            again.append(document["id"])
    for written in [*(await rowcall.ingest_again(again)), *(await _put(rowcall, fresh, ingests))]:
        ingests.wait_for(written["generation_id"], written["source"])


async def _put(rowcall: Rowcall, files: Sequence[File], ingests: Ingests) -> Sequence[Mapping[str, Any]]:
    """Those that were written. One that the project refuses is told apart by writing each alone."""
    if not files:
        return ()
    documents = [{"source": f.source, "media_type": f.media_type, "content": f.content} for f in files]
    try:
        return await rowcall.put_documents(documents)
    except ValuesRefused as refused:
        if len(files) == 1:
            ingests.ended(Ingested(files[0].source, "refused", 0, str(refused)))
            return ()
    return [written for file in files for written in await _put(rowcall, [file], ingests)]


def _read(file: Path, source: str) -> File:
    media_type = MEDIA_TYPES[file.suffix.lower()]
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise Permanent("document.unreadable", f"{file} cannot be read: {error.strerror}") from error
    is_pdf = media_type == "application/pdf"
    return File(source, media_type, base64.b64encode(raw).decode() if is_pdf else raw.decode("utf-8", "replace"))


def _places(files: Sequence[tuple[Path, str]]) -> dict[str, int]:
    """The place of each source. Raises where two files would be known by the same."""
    places = dict[str, int]()
    for place, (file, source) in enumerate(files):
        if source in places:
            other = files[places[source]][0]
            problem = f"{other} and {file} would both be known as {source}: name a folder above both"
            raise Permanent("document.ambiguous", problem)
        places[source] = place
    return places
