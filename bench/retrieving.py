"""The passages that a question's prompt holds, found once more by the same means: `context_v4`, `fuse`, `compress`."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
import psycopg
from psycopg.types.json import Jsonb

from jobs.answer import NEAR_EXAMPLES
from jobs.decisions.compression import compress
from jobs.decisions.fusion import RETRIEVING, Candidate, fuse
from jobs.ports import Vectors
from worker.adapters.knowledge import candidate_of
from worker.adapters.tokens import count_tokens
from worker.local.stack import Stack
from worker.settings import LOCAL_EMBEDDING_MODEL, load

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Passages:
    sources: tuple[str, ...]  # of each passage, best first
    context_bytes: int  # of the call's answer, as Postgres writes it


class Retrieval:
    """Runs as the user of this e-mail address, in transactions that are rolled back."""

    def __init__(self, stack: Stack, email: str) -> None:
        self._stack = stack
        self._email = email
        self._budget_tokens = load(stack.environment()).route("default").context_budget_tokens

    def __enter__(self) -> Self:
        self._connection = psycopg.connect(self._stack.db_url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def passages(self, question: str) -> Passages:
        found, context_bytes = called(self._connection, self._email, question, self._embedding(question))
        candidates = [candidate_of(chunk) for chunk in found["chunks"]]
        ranked = fuse(candidates, question=question, limit=RETRIEVING.passages, word_shares=found["word_shares"])
        passages = compress(ranked, question, budget_tokens=self._budget_tokens, count_tokens=count_tokens)
        return Passages(tuple(passage.source or "" for passage in passages), context_bytes)

    def _embedding(self, question: str) -> Sequence[float]:
        body = {"model": LOCAL_EMBEDDING_MODEL, "input": question}
        answer = httpx.post(f"{self._stack.model_url}/embeddings", json=body, timeout=30).raise_for_status()
        embedding: list[float] = answer.json()["data"][0]["embedding"]
        return embedding


def called(connection: Connection, email: str, question: str, embedding: Sequence[float]) -> tuple[dict[str, Any], int]:
    """The context call's answer to a question of this user, and its bytes. Nothing of it stays."""
    with connection.transaction(force_rollback=True):
        execute = connection.execute
        owner = "(select id from auth.users where email = %s)"
        made = execute(
            f"insert into rowcall.generations (user_id, input) values ({owner}, %s) returning id",
            (email, Jsonb({"question": question})),
        ).fetchone()
        assert made is not None
        execute("update rowcall.generations set status = 'running', attempt = 1 where id = %s", made)
        execute("set local role service_role")
        found = execute(
            "select c, octet_length(c::text) from rowcall.context_v4(%s, 1, %s, %s::extensions.vector, %s, %s, %s) c",
            (
                made[0],
                question,
                json.dumps(list(embedding)),
                LOCAL_EMBEDDING_MODEL,
                RETRIEVING.candidates,
                NEAR_EXAMPLES,
            ),
        ).fetchone()
        assert found is not None
        context, context_bytes = found
        return context, context_bytes


@contextmanager
def shelved(connection: Connection, passages: Sequence[Candidate], vectors: Vectors) -> Iterator[str]:
    """The e-mail address of a user who owns these passages as chunks, in the order of their documents, and no other
    chunk is there. A chunk's metadata has its place among the passages.
    """
    user, email = str(uuid4()), "shelf@example.com"
    with connection.transaction():
        connection.execute("insert into auth.users (id, email) values (%s, %s)", (user, email))
        for source, pages in groupby(enumerate(passages), key=lambda pair: pair[1].document_id):
            _shelve(connection, user, source, [(place, p, vectors[place].tolist()) for place, p in pages])
    connection.execute("analyze rowcall.chunks")
    try:
        yield email
    finally:
        connection.execute("delete from auth.users where id = %s", (user,))


def _shelve(
    connection: Connection, user: str, source: str, chunks: Sequence[tuple[int, Candidate, list[float]]]
) -> None:
    made = connection.execute(
        "insert into rowcall.documents (user_id, title, source, content) values (%s, %s, %s, '') returning id",
        (user, chunks[0][1].title[:500], source),
    ).fetchone()
    assert made is not None
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into rowcall.chunks (document_id, revision, ordinal, content, heading_path, start_char, end_char,"
            " tokens, metadata, content_hash, embedding, embedding_model)"
            " values (%s, 1, %s, %s, %s, 0, 0, 0, %s, %s, %s::extensions.vector, %s)",
            [
                (
                    *(made[0], chunk.ordinal, chunk.content, list(chunk.heading_path)),
                    *(Jsonb({"place": place}), str(place), json.dumps(vector), LOCAL_EMBEDDING_MODEL),
                )
                for place, chunk, vector in chunks
            ],
        )
