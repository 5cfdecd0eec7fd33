"""The passages that a question's prompt holds, found once more by the same means: `context_v2`, `fuse`, `compress`."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx
import psycopg
from psycopg.types.json import Jsonb

from jobs.answer import MAX_CHUNKS, MAX_PASSAGES, NEAR_EXAMPLES
from jobs.decisions.compression import compress
from jobs.decisions.fusion import fuse
from worker.adapters.knowledge import candidate_of
from worker.adapters.tokens import count_tokens
from worker.local.stack import Stack
from worker.settings import LOCAL_EMBEDDING_MODEL, load


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
        chunks, context_bytes = self._found(question)
        candidates = [candidate_of(chunk) for chunk in chunks]
        ranked = fuse(candidates, question=question, limit=MAX_PASSAGES)
        passages = compress(ranked, question, budget_tokens=self._budget_tokens, count_tokens=count_tokens)
        return Passages(tuple(passage.source or "" for passage in passages), context_bytes)

    def _found(self, question: str) -> tuple[list[dict[str, object]], int]:
        """The chunks, and the bytes of the whole answer."""
        with self._connection.transaction(force_rollback=True):
            execute = self._connection.execute
            owner = "(select id from auth.users where email = %s)"
            made = execute(
                f"insert into rowcall.generations (user_id, input) values ({owner}, %s) returning id",
                (self._email, Jsonb({"question": question})),
            ).fetchone()
            assert made is not None
            execute("update rowcall.generations set status = 'running', attempt = 1 where id = %s", made)
            execute("set local role service_role")
            found = execute(
                "select c -> 'chunks', octet_length(c::text)"
                " from rowcall.context_v2(%s, 1, %s, %s::extensions.vector, %s, %s, %s) c",
                (made[0], question, self._embedding(question), LOCAL_EMBEDDING_MODEL, MAX_CHUNKS, NEAR_EXAMPLES),
            ).fetchone()
            assert found is not None
            chunks, context_bytes = found
            return chunks, context_bytes

    def _embedding(self, question: str) -> str:
        body = {"model": LOCAL_EMBEDDING_MODEL, "input": question}
        answer = httpx.post(f"{self._stack.model_url}/embeddings", json=body, timeout=30).raise_for_status()
        return str(answer.json()["data"][0]["embedding"])
