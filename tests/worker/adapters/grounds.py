"""What a contract needs beside the port that it tests: rows to begin with, time that passes, a look at the result."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
import psycopg
from psycopg.rows import dict_row

from jobs.ports import Document, Embedding, Example, Examples, Knowledge, ModelName, NewChunk, Opening
from worker.adapters.database import Database
from worker.adapters.examples import SupabaseExamples
from worker.adapters.knowledge import SupabaseKnowledge
from worker.adapters.memory import MemoryDatabase, MemoryExamples, MemoryKnowledge, MemoryRows
from worker.adapters.memory.knowledge import key_of
from worker.adapters.persisting import Persistence
from worker.adapters.rows import Intervals, SupabaseRows
from worker.ports import Rows

MODEL = ModelName("local", "minilm")
OPENS = {"answer": Opening("embed", MODEL)}
LEASE_S = 30.0
QUICK = Intervals(0.01, 0.01, 0.01, 0.01)
PERSISTENT = Persistence()


@dataclass(frozen=True, slots=True)
class Stored:
    """A generation as it is stored."""

    status: str
    attempt: int
    tries: int
    answer: str | None = None
    output: Any = None
    error: Mapping[str, str] | None = None
    tokens_in: int | None = None
    cost_usd: float | None = None
    partial: str | None = None  # of the current attempt
    outcomes: tuple[str | None, ...] = ()  # of the attempts, in order


@dataclass(frozen=True, slots=True)
class StoredCall:
    purpose: str
    status: str
    tokens_in: int | None = None


@dataclass(frozen=True, slots=True)
class ChunkSeen:
    id: int
    ordinal: int
    embedding_model: str | None


class Ground(Protocol):
    def rows(self, worker: str, *, opens: Mapping[str, Opening] = OPENS) -> Rows: ...
    def knowledge(self, model: ModelName = MODEL) -> Knowledge: ...
    def examples(self) -> Examples: ...
    def user(self) -> str: ...
    def insert(
        self,
        *,
        kind: str = "answer",
        input: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        run_in_s: float = 0.0,
    ) -> str: ...
    def end_lease(self, id: str) -> None: ...
    def come_due(self, id: str) -> None: ...
    def cancel(self, id: str) -> None: ...
    def delete(self, id: str) -> None: ...
    def stored(self, id: str) -> Stored: ...
    def calls(self, id: str) -> list[StoredCall]: ...
    def document(self, user_id: str, content: str = "text", *, metadata: Mapping[str, Any] | None = None) -> str:
        """The new document's id; the generation that ingests it is not made here."""
        ...

    def change_document(self, id: str) -> None: ...
    def chunks(self, document_id: str) -> dict[str, ChunkSeen]:
        """By content."""
        ...

    def delete_chunks(self, document_id: str) -> None: ...
    def add_example(self, user_id: str, question: str, answer: str, vector: Embedding) -> None: ...
    def unlearned_example(self, user_id: str, question: str) -> str:
        """The id of an example without a vector."""
        ...

    def learned(self, example_id: str) -> Embedding: ...


@dataclass
class MemoryGround:
    """Memory, with a clock that tests set."""

    now: datetime = datetime(2026, 11, 24, tzinfo=UTC)
    database: MemoryDatabase = field(init=False)
    _examples: list[Any] = field(default_factory=list)
    _learning: MemoryExamples = field(init=False)

    def __post_init__(self) -> None:
        self.database = MemoryDatabase(lambda: self.now)
        self._learning = MemoryExamples(self.database)

    def rows(self, worker: str, *, opens: Mapping[str, Opening] = OPENS) -> Rows:
        return MemoryRows(self.database, worker=worker, lease_s=LEASE_S, opens=opens)

    def knowledge(self, model: ModelName = MODEL) -> Knowledge:
        knowledge = MemoryKnowledge(self.database, embedding_model=model)
        knowledge.examples = self._examples
        return knowledge

    def examples(self) -> Examples:
        return self._learning

    def user(self) -> str:
        return str(uuid4())

    def insert(
        self,
        *,
        kind: str = "answer",
        input: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        run_in_s: float = 0.0,
    ) -> str:
        return self.database.insert(kind=kind, input=input or {"question": "why?"}, user_id=user_id, run_in_s=run_in_s)

    def end_lease(self, id: str) -> None:
        generation = self.database.generations[id]
        generation.attempts[generation.attempt].lease_until = self.now - timedelta(seconds=1)

    def come_due(self, id: str) -> None:
        self.database.generations[id].run_at = self.now

    def cancel(self, id: str) -> None:
        assert self.database.cancel(id)

    def delete(self, id: str) -> None:
        self.database.delete(id)

    def stored(self, id: str) -> Stored:
        generation = self.database.generations[id]
        attempts = [generation.attempts[n] for n in sorted(generation.attempts)]
        result = generation.result
        return Stored(
            status=generation.status,
            attempt=generation.attempt,
            tries=generation.tries,
            answer=result.get("answer"),
            output=result.get("output"),
            error=generation.error,
            tokens_in=result.get("tokens_in"),
            cost_usd=result.get("cost_usd"),
            partial=attempts[-1].partial if attempts else None,
            outcomes=tuple(attempt.outcome for attempt in attempts),
        )

    def calls(self, id: str) -> list[StoredCall]:
        return [
            StoredCall(call.opening.purpose, call.status, call.closing["tokens_in"] if call.closing else None)
            for call in self.database.calls.values()
            if call.generation_id == id
        ]

    def document(self, user_id: str, content: str = "text", *, metadata: Mapping[str, Any] | None = None) -> str:
        id = str(uuid4())
        document = Document(id, "Title", f"docs/{id}.md", "text/markdown", content, metadata or {}, 1, ())
        self.database.add_document(document, user_id=user_id)
        return id

    def change_document(self, id: str) -> None:
        kept = self.database.documents[id]
        kept.document = replace(kept.document, content="changed", revision=kept.document.revision + 1)

    def chunks(self, document_id: str) -> dict[str, ChunkSeen]:
        return {
            kept.chunk.content: ChunkSeen(kept.id, kept.chunk.ordinal, kept.embedding_model)
            for kept in self.database.chunks.values()
            if kept.document_id == document_id
        }

    def delete_chunks(self, document_id: str) -> None:
        for kept in [kept for kept in self.database.chunks.values() if kept.document_id == document_id]:
            del self.database.chunks[key_of(document_id, kept.chunk)]

    def add_example(self, user_id: str, question: str, answer: str, vector: Embedding) -> None:
        self._examples.append((user_id, Example(question, answer, 0.0, ()), vector))

    def unlearned_example(self, user_id: str, question: str) -> str:
        id = uuid4().hex
        self._learning.questions[id] = user_id, question
        return id

    def learned(self, example_id: str) -> Embedding:
        return self._learning.vectors[example_id]


class SupabaseGround:
    """The embedded Supabase. Rows are made and looked at as postgres, beside the adapters."""

    def __init__(self, database: Database, postgres: psycopg.Connection[Any]) -> None:
        self.database = database
        self._postgres = postgres
        self._name = uuid4().hex[:8]  # workers of other tests have other names

    def rows(
        self,
        worker: str,
        *,
        opens: Mapping[str, Opening] = OPENS,
        intervals: Intervals = QUICK,
        persistence: Persistence = PERSISTENT,
        uncached: Callable[[], None] = lambda: None,
    ) -> SupabaseRows:
        return SupabaseRows(
            self.database,
            worker=f"{self._name}-{worker}",
            lease_s=LEASE_S,
            opens=opens,
            intervals=intervals,
            persistence=persistence,
            uncached=uncached,
        )

    def knowledge(self, model: ModelName = MODEL) -> Knowledge:
        return SupabaseKnowledge(self.database, embedding_model=model)

    def examples(self) -> Examples:
        return SupabaseExamples(self.database, embedding_model=MODEL)

    def user(self) -> str:
        id = str(uuid4())
        self._run("insert into auth.users (id, email) values (%s, %s)", id, f"{id}@example.com")
        return id

    def insert(
        self,
        *,
        kind: str = "answer",
        input: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        run_in_s: float = 0.0,
    ) -> str:
        row = self._one(
            """insert into rowcall.generations (kind, input, user_id, run_at)
               values (%s, %s, %s, now() + make_interval(secs => %s)) returning id""",
            kind,
            json.dumps(input or {"question": "why?"}),
            user_id,
            run_in_s,
        )
        return str(row["id"])

    def end_lease(self, id: str) -> None:
        self._run(
            """update rowcall.attempts set lease_until = now() - interval '1 second'
               where generation_id = %s and outcome is null""",
            id,
        )

    def come_due(self, id: str) -> None:
        """As time would, which no function may: the guard lets no queued row be updated."""
        with self._postgres.transaction():
            self._run("alter table rowcall.generations disable trigger generations_guard")
            self._run("update rowcall.generations set run_at = now() where id = %s", id)
            self._run("alter table rowcall.generations enable trigger generations_guard")

    def cancel(self, id: str) -> None:
        with self._postgres.transaction():
            self._run(
                """select set_config('request.jwt.claim.sub', user_id::text, true)
                   from rowcall.generations where id = %s""",
                id,
            )
            assert self._one("select rowcall.cancel_generation(%s) as canceled", id)["canceled"]

    def delete(self, id: str) -> None:
        self._run("delete from rowcall.generations where id = %s", id)

    def stored(self, id: str) -> Stored:
        row = self._one("select * from rowcall.generations where id = %s", id)
        attempts = self._all("select * from rowcall.attempts where generation_id = %s order by attempt", id)
        return Stored(
            **{name: row[name] for name in ("status", "attempt", "tries", "answer", "output", "error", "tokens_in")},
            cost_usd=None if row["cost_usd"] is None else float(row["cost_usd"]),
            partial=attempts[-1]["partial"] if attempts else None,
            outcomes=tuple(attempt["outcome"] for attempt in attempts),
        )

    def calls(self, id: str) -> list[StoredCall]:
        rows = self._all("select * from rowcall.calls where generation_id = %s order by created_at, purpose", id)
        return [StoredCall(row["purpose"], row["status"], row["tokens_in"]) for row in rows]

    def document(self, user_id: str, content: str = "text", *, metadata: Mapping[str, Any] | None = None) -> str:
        row = self._one(
            """insert into rowcall.documents (user_id, title, source, content, metadata)
               values (%s, 'Title', %s, %s, %s) returning id""",
            user_id,
            f"docs/{uuid4()}.md",
            content,
            json.dumps(metadata or {}),
        )
        return str(row["id"])

    def change_document(self, id: str) -> None:
        self._run("update rowcall.documents set content = 'changed' where id = %s", id)

    def chunks(self, document_id: str) -> dict[str, ChunkSeen]:
        rows = self._all("select * from rowcall.chunks where document_id = %s", document_id)
        return {row["content"]: ChunkSeen(row["id"], row["ordinal"], row["embedding_model"]) for row in rows}

    def delete_chunks(self, document_id: str) -> None:
        self._run("delete from rowcall.chunks where document_id = %s", document_id)

    def add_example(self, user_id: str, question: str, answer: str, vector: Embedding) -> None:
        self._run(
            """insert into rowcall.examples (user_id, question, answer, embedding, embedding_model)
               values (%s, %s, %s, %s, %s)""",
            user_id,
            question,
            answer,
            json.dumps(vector.tolist()),
            MODEL.model,
        )

    def unlearned_example(self, user_id: str, question: str) -> str:
        row = self._one(
            "insert into rowcall.examples (user_id, question, answer) values (%s, %s, 'Yes.') returning id",
            user_id,
            question,
        )
        return str(row["id"])

    def learned(self, example_id: str) -> Embedding:
        row = self._one("select embedding::text from rowcall.examples where id = %s", int(example_id))
        return np.array(json.loads(row["embedding"]), np.float32)

    def _run(self, sql: str, *values: Any) -> None:
        self._postgres.execute(sql.encode(), values)

    def _all(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with self._postgres.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(sql.encode(), values).fetchall()

    def _one(self, sql: str, *values: Any) -> dict[str, Any]:
        (row,) = self._all(sql, *values)
        return row


def unit_vector(*numbers: float) -> Embedding:
    """(384,), unit length: the numbers, then zeros."""
    vector = np.zeros(384, np.float32)
    vector[: len(numbers)] = numbers
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def new_chunk(ordinal: int, content: str, embedding: Embedding | None) -> NewChunk:
    return NewChunk(
        ordinal=ordinal,
        content=content,
        heading_path=("Heading",),
        start_char=100 * ordinal,
        end_char=100 * ordinal + len(content),
        tokens=len(content.split()),
        content_hash=f"hash of {content}",
        occurrence=0,
        embedding=embedding,
    )
