"""Documents and chunks on Supabase, read and written in the name of a generation's owner. Each call is of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.decisions.caching import CachedAnswer
from jobs.decisions.fusion import Candidate
from jobs.ports import Context, Document, Example, ModelName, NewChunk, Opened, Opening, StoredChunk, Vectors, Work
from worker.adapters import write_backs
from worker.adapters.database import Database


class SupabaseKnowledge:
    """`jobs.ports.Knowledge`. `embedding_model`: the model that made the vectors it is given."""

    def __init__(self, database: Database, *, embedding_model: ModelName) -> None:
        self._database = database
        self._embedding_model = embedding_model.model

    async def context(
        self,
        work: Work,
        question: str,
        vector: Vectors,
        opens: Opening,
        *,
        max_chunks: int,
        max_examples: int,
        cache_scope: str | None = None,
    ) -> Context:
        arguments = {
            "generation_id": work.id,
            "attempt": work.attempt,
            "question": question,
            "query_embedding": write_backs.literal(vector[0]),
            "embedding_model": self._embedding_model,
            "max_chunks": max_chunks,
            "max_examples": max_examples,
            "cache_scope": cache_scope,
            "opens": [write_backs.opening(opens)],
        }
        found = await self._database.call("context_v4", arguments)
        return Context(
            candidates=tuple(candidate_of(row) for row in found["chunks"]),
            examples=tuple(example_of(row) for row in found["examples"]),
            other_model=found["other_model"],
            call=None if found["call_id"] is None else Opened(found["call_id"], opens.reserved_usd),
            cached=tuple(cached_of(row) for row in found["cached"]),
            word_shares=found["word_shares"],
        )

    async def document(self, work: Work) -> Document | None:
        row = await self._database.call("read_document_v1", {"generation_id": work.id, "attempt": work.attempt})
        return None if row is None else document_of(row)

    async def embedding_models(self) -> list[str]:
        """The models whose vectors are stored, of anybody's chunks."""
        answered = await self._database.call("embedding_models_v1", {})
        # A set of plain values: PostgREST answers them bare, @supabase/lite under the function's name.
        return [next(iter(row.values())) if isinstance(row, dict) else row for row in answered]

    async def store_chunks(self, work: Work, document: Document, chunks: Sequence[NewChunk], *, is_last: bool) -> None:
        arguments = {
            "generation_id": work.id,
            "attempt": work.attempt,
            "revision": document.revision,
            "embedding_model": self._embedding_model,
            "chunks": [row_of(chunk) for chunk in chunks],
            "is_last": is_last,
        }
        await self._database.call("store_chunks_v1", arguments)


def row_of(chunk: NewChunk) -> dict[str, Any]:
    return {
        "ordinal": chunk.ordinal,
        "content": chunk.content,
        "heading_path": list(chunk.heading_path),
        "start_char": chunk.start_char,
        "end_char": chunk.end_char,
        "tokens": chunk.tokens,
        "metadata": dict(chunk.metadata),
        "content_hash": chunk.content_hash,
        "occurrence": chunk.occurrence,
        "embedding": None if chunk.embedding is None else write_backs.literal(chunk.embedding),
        "unit_embeddings": None if chunk.unit_embeddings is None else [*map(write_backs.half, chunk.unit_embeddings)],
    }


def candidate_of(row: Mapping[str, Any]) -> Candidate:
    return Candidate(
        chunk_id=row["id"],
        document_id=row["document_id"],
        ordinal=row["ordinal"],
        title=row["title"],
        source=row["source"],
        heading_path=tuple(row["heading_path"]),
        content=row["content"],
        tokens=row["tokens"],
        similarity=row["similarity"],
        text_rank=row["text_rank"],
        vector_position=row["vector_position"],
        text_position=row["text_position"],
        unit_similarities=tuple(row["unit_similarities"]),
        metadata=row["metadata"],
    )


def example_of(row: Mapping[str, Any]) -> Example:
    return Example(row["question"], row["answer"], row["similarity"], tuple(row["to_nearer"]))


def cached_of(row: Mapping[str, Any]) -> CachedAnswer:
    return CachedAnswer(
        id=row["id"],
        key=row["question_key"],
        question=row["question"],
        answer=row["answer"],
        citations=tuple(row["citations"]),
        similarity=row["similarity"],
        age_s=row["age_s"],
        is_fresh=row["is_fresh"],
        chunk_ids=frozenset(row["chunk_ids"]),
        seen_chunk_ids=frozenset(row["seen_chunk_ids"]),
        is_private=row["is_private"],
        tokens_in=row["tokens_in"],
        tokens_out=row["tokens_out"],
        cost_usd=row["cost_usd"],
    )


def document_of(row: Mapping[str, Any]) -> Document:
    return Document(
        id=row["id"],
        title=row["title"],
        source=row["source"],
        media_type=row["media_type"],
        content=row["content"],
        metadata=row["metadata"],
        revision=row["revision"],
        chunks=tuple(
            StoredChunk(c["content_hash"], c["occurrence"], c["embedding_model"], c["has_units"]) for c in row["chunks"]
        ),
    )
