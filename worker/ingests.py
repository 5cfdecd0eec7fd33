"""Documents that are being ingested: what is waited for, and what became of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

POLL_S = 0.2
MOST_PENDING = 1000  # documents that wait for their ingest; the database allows an owner 10,000

Rows = Mapping[str, Mapping[str, Any]]  # by id


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a document. `status` is that of its generation of kind ingest."""

    source: str
    status: str
    chunks: int
    problem: str | None = None
    unchanged: bool = False  # it was ingested already


@dataclass(frozen=True, slots=True)
class Progress:
    """Of an ingest, in documents."""

    found: int
    written: int = 0
    ended: int = 0


Report = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Reports nothing."""


class Ingests:
    """Of the documents found, those whose generations run, and those that have ended.

    `ended_among` answers the rows of those generations that have ended.
    """

    def __init__(self, found: int, ended_among: Callable[[Iterable[str]], Awaitable[Rows]], report: Report) -> None:
        self._found = found
        self._ended_among = ended_among
        self._report = report
        self._pending = dict[str, str]()  # generation → source
        self._done = list[Ingested]()

    def wait_for(self, generation_id: str, source: str) -> None:
        self._pending[generation_id] = source

    def ended(self, ingested: Ingested) -> None:
        self._done.append(ingested)

    async def make_room(self) -> None:
        """Waits until few enough are waited for."""
        await self._wait(MOST_PENDING)

    async def all_ended(self) -> Sequence[Ingested]:
        """Waits for all of them."""
        await self._wait(0)
        return tuple(self._done)

    async def _wait(self, most_pending: int) -> None:
        self._tell()
        while len(self._pending) > most_pending:
            ended = await self._ended_among(self._pending)
            self._done.extend(_ingested(self._pending.pop(id), row) for id, row in ended.items())
            self._tell()
            if not ended:
                await asyncio.sleep(POLL_S)

    def _tell(self) -> None:
        self._report(Progress(self._found, len(self._done) + len(self._pending), len(self._done)))


def _ingested(source: str, row: Mapping[str, Any]) -> Ingested:
    error = row["error"]
    problem = f"{error['code']}: {error['message']}" if error else None
    return Ingested(source, row["status"], (row["output"] or {}).get("chunks", 0), problem)
