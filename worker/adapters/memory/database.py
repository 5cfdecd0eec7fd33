"""The tables of schema rowcall in memory. What may happen to them is what the SQL functions of the same names do."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.decisions.falling_back import Failure
from jobs.ports import Document, Json, NewChunk, Opening, Reusable
from worker.adapters.write_backs import Row
from worker.lifecycle import Status, move_is_allowed
from worker.settling import Error

INT4_MAX = 2**31 - 1


@dataclass(slots=True)
class Attempt:
    worker: str
    lease_until: datetime
    outcome: str | None = None
    partial: str | None = None
    partial_offset: int = 0


@dataclass(slots=True)
class Generation:
    id: str
    kind: str
    input: Json
    options: Json
    lane: str
    user_id: str | None
    tenant: str | None
    created_at: datetime
    run_at: datetime
    status: Status = "queued"
    attempt: int = 0
    tries: int = 0
    losses: int = 0
    error: Error | None = None
    result: Row = field(default_factory=dict)  # what the write-back that ended it said
    attempts: dict[int, Attempt] = field(default_factory=dict)

    def move(self, after: Status) -> None:
        if not move_is_allowed(self.status, after):
            raise ValueError(f"status cannot move from {self.status} to {after}")
        self.status = after


@dataclass(slots=True)
class LedgerRow:
    id: str
    generation_id: str
    attempt: int
    opening: Opening
    status: str = "open"
    closing: Row | None = None


@dataclass(frozen=True, slots=True)
class KeptChunk:
    id: int
    document_id: str
    revision: int
    chunk: NewChunk
    embedding_model: str | None


@dataclass(slots=True)
class KeptDocument:
    document: Document
    user_id: str | None
    ingested_revision: int | None = None
    chunk_count: int | None = None


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    id: int
    entry: Reusable
    result: Row  # of the generation that made it
    user_id: str | None  # whose it was
    at: datetime


class MemoryDatabase:
    """Shared by the adapters of one test, or of several workers in it. `now` is the database's clock."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = now
        self.generations: dict[str, Generation] = {}
        self.calls: dict[str, LedgerRow] = {}
        self.tenants: dict[str, str | None] = {}  # of generations, also of deleted ones
        self.documents: dict[str, KeptDocument] = {}
        self.cached: dict[tuple[str, str], KeptAnswer] = {}  # by tenant and key
        self.chunks: dict[tuple[str, str, int], KeptChunk] = {}  # by document, hash and occurrence
        self.usd_per_tenant_and_day: float | None = 10.0  # as rowcall.limits has it
        self._chunk_ids = 0

    def insert(
        self,
        *,
        kind: str = "answer",
        input: Json,
        options: Json | None = None,
        lane: str = "interactive",
        user_id: str | None = None,
        run_in_s: float = 0.0,
    ) -> str:
        """A queued generation's id."""
        now = self.now()
        id = str(uuid.uuid4())
        self.tenants[id] = user_id
        self.generations[id] = Generation(
            id=id,
            kind=kind,
            input=input,
            options=options or {},
            lane=lane,
            user_id=user_id,
            tenant=user_id,
            created_at=now,
            run_at=now + timedelta(seconds=run_in_s),
        )
        return id

    def cancel(self, id: str) -> bool:
        """True: canceled now; its partial text stays as the answer."""
        generation = self.generations.get(id)
        if generation is None or generation.status not in {"queued", "running"}:
            return False
        attempt = generation.attempts.get(generation.attempt)
        partial = None
        if attempt is not None and attempt.outcome is None:
            attempt.outcome, partial = "canceled", attempt.partial
        self.abandon_calls(id)
        generation.move("canceled")
        generation.result = {"answer": partial}
        return True

    def delete(self, id: str) -> None:
        """Erases the row; the ledger stays."""
        self.generations.pop(id, None)

    def held(self, id: str, attempt: int) -> Generation | None:
        """The generation, if it is running this attempt."""
        generation = self.generations.get(id)
        if generation is None or generation.status != "running" or generation.attempt != attempt:
            return None
        return generation

    def open_call(self, generation: Generation, opening: Opening) -> str | None:
        """None: the tenant's budget does not allow it."""
        left = self.budget_left(generation.tenant)
        if opening.reserved_usd is not None and left is not None and opening.reserved_usd > left:
            return None
        row = LedgerRow(str(uuid.uuid4()), generation.id, generation.attempt, opening)
        self.calls[row.id] = row
        return row.id

    def drop_call(self, generation_id: str, id: str) -> None:
        """One that is open, and will not be made."""
        call = self.calls.get(id)
        if call is not None and call.generation_id == generation_id and call.status == "open":
            del self.calls[id]

    def budget_left(self, tenant: str | None) -> float | None:
        """Less what is reserved for open calls. Memory knows one day only."""
        if tenant is None or self.usd_per_tenant_and_day is None:
            return None
        theirs = [c for c in self.calls.values() if self.tenants[c.generation_id] == tenant]
        reserved = sum(c.opening.reserved_usd or 0.0 for c in theirs if c.status == "open")
        spent = sum(c.closing["cost_usd"] or 0.0 for c in theirs if c.closing is not None)
        return self.usd_per_tenant_and_day - reserved - spent

    def budget_left_share(self, tenant: str | None) -> float | None:
        left = self.budget_left(tenant)
        return left / self.usd_per_tenant_and_day if left is not None and self.usd_per_tenant_and_day else None

    def abandon_calls(self, id: str) -> None:
        for call in self.calls.values():
            if call.generation_id == id and call.status == "open":
                call.status = "abandoned"

    def close_calls(self, closings: Sequence[Row]) -> None:
        """A call is closed once; also for an attempt that was lost, since its tokens were used."""
        for closing in closings:
            call = self.calls.get(closing["id"])
            if call is not None and call.status in {"open", "abandoned"}:
                call.status, call.closing = closing["status"], closing

    def broken_off(self, id: str) -> tuple[Failure, ...]:
        """The calls of a generation that failed after their first text."""
        closings = [
            call.closing for call in self.calls.values() if call.generation_id == id and call.status == "failed"
        ]
        return tuple(
            Failure(c["route"], c["error_code"])
            for c in closings
            if c is not None and c["route"] and c["first_token_ms"] is not None and c["error_code"].startswith("model.")
        )

    def add_document(self, document: Document, *, user_id: str | None) -> None:
        """A new document, or the next revision of one."""
        self.documents[document.id] = KeptDocument(document, user_id)

    def remember(self, generation: Generation, entry: Reusable) -> None:
        """Keeps the answer that the generation has just been given."""
        if generation.tenant is not None and "history" not in generation.input and generation.status == "succeeded":
            kept = KeptAnswer(len(self.cached) + 1, entry, generation.result, generation.user_id, self.now())
            self.cached[generation.tenant, entry.key] = kept

    def next_chunk_id(self) -> int:
        self._chunk_ids += 1
        return self._chunk_ids


def integers_fit(row: Any) -> bool:
    """Whether every integer of a JSON value fits Postgres' integer: what makes it refuse a row's tokens."""
    match row:
        case bool():
            return True
        case int():
            return -INT4_MAX - 1 <= row <= INT4_MAX
        case dict():
            return all(
                integers_fit(member) for name, member in row.items() if name not in {"output", "citations", "reusable"}
            )
        case list():
            return all(integers_fit(member) for member in row)
        case _:
            return True
